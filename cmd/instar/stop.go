package main

import (
	"context"

	"instar/runtime/state"
)

// stop asks for an instance, or one of its services, not to run.
func (a *app) stop(ctx context.Context, args []string) error {
	return a.request(ctx, args, "stop", state.Stopped)
}

package main

import (
	"context"

	"instar/runtime/state"
)

const stopDoc = `What is asked for is remembered: an instance that was stopped stays stopped,
also when it is applied. That works with a broken profile, too.`

// stop asks for an instance, or one of its services, not to run.
func (a *app) stop(ctx context.Context, args []string) error {
	return a.request(ctx, args, "stop", state.Stopped)
}

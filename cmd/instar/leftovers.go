package main

import (
	"context"
	"errors"
	"os"

	"instar/runtime/service/supervise"
	"instar/runtime/state"
)

// endLeftovers ends the services that an `up` of this instance left running when
// it was killed. No `up` may serve the instance meanwhile: that is
// [state.ErrLocked].
func (in *instance) endLeftovers(ctx context.Context) error {
	logs := in.folder.Path("logs")
	if _, err := os.Lstat(logs); os.IsNotExist(err) {
		return nil // no `up` was ever here
	}
	release, err := in.serveAlone()
	if errors.Is(err, state.ErrLocked) && unreachable(in.home) != 0 {
		return nil // it is the node that serves it: where there are no sockets, no `up` does
	}
	if err != nil {
		return err
	}
	defer release()
	supervisor, err := supervise.New(supervise.Options{
		LogDir:   func(string) string { return logs },
		MarkBase: string(in.home),
	})
	if err != nil {
		return err
	}
	// A supervisor begins by ending what an earlier one left.
	return errors.Join(supervisor.Apply(ctx, in.name, nil), supervisor.Close(ctx))
}

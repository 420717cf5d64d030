package main

import (
	"context"
	"errors"

	"instar/runtime/control"
	"instar/runtime/state"
)

// socketName is the unix socket of the `up` that serves an instance, in the
// folder of its state.
const socketName = "up.sock"

// serving connects to what serves the instance; nil when nothing does.
func (a *app) serving(ctx context.Context, folder state.Folder) (*control.Client, error) {
	client, err := control.Dial(ctx, folder.Path(socketName))
	if errors.Is(err, control.ErrNotServed) {
		return nil, nil
	}
	return client, err
}

// through has what serves the instance do something, and shows it as if it were
// done here. It reports whether anything serves the instance.
func (a *app) through(ctx context.Context, folder state.Folder, action control.Action) (served bool, err error) {
	client, err := a.serving(ctx, folder)
	if err != nil || client == nil {
		return err != nil, err
	}
	defer client.Close()
	r, code, err := client.Act(ctx, folder.Name(), action, a.ui.follow(false))
	if err != nil {
		return true, unsignalled(ctx, err)
	}
	if r.Error != nil {
		a.ui.report(r, &remoteError{*r.Error})
		return true, reported{exitWith(code)}
	}
	a.ui.report(r, nil)
	if code != exitOK {
		return true, exitWith(code)
	}
	return true, nil
}

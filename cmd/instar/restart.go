package main

import (
	"context"

	"instar/runtime/control"
)

const restartDoc = `Works while an up serves the instance. Services that depend on nothing that
changed need no restart: apply restarts exactly those that do.`

// restart ends and starts an instance's services, or one of them.
func (a *app) restart(ctx context.Context, args []string) error {
	t, st, err := a.existing(args[0])
	if err != nil {
		return err
	}
	action := control.Action{Verb: "restart"}
	if len(args) > 1 {
		if action.Service = args[1]; !hasService(st, action.Service) {
			return noService(st, action.Service)
		}
	}
	if served, err := a.through(ctx, t.folder, action); served {
		return err
	}
	in, err := a.instance(t, st, st.Settings, true)
	if err != nil {
		return err
	}
	manager, err := in.managerOrNone()
	if err != nil {
		return err
	}
	if manager == nil {
		return unsupervised(t.name, "cannot restart anything")
	}
	return a.operate(ctx, in, manager, operations["restart"], action.Service)
}

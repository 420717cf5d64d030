package main

import (
	"context"
	"time"

	"instar/runtime/control"
	"instar/runtime/state"
)

const bangDoc = `Says that something is wrong with an instance, as its services and promises do
by themselves: the alert is remembered, and shown by status, and the instance is
processed again. Where nothing serves it, the next up or apply does that.`

// bang raises an alert by hand.
func (a *app) bang(ctx context.Context, args []string) error {
	t, st, err := a.existing(args[0])
	if err != nil {
		return err
	}
	reason := a.opts.message
	if reason == "" {
		reason = "asked for"
	}
	served, err := a.through(ctx, t.folder, control.Action{Verb: "bang", Reason: reason})
	if served {
		return err
	}
	in, err := a.instance(t, st, st.Settings, true)
	if err != nil {
		return err
	}
	in.stay(st)
	if err := in.recordBang(a.ui.mask.String(reason)); err != nil {
		return err
	}
	manager, err := in.managerOrNone()
	if err != nil {
		return err
	}
	if manager == nil {
		a.ui.hint("nothing supervises the services of \"" + t.name + "\": the alert is remembered; `instar up " + t.name + "` runs them")
	}
	return a.converge(ctx, in, manager, "")
}

// recordBang remembers an alert.
func (in *instance) recordBang(reason string) error {
	unlock, err := in.lock()
	if err != nil {
		return err
	}
	defer unlock()
	st, err := in.folder.Load()
	if err != nil {
		return err
	}
	st.LastBang = &state.Bang{At: time.Now().UTC().Round(0), Reason: reason}
	return in.folder.Save(st)
}

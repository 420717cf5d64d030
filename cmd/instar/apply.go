package main

import (
	"context"

	"instar/runtime/control"
	"instar/runtime/report"
	"instar/runtime/state"
)

// apply converges an instance: by the `up` that serves it, else here.
func (a *app) apply(ctx context.Context, args []string) error {
	if err := checkManager(a.opts.manager); err != nil {
		return err
	}
	in, _, err := a.resolve(args[0], true)
	if err != nil {
		return err
	}
	served, err := a.through(ctx, in.folder, control.Action{
		Verb: "apply", Settings: &in.settings, Reveal: a.opts.reveal, Diffs: a.opts.verbose,
	})
	if served {
		return err
	}
	return a.converge(ctx, in, "")
}

// converge makes the machine match an instance's profile. Requested, if not "",
// is what the instance shall be from now on.
func (a *app) converge(ctx context.Context, in *instance, requested string) error {
	manager, err := pickManager(in.settings)
	if err != nil {
		return err
	}
	unlock, err := in.lock()
	if err != nil {
		return err
	}
	defer unlock()
	a.hintRoot(in)
	e, done := in.real(manager, a.ui.follow(false))
	defer done()
	e.Reveal, e.Diffs = a.opts.reveal, a.ui.verbose
	if e.Requested = requested; requested == "" {
		e.Requested = in.revived()
	}
	r, err := e.Converge(ctx)
	return a.finish(ctx, r, err)
}

// revived is what an apply asks for that stays stopped if it is, but not
// destroyed: "started" for a destroyed instance, else "", which keeps things.
func (in *instance) revived() string {
	st, err := in.folder.Brief()
	if err == nil && st.Requested == state.Destroyed {
		return state.Started
	}
	return "" // a state that cannot be read is an error soon
}

// finish shows the outcome of a processing and turns it into the error that
// main makes an exit code of.
func (a *app) finish(ctx context.Context, r *report.Report, err error) error {
	err = unsignalled(ctx, err)
	a.ui.report(r, err)
	switch {
	case err != nil:
		return reported{err}
	case r.Pending != nil:
		return exitWith(exitPending)
	}
	return nil
}

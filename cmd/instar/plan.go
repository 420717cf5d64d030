package main

import (
	"context"

	"instar/runtime/engine"
	"instar/runtime/report"
	"instar/runtime/service"
	"instar/runtime/service/native"
	"instar/runtime/service/supervise"
)

const planDoc = `Does what apply would do on an in-memory file system over the real one, with a
service manager that only records, and prints every change with its reason and
the line that asks for it; of changed texts the difference. Nothing is written
anywhere, no lock is taken, and reading is all that must be allowed. What the
apply will choose is shown as (chosen at apply).

With -o the plan is saved to a file, which ` + "`instar apply FILE`" + ` performs if it
still holds: see instar help saved-plans.

PROFILE is something that exists as a path: it has a slash, ends in .star, or is
a folder with instance.star. Anything else is the name of an instance.`

// plan shows what apply would do, by doing it on paper.
func (a *app) plan(ctx context.Context, args []string) error {
	in, _, err := a.resolve(args[0], false)
	if err != nil {
		return err
	}
	if err := checkManager(a.opts.manager); err != nil {
		return err
	}
	if err := a.checkOut(); err != nil {
		return err
	}
	onPaper := func(in *instance) (*engine.Engine, func(), error) {
		e, done, err := a.paperEngine(ctx, in)
		if err == nil {
			e.Requested = in.revived()
		}
		return e, done, err
	}
	endsSoon()
	e, done, err := onPaper(in)
	if err != nil {
		return err
	}
	defer done()
	e.Reveal = a.opts.reveal
	var r *report.Report
	if a.opts.out == "" {
		r, err = e.Converge(ctx)
	} else {
		var f *engine.Foresight
		if f, r, err = e.Foresee(ctx); err == nil {
			if err = a.saved(ctx, in, f, onPaper); err != nil {
				r.Error = a.ui.errorOf(err)
				r.Summary.Failed++
			}
		}
	}
	if err = a.finish(ctx, r, err); err != nil {
		return err
	}
	if a.opts.detailed && len(r.Changes) > 0 {
		return exitWith(exitUnkept)
	}
	return nil
}

// paperEngine plans for an instance, beginning with what runs of it.
func (a *app) paperEngine(ctx context.Context, in *instance) (*engine.Engine, func(), error) {
	manager, release, err := a.served(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	unsupported := supervise.Unsupported
	if manager == nil {
		if manager, err = in.managerOrNone(); err != nil {
			release()
			return nil, nil, err
		}
		if real := manager; real != nil {
			unsupported = func(s service.Spec) []string { return native.Unsupported(real, s) }
		}
	}
	e, done := in.paper(manager, a.ui.follow(true))
	e.Unsupported = unsupported
	if in.settings.Manager == "none" && manager == nil {
		e.Manager = nil
	}
	return e, func() { done(); release() }, nil
}

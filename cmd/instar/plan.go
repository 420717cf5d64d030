package main

import "context"

// plan shows what apply would do, by doing it on paper.
func (a *app) plan(ctx context.Context, args []string) error {
	in, _, err := a.resolve(args[0], false)
	if err != nil {
		return err
	}
	if err := checkManager(a.opts.manager); err != nil {
		return err
	}
	manager, release, err := a.served(ctx, in.folder)
	if err != nil {
		return err
	}
	defer release()
	e, done := in.paper(manager, a.ui.follow(true))
	defer done()
	if in.settings.Manager == "none" && manager == nil {
		e.Manager = nil
	}
	e.Reveal = a.opts.reveal
	e.Requested = in.revived()
	r, err := e.Converge(ctx)
	if err = a.finish(ctx, r, err); err != nil {
		return err
	}
	if a.opts.detailed && len(r.Changes) > 0 {
		return exitWith(exitUnkept)
	}
	return nil
}

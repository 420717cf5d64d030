package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"instar/runtime/apply"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/service"
	"instar/runtime/state"
)

// Destroy stops the instance's services, then removes what an apply created and
// nobody changed since. What was made once stays, and the state with it, unless
// purge is set: then all goes that an apply created, with whatever lies in it,
// once what stands in etc/prerm has run.
// A root folder, or anything in it, that was there before instar is never
// removed. A destruction that was interrupted is continued by the next one.
func (e *Engine) Destroy(ctx context.Context, purge bool) (*report.Report, error) {
	start := e.now()
	r := e.begin()
	err := r.destroy(ctx, purge)
	if err != nil {
		r.report.Summary.Failed++
		r.report.Error = report.ErrorOf(err, e.Mask.String)
	}
	r.report.Complete = err == nil
	r.report.Summary.Changed, r.report.Summary.Removed = len(r.changed), len(r.removed)
	r.report.Seconds = e.now().Sub(start).Seconds()
	e.emit(report.Event{Kind: "done", Report: r.report})
	return r.report, err
}

func (r *run) destroy(ctx context.Context, purge bool) error {
	st, err := r.Store.Load()
	if err != nil {
		return err
	}
	r.Mask.Add(st.Secrets...)
	disk, err := r.Disk.Peek()
	if err != nil {
		return err
	}
	r.view = apply.NewView(r.Settings.Root, disk)
	next := *st
	next.Requested, next.Ending = state.Destroyed, true
	if st.Requested != state.Destroyed || st.DestroyedAt.IsZero() {
		next.DestroyedAt = r.now().UTC().Round(0)
	}
	w := &work{run: r, plan: &plan.Plan{}, state: st, changed: map[string]bool{}}
	if err := w.save(&next); err != nil {
		return err
	}
	if err := r.unloadAll(ctx); err != nil {
		return err
	}
	if err := r.destroyChildren(ctx, w.state, purge); err != nil {
		return err
	}
	if err := w.undeclared(ctx); err != nil {
		return err
	}
	if err := w.leftovers(); err != nil {
		return err
	}
	if w.cmp, err = apply.Compare(w.plan, w.state.Owned, r.view); err != nil {
		return err
	}
	missing, err := w.rootMissing()
	if err != nil {
		return err
	}
	if purge {
		if err := w.prerm(ctx); err != nil {
			return err
		}
		return w.purge(ctx, missing)
	}
	return w.abandon(ctx, missing)
}

// unloadAll stops every service and has the manager forget it.
func (r *run) unloadAll(ctx context.Context) error {
	if r.Manager == nil {
		return nil
	}
	have, err := r.Manager.Observe(ctx, r.Name)
	if err != nil {
		return fmt.Errorf("cannot observe the services: %w", err)
	}
	return r.applyServices(ctx, service.Reconcile(nil, have, false))
}

// abandon removes what is owned and unchanged, and remembers what stays.
func (w *work) abandon(ctx context.Context, missing bool) error {
	kept := map[string]state.Owned{}
	if !missing {
		all, stays := w.state.Owned, w.keptForPrerm()
		var err error
		kept, err = w.removeOf(ctx, without(all, stays))
		if errors.Is(err, fs.ErrPermission) && w.unlockOwned() {
			kept, err = w.removeOf(ctx, without(all, stays))
		}
		if err != nil {
			return err
		}
		for name := range stays {
			kept[name] = all[name]
		}
	}
	root, made := w.state.Owned["."]
	if made && !missing && !w.removeRoot() {
		kept["."] = root
	}
	next := *w.state
	next.Owned = kept
	next.Services, next.Published, next.Promises, next.Pending, next.Ending = nil, nil, nil, "", false
	return w.save(&next)
}

// removeRoot removes the root when instar made it and it is empty.
func (w *work) removeRoot() bool {
	names, err := w.view.ReadDir(".")
	return err == nil && len(names) == 0 && w.Disk.Remove() == nil
}

package engine

import (
	"context"

	"instar/runtime/apply"
	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/state"
)

// An evaluation takes one processor and its time. Where the cache of the last run
// is at hand, the values that it starts from are in there; so meanwhile the state
// is read, and everything that it owns is looked at. The comparison then asks the
// disk for what is new, and reads what lstat cannot vouch for.

// evaluate loads the state and evaluates the profile.
func (r *run) evaluate(ctx context.Context) (*state.State, *plan.Plan, error) {
	disk, err := r.Disk.Peek()
	if err != nil {
		return nil, nil, err
	}
	r.view = apply.NewView(r.Settings.Root, disk)
	if c := r.cache; c != nil {
		st, p, ok, err := r.evaluateMeanwhile(ctx, c)
		if ok {
			return st, p, err
		}
		r.view = apply.NewView(r.Settings.Root, disk)
	}
	st, err := r.Store.Load()
	if err != nil {
		return nil, nil, err
	}
	p, err := r.evaluateFrom(ctx, st)
	if err != nil {
		err = r.evaluationFailed(ctx, st, err)
	}
	return st, p, err
}

// latest returns the state as it is, but for what it owns: the caller of Converge
// holds the lock, so that nobody else changes it.
func (r *run) latest() (*state.State, error) {
	if r.known != nil {
		return r.known, nil
	}
	return r.Store.Load()
}

func (r *run) evaluateFrom(ctx context.Context, st *state.State) (*plan.Plan, error) {
	r.Mask.Add(st.Secrets...)
	r.see(st)
	r.saw = map[string]string{}
	return r.Evaluate(ctx, st, witness{r.view, r.saw})
}

// evaluateMeanwhile does so while the evaluation runs. Without ok the state was
// replaced meanwhile, and all counts for nothing.
func (r *run) evaluateMeanwhile(ctx context.Context, c *state.Cache) (st *state.State, p *plan.Plan, ok bool, err error) {
	type outcome struct {
		planned *state.Planned // when all stands as it did
		state   *state.State
		ahead   *apply.Ahead
		err     error
	}
	read := make(chan outcome, 1)
	view := r.view
	go func() {
		var o outcome
		if r.partial() {
			o.planned = r.Cache.LoadPlanned(c)
		}
		// One processor looks, in small parts: another one evaluates.
		if o.planned != nil && (o.planned.Build != r.build() || !insideMatches(view.Disk(), c, 256)) {
			o.planned = nil
		}
		if o.planned == nil {
			if o.state, o.err = r.Store.Load(); o.err == nil {
				o.ahead = lookAt(view, c, o.state)
			}
		}
		read <- o
	}()
	p, err = r.evaluateFrom(ctx, c.Brief)
	o := <-read
	if o.err != nil || !r.Cache.Current(c) {
		return nil, nil, false, nil
	}
	if o.planned != nil && err == nil {
		if r.part = r.partOf(c, o.planned, p); r.part != nil {
			return r.part.state, p, true, nil
		}
	}
	if o.state == nil {
		if o.state, o.err = r.Store.Load(); o.err != nil {
			return nil, nil, false, nil
		}
		o.ahead = stood(c, o.state)
	}
	if err != nil {
		return nil, nil, true, r.evaluationFailed(ctx, o.state, err)
	}
	r.view.LookAhead(o.ahead)
	return o.state, p, true, nil
}

// stood is what lookAt finds where everything stands as it did.
func stood(c *state.Cache, st *state.State) *apply.Ahead {
	return apply.Stood(c.Paths(), func(i int) (fsys.Sig, bool) { return c.Inside[i].Sig, c.Inside[i].How != state.Absent }, verifiedBy(c, st))
}

// lookAt looks at all that the cache has of the root.
func lookAt(view *apply.View, c *state.Cache, st *state.State) *apply.Ahead {
	return view.Look(c.Paths(), verifiedBy(c, st))
}

// verifiedBy returns the hash of what stands at an entry's path, if it was verified
// while lstat said the same.
func verifiedBy(c *state.Cache, st *state.State) func(i int, sig fsys.Sig) string {
	return func(i int, sig fsys.Sig) string {
		e := &c.Inside[i]
		if e.How != state.Exact || e.Sig != sig {
			return ""
		}
		return st.Owned[e.Path].Hash
	}
}

// look looks again where something may have been changed since: by a command that
// was waited for, or by putting back what had been set aside for one.
func (w *work) look() error {
	c := w.cache
	w.cache = nil // what it says is of the first round alone
	names, err := w.Commands.Names()
	if err != nil || len(names) == 0 && w.disk == nil {
		return err
	}
	w.view.LookAhead(nil)
	if c != nil {
		w.view.LookAhead(lookAt(w.view, c, w.state))
	}
	return nil
}

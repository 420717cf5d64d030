package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"instar/runtime/engine"
	"instar/runtime/plan"
	"instar/runtime/report"
	requests "instar/runtime/request"
	"instar/runtime/service"
	"instar/runtime/service/native"
	"instar/runtime/state"
)

// family carries out, in one command, what the profiles of a tree of instances
// request: each child is converged, and what it requests in turn, before its
// parent goes on.
type family struct {
	app     *app
	manager service.Manager // of all of them; nil leaves services alone
	show    sync.Mutex      // one event is shown at a time
}

// adopt has an engine carry out what the profile of an instance requests.
func (f *family) adopt(e *engine.Engine, in *instance) {
	e.Children = &kin{parent: in,
		carry: func(ctx context.Context, children []*engine.Child) []engine.Outcome {
			return f.fulfil(ctx, in, children)
		},
		end: func(ctx context.Context, names []string, purge bool) []engine.Outcome {
			outcomes := make([]engine.Outcome, len(names))
			for i, name := range names {
				outcomes[i].Report, outcomes[i].Err = f.destroy(ctx, in, name, purge)
			}
			return outcomes
		},
	}
}

// fulfil converges children one after the other, and waits for the promises and
// runs of all of them at once.
func (f *family) fulfil(ctx context.Context, parent *instance, children []*engine.Child) []engine.Outcome {
	outcomes := make([]engine.Outcome, len(children))
	turn := make(chan struct{}, 1)
	var all sync.WaitGroup
	for i, c := range children {
		turn <- struct{}{}
		if ctx.Err() != nil {
			outcomes[i].Err = context.Cause(ctx)
			<-turn
			continue
		}
		var once sync.Once
		next := func() { once.Do(func() { <-turn }) }
		all.Go(func() {
			defer next()
			rep, err := f.converge(ctx, parent, c, next)
			var unkept *engine.UnkeptError
			var below *engine.RequestsError
			outcomes[i] = engine.Outcome{Report: rep, Err: err,
				Unkept: errors.As(err, &unkept) || errors.As(err, &below) && below.Unkept}
		})
	}
	all.Wait()
	return outcomes
}

// converge makes one child what is requested. settled is called when nothing is
// left to do but to wait.
func (f *family) converge(ctx context.Context, parent *instance, c *engine.Child, settled func()) (*report.Report, error) {
	in := &instance{home: parent.home, folder: parent.home.Instance(c.Instance), name: c.Instance,
		settings: c.Settings, limits: parent.limits, mask: parent.mask}
	unlock, err := in.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	st, err := in.folder.Brief()
	if err != nil {
		return nil, err
	}
	if st.Exists() && !st.Settings.Requester.IsBy(c.Settings.Requester) {
		return nil, fmt.Errorf("instance %q was not requested by %q", in.name, parent.name)
	}
	in.mask.Add(st.Secrets...)
	in.mask.Add(c.Settings.Secrets...)
	if in.who, err = identify(in.settings.User, in.settings.Root, true); err != nil {
		return nil, err
	}
	copied, err := in.stage(c)
	if err != nil {
		return nil, err
	}
	in.copied = copied.Path()
	e, done := in.real(f.manager, f.sink(in.name))
	defer done()
	f.adopt(e, in)
	f.wire(e)
	e.Requested, e.Settled = c.State, settled
	evaluate, broken := e.Evaluate, false
	e.Evaluate = func(ctx context.Context, st *state.State, view plan.View) (*plan.Plan, error) {
		p, err := evaluate(ctx, st, view)
		if broken = err != nil; broken {
			return nil, err
		}
		return p, copied.Use()
	}
	r, err := e.Converge(ctx)
	switch {
	case !broken:
		err = errors.Join(err, copied.Use()) // also when nothing had to be evaluated
	case !in.folder.Exists():
		_ = os.RemoveAll(in.folder.Path("profile")) // nothing was made that it would be of
	}
	if noted := in.recorded("apply", "requested by "+parent.name, r); noted != nil {
		f.app.ui.warn(noted.Error())
	}
	if noted := in.rerequest(); noted != nil {
		f.app.ui.warn(noted.Error())
	}
	f.tell(r, err)
	return r, err
}

// stage stores a copy of a child's profile, unless the one that is stored is of
// what is there now.
func (in *instance) stage(c *engine.Child) (*requests.Copy, error) {
	if !c.Touched {
		copied, err := requests.Current(in.folder)
		if err == nil {
			copied.Prune()
		}
		return copied, err
	}
	return requests.StageFrom(in.folder, c.From, c.Settings.Profile, string(in.home), c.Settings.Root)
}

// wire has an engine behave as that of the command's own instance.
func (f *family) wire(e *engine.Engine) {
	e.Reveal, e.Diffs = f.app.opts.reveal, f.app.ui.verbose
	if f.manager != nil {
		e.Unsupported = func(s service.Spec) []string { return native.Unsupported(f.manager, s) }
	}
}

// destroy destroys one child, and what it has requested.
func (f *family) destroy(ctx context.Context, parent *instance, name string, purge bool) (*report.Report, error) {
	in := &instance{home: parent.home, folder: parent.home.Instance(name), name: name, limits: parent.limits, mask: parent.mask}
	unlock, err := in.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	st, err := in.folder.Brief()
	if err != nil {
		return nil, err
	}
	if !st.Exists() { // it was never made
		return nil, errors.Join(requests.Remove(in.home, name), in.folder.Remove())
	}
	in.settings = st.Settings
	in.mask.Add(st.Secrets...)
	if in.who, err = identify(in.settings.User, in.settings.Root, true); err != nil {
		return nil, err
	}
	e, done := in.real(f.manager, f.sink(name))
	defer done()
	f.adopt(e, in)
	r, err := e.Destroy(ctx, purge)
	if err == nil {
		err = in.unrequest(purge, "")
	}
	f.tell(r, err)
	return r, err
}

// sink shows what happens to a child, under its name.
func (f *family) sink(name string) report.Sink {
	next := f.app.ui.follow(false)
	return func(ev report.Event) {
		f.show.Lock()
		defer f.show.Unlock()
		next(named(name, ev))
	}
}

// named is an event with the instance's name before what it is about.
func named(name string, ev report.Event) report.Event {
	switch {
	case ev.Change != nil:
		c := *ev.Change
		if c.Path != "" {
			c.Path = name + ":" + c.Path
		} else if c.Op != string(plan.OpRequest) && c.Op != string(plan.OpRelease) {
			c.Name = name + ":" + c.Name
		}
		ev.Change = &c
	case ev.Service != nil:
		s := *ev.Service
		s.Name = name + ":" + s.Name
		ev.Service = &s
	case ev.Promise != nil:
		p := *ev.Promise
		p.Name = name + ":" + p.Name
		ev.Promise = &p
	case ev.Kind == "warning" || ev.Kind == "bang":
		ev.Text = name + ": " + ev.Text
	case ev.Name != "":
		ev.Name = name + ": " + ev.Name
	}
	return ev
}

// tell shows how the processing of a child ended, when it did or found anything.
func (f *family) tell(r *report.Report, err error) {
	f.show.Lock()
	defer f.show.Unlock()
	s := r.Summary
	if err == nil && r.Pending == nil && s.Changed+s.Removed+s.Restarted == 0 {
		return
	}
	if err != nil {
		f.app.ui.showError(err)
	}
	switch {
	case f.app.ui.json:
		f.app.ui.say("%s", r.Recap())
	case !f.app.ui.quiet:
		if r.Pending != nil {
			f.app.ui.print(f.app.ui.paint(yellow, "pending:") + " " + clean(r.Instance+": "+*r.Pending) + "\n")
		}
		f.app.ui.recap(r)
	}
}

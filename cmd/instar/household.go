package main

import (
	"context"
	"fmt"
	"sync"

	"instar/runtime/control"
	"instar/runtime/engine"
	"instar/runtime/node"
	"instar/runtime/plan"
	"instar/runtime/report"
	requests "instar/runtime/request"
	"instar/runtime/secret"
	"instar/runtime/service"
	"instar/runtime/service/supervise"
	"instar/runtime/state"
)

// household is what one `up` serves: its instance, and those that are requested
// from it, under one supervisor.
type household struct {
	app        *app
	mask       *secret.Masker
	supervisor *supervise.Supervisor
	work       sync.WaitGroup

	mu      sync.Mutex
	ctx     context.Context // ends all serving
	members map[string]*serving
}

// relations are what an instance that is served has to do with others.
type relations struct {
	mu      sync.Mutex
	wanted  *engine.Child  // as it is requested; nil: by an operator
	copied  *requests.Copy // of its profile, then
	last    *report.Report
	told    string         // what the requester was told of last
	carried map[string]int // instances that it requests and waits for
	child   bool           // it is served because it was requested
	gone    chan struct{}  // closed when it is not served any more
}

// ownExits are those of one instance alone.
type ownExits struct {
	*supervise.Supervisor
	name string
}

// Exits implements [service.Manager].
func (m ownExits) Exits(ctx context.Context) (<-chan service.Exit, error) {
	all, err := m.Supervisor.Exits(ctx)
	if err != nil {
		return nil, err
	}
	own := make(chan service.Exit)
	go func() {
		defer close(own)
		for exit := range all {
			if exit.Instance != m.name {
				continue
			}
			select {
			case own <- exit:
			case <-ctx.Done():
			}
		}
	}()
	return own, nil
}

// member makes an instance one of those that are served.
func (h *household) member(in *instance, v *view) *serving {
	s := &serving{app: h.app, instance: in, view: v, history: &upHistory{in: in}, house: h, ready: make(chan struct{}),
		relations: relations{gone: make(chan struct{}), carried: map[string]int{}}}
	s.node = node.New(s.options(h.supervisor))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.members[in.name] = s
	return s
}

func (h *household) find(name string) *serving {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.members[name]
}

// changed tells of a service's new state.
func (h *household) changed(instance string, s service.State) {
	if member := h.find(instance); member != nil {
		member.node.Changed(s)
	}
}

// serve serves the first member until ctx ends, or that one is destroyed, and
// with it all others.
func (h *household) serve(ctx context.Context, s *serving, first *control.Action) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	h.mu.Lock()
	h.ctx = ctx
	h.mu.Unlock()
	err := s.run(ctx, first)
	cancel(nil)
	h.work.Wait()
	return err
}

// join serves a child, and returns it when it takes commands.
func (h *household) join(parent *instance, c *engine.Child) (*serving, error) {
	if s := h.find(c.Instance); s != nil {
		return s, nil
	}
	in := &instance{home: parent.home, folder: parent.home.Instance(c.Instance), name: c.Instance,
		settings: c.Settings, limits: parent.limits, mask: parent.mask}
	h.mu.Lock()
	ctx := h.ctx
	h.mu.Unlock()
	if err := in.notElsewhere(ctx); err != nil {
		return nil, err
	}
	release, err := in.serveAlone()
	if err != nil {
		return nil, err
	}
	ctx, leave := context.WithCancel(ctx)
	s := h.member(in, newView(h.app.ui, in.name))
	s.view.starting = false // before anything is shown
	s.child = true
	failed := make(chan error, 1)
	h.work.Go(func() {
		defer func() {
			leave()
			h.mu.Lock()
			delete(h.members, in.name)
			h.mu.Unlock()
			s.view.close(false)
			release()
			close(s.gone)
		}()
		failed <- s.run(ctx, nil)
	})
	select {
	case <-s.ready:
		return s, nil
	case err := <-failed:
		if err == nil {
			err = node.ErrGone
		}
		return nil, err
	}
}

// asRequested has an instance that another one requests be processed as that one
// wants it; requested is the state that it shall be in.
func (s *serving) asRequested(in *instance) (requested string, err error) {
	s.relations.mu.Lock()
	defer s.relations.mu.Unlock()
	if s.wanted == nil {
		return "", nil
	}
	in.settings = s.wanted.Settings
	if s.copied == nil {
		if s.copied, err = requests.Current(in.folder); err != nil {
			return "", err
		}
	}
	in.copied = s.copied.Path()
	return s.wanted.State, nil
}

// relate wires an engine: what the profile requests is served here, too.
func (s *serving) relate(e *engine.Engine, in *instance, requested string, action control.Action) {
	e.Children = &kin{parent: in,
		carry: func(ctx context.Context, children []*engine.Child) []engine.Outcome {
			return engine.Gather(ctx, e.Patience, len(children), s.house.work.Go, func(i int) engine.Outcome {
				out, err := s.carry(in, children[i], action.Settings != nil)
				if err != nil {
					out.Err = err
				}
				return out
			})
		},
		end: func(ctx context.Context, names []string, purge bool) []engine.Outcome {
			return engine.Gather(ctx, e.Patience, len(names), s.house.work.Go, func(i int) engine.Outcome {
				return s.end(in, names[i], purge)
			})
		},
	}
	if requested == "" {
		return
	}
	s.relations.mu.Lock()
	copied := s.copied
	s.relations.mu.Unlock()
	e.Requested = requested
	evaluate := e.Evaluate
	e.Evaluate = func(ctx context.Context, st *state.State, view plan.View) (*plan.Plan, error) {
		p, err := evaluate(ctx, st, view)
		if err != nil {
			return nil, err
		}
		return p, copied.Use()
	}
}

// carry makes one child what is requested, and waits for that.
func (s *serving) carry(in *instance, c *engine.Child, asked bool) (engine.Outcome, error) {
	st, err := in.home.Instance(c.Instance).Brief()
	if err != nil {
		return engine.Outcome{}, err
	}
	if st.Exists() && !st.Settings.Requester.IsBy(c.Settings.Requester) {
		return engine.Outcome{}, fmt.Errorf("instance %q was not requested by %q", c.Instance, in.name)
	}
	s.house.mask.Add(c.Secrets...)
	known := s.house.find(c.Instance)
	child, err := s.house.join(in, c)
	if err != nil {
		return engine.Outcome{}, err
	}
	child.relations.mu.Lock()
	same := known != nil && child.last != nil && child.last.Error == nil && c.Differs == "" && !asked
	child.wanted = c
	if c.Touched {
		child.copied, err = child.instance.stage(c)
	}
	last := child.last
	child.relations.mu.Unlock()
	if err != nil {
		return engine.Outcome{}, err
	}
	if same {
		return engine.Outcome{Report: last}, nil
	}
	defer s.carrying(c.Instance)()
	r, exit := child.node.Act(s.house.ctx, c.Instance, control.Action{Verb: "apply", Diffs: s.app.ui.verbose, Reason: "requested by " + in.name}, nil)
	return node.OutcomeOf(r, exit), nil
}

// end destroys one child.
func (s *serving) end(in *instance, name string, purge bool) engine.Outcome {
	child := s.house.find(name)
	if child == nil { // destroyed before, or never made
		f := &family{app: s.app, manager: s.house.supervisor}
		r, err := f.destroy(s.house.ctx, in, name, purge)
		return engine.Outcome{Report: r, Err: err}
	}
	defer s.carrying(name)()
	child.relations.mu.Lock()
	child.wanted = nil // else it would be made again
	child.relations.mu.Unlock()
	r, exit := child.node.Act(s.house.ctx, name, control.Action{Verb: "destroy", Purge: purge}, nil)
	out := node.OutcomeOf(r, exit)
	if out.Err == nil {
		<-child.gone
		out.Err = child.instance.unrequest(purge, "")
	}
	return out
}

// carrying has news of a child go nowhere until the returned function is called:
// it is waited for.
func (s *serving) carrying(child string) (done func()) {
	s.relations.mu.Lock()
	defer s.relations.mu.Unlock()
	s.carried[child]++
	return func() {
		s.relations.mu.Lock()
		defer s.relations.mu.Unlock()
		s.carried[child]--
	}
}

// hear takes what happens to the instance: it is shown, and an instance that
// requested this one is processed when something else came of it.
func (s *serving) hear(ev report.Event) {
	shown := ev
	if s.child {
		shown = named(s.instance.name, ev)
	}
	s.view.show(shown)
	if ev.Kind != "done" {
		return
	}
	st, err := s.instance.folder.Brief()
	news := ""
	if err == nil {
		news = node.NewsOf(st, ev.Report.Error == nil)
	}
	s.relations.mu.Lock()
	before, wanted := s.told, s.wanted
	s.last, s.told = ev.Report, news
	s.relations.mu.Unlock()
	if wanted == nil || before == news {
		return
	}
	parent := s.house.find(wanted.Settings.Requester.Instance)
	if parent == nil {
		return
	}
	parent.relations.mu.Lock()
	waits := parent.carried[s.instance.name] > 0
	parent.relations.mu.Unlock()
	if !waits {
		parent.node.Nudge()
	}
}

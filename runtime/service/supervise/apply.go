package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"instar/runtime/plan"
	"instar/runtime/service"
)

// instance is the units of one instance and the order among them.
type instance struct {
	sup  *Supervisor
	name string
	// applying holds a token while one Apply is at work.
	applying chan struct{}
	opened   bool    // leftovers are ended; guarded by applying
	records  records // what to end should we be killed

	mu      sync.Mutex // guards what follows, and in each unit what says so
	closed  bool
	units   map[string]*unit
	changed chan struct{} // closed and replaced when a unit may have become ready
}

func newInstance(s *Supervisor, name string) *instance {
	return &instance{sup: s, name: name, applying: make(chan struct{}, 1),
		units: map[string]*unit{}, changed: make(chan struct{})}
}

// Apply implements [service.Manager]. First come the stops, those of
// dependents before those of what they depend on, then, for each service as
// soon as its own stop and those named in its `after` permit, the starts. A
// start that has to wait for a run, or for a service that fails, is left
// Waiting, which is no error; a program that can't be started is one, and is
// tried again all the same. When ctx ends, Apply returns, and what it had begun
// goes on.
func (s *Supervisor) Apply(ctx context.Context, name string, changes []service.Change) error {
	in, err := s.instance(name)
	if err != nil {
		return err
	}
	select {
	case in.applying <- struct{}{}:
		defer func() { <-in.applying }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := in.open(ctx); err != nil {
		return err
	}
	steps, err := in.prepare(changes)
	if err != nil {
		return err
	}
	byName := make(map[string]*step, len(steps))
	for _, st := range steps {
		byName[st.unit.name] = st
	}
	var all sync.WaitGroup
	for _, st := range steps {
		st.link(byName)
	}
	for _, st := range steps {
		all.Go(func() { st.run(ctx) })
	}
	all.Wait()
	var failed []error
	for _, st := range steps {
		failed = append(failed, st.err)
	}
	return errors.Join(failed...)
}

// step is one change of one unit, and what it waits for.
type step struct {
	unit    *unit
	change  service.Change
	after   []string // of the process that is stopped
	err     error
	stopped chan struct{} // closed when there is nothing to stop any more
	started chan struct{} // closed when the start was tried

	dependents []*step // stops that come first
	needs      []*step // starts that come first
}

func (st *step) stops() bool {
	switch st.change.Op {
	case service.Stop, service.Unload, service.Restart:
		return true
	}
	return false
}

func (st *step) starts() bool {
	return st.change.Op == service.Start || st.change.Op == service.Restart
}

// prepare finds or makes the units, and lets those to be started count as
// wanted and not yet started, so that others wait for them.
func (in *instance) prepare(changes []service.Change) ([]*step, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil, errClosed
	}
	var steps []*step
	for _, c := range changes {
		u := in.units[c.Name]
		if u == nil {
			if c.Op == service.Stop || c.Op == service.Unload {
				continue
			}
			u = in.add(c.Spec)
		}
		if c.Op == service.Start && u.state.PID != 0 && u.state.Digest != c.Spec.Digest && !c.Spec.Timer() {
			c.Op = service.Restart
		}
		st := &step{unit: u, change: c, after: u.state.After, stopped: make(chan struct{}), started: make(chan struct{})}
		if st.starts() {
			u.state.Run, u.state.After = c.Spec.Run, c.Spec.After
			u.wanted = true
			u.started = u.started && u.state.PID != 0 && c.Op == service.Start
		}
		steps = append(steps, st)
	}
	return steps, nil
}

// link finds the steps that st waits for. A cycle is not heeded, so that
// nothing waits for ever.
func (st *step) link(steps map[string]*step) {
	for _, name := range st.stopsBefore() {
		if needed := steps[name]; needed != nil && needed.stops() && !needed.behind(st, steps, (*step).stopsBefore) {
			needed.dependents = append(needed.dependents, st)
		}
	}
	for _, name := range st.startsAfter() {
		if needed := steps[name]; needed != nil && needed.starts() && !needed.behind(st, steps, (*step).startsAfter) {
			st.needs = append(st.needs, needed)
		}
	}
}

// stopsBefore names what st must be stopped before.
func (st *step) stopsBefore() []string {
	if !st.stops() {
		return nil
	}
	return st.after
}

// startsAfter names what must be started before st.
func (st *step) startsAfter() []string {
	if !st.starts() {
		return nil
	}
	return st.change.Spec.After
}

// behind reports whether st is other, or comes after it by the given relation,
// directly or through others.
func (st *step) behind(other *step, steps map[string]*step, relation func(*step) []string) bool {
	seen := map[*step]bool{}
	var look func(st *step) bool
	look = func(st *step) bool {
		if st == nil || seen[st] {
			return false
		}
		seen[st] = true
		return st == other || slices.ContainsFunc(relation(st), func(name string) bool { return look(steps[name]) })
	}
	return look(st)
}

// run performs the step in its turn.
func (st *step) run(ctx context.Context) {
	defer close(st.started)
	st.err = func() error {
		defer close(st.stopped)
		if !st.stops() {
			return nil
		}
		for _, d := range st.dependents {
			if !passed(ctx, d.stopped) {
				return ctx.Err()
			}
		}
		op := service.Stop
		if st.change.Op == service.Unload {
			op = service.Unload
		}
		return st.unit.ask(ctx, request{op: op, spec: st.change.Spec, again: st.starts()})
	}()
	if st.err != nil || st.change.Op == service.Stop || st.change.Op == service.Unload {
		return
	}
	for _, n := range st.needs {
		if !passed(ctx, n.started) {
			st.err = ctx.Err()
			return
		}
	}
	op := st.change.Op
	if op == service.Restart {
		op = service.Start
	}
	st.err = st.unit.ask(ctx, request{op: op, spec: st.change.Spec})
}

// passed waits for a step of another one; false means that ctx ended.
func passed(ctx context.Context, step <-chan struct{}) bool {
	select {
	case <-step:
		return true
	case <-ctx.Done():
		return false
	}
}

// open makes the folder of logs and ends what an earlier supervisor of this
// instance left, once, before anything is started.
func (in *instance) open(ctx context.Context) error {
	if in.opened {
		return nil
	}
	dir := in.sup.options.LogDir(in.name)
	if err := makeLogDir(dir); err != nil {
		return err
	}
	if in.sup.options.RecordDir != nil {
		dir = in.sup.options.RecordDir(in.name)
	}
	if err := in.endLeftovers(ctx, dir); err != nil {
		return fmt.Errorf("cannot end what an earlier run of %q left: %w", in.name, err)
	}
	in.opened = true
	return nil
}

// close stops all units in reverse start order and ends their goroutines.
func (in *instance) close() error {
	in.mu.Lock()
	in.closed = true
	units := make(map[string]*unit, len(in.units))
	after := map[string][]string{}
	for name, u := range in.units {
		units[name], after[name] = u, u.state.After
	}
	in.mu.Unlock()
	order := service.StartOrder(plan.SortedKeys(units), after)
	stopped := make(map[string]chan struct{}, len(order))
	dependents := make(map[string][]string, len(order))
	for i, name := range order {
		stopped[name] = make(chan struct{})
		for _, needed := range after[name] {
			if slices.Contains(order[:i], needed) { // else it is a cycle, or not there
				dependents[needed] = append(dependents[needed], name)
			}
		}
	}
	failed := make([]error, len(order))
	var all sync.WaitGroup
	for i, name := range order {
		all.Go(func() {
			defer close(stopped[name])
			for _, d := range dependents[name] {
				<-stopped[d]
			}
			failed[i] = units[name].ask(context.Background(), request{op: service.Unload})
		})
	}
	all.Wait()
	err := errors.Join(failed...)
	in.records.close(err == nil)
	return err
}

// tell wakes the units that wait for others; called with mu held.
func (in *instance) tell() {
	close(in.changed)
	in.changed = make(chan struct{})
}

// ready reports whether all that spec is after has been started, and returns
// what is closed when that may have changed. What is not wanted at the moment
// is not waited for.
func (in *instance) ready(spec service.Spec) (bool, <-chan struct{}) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, name := range spec.After {
		u := in.units[name]
		if u != nil && u.name != spec.Name && u.wanted && !u.up() {
			return false, in.changed
		}
	}
	return true, in.changed
}

package promise

import (
	"context"
	"math/rand/v2"
	"sync"

	"instar/runtime/plan"
)

// Watcher checks promises for as long as an instance is served.
type Watcher struct {
	checker *Checker
	raise   func(plan.Promise, Result)
	seen    func(Result)
	cancel  context.CancelFunc
	done    sync.WaitGroup
	slots   chan struct{}
	calls   sync.Mutex // one callback at a time

	mu     sync.Mutex
	states []state
}

// state is what a watcher knows of one promise.
type state struct {
	last   Result
	known  bool
	failed int  // times in a row
	raised bool // raise was called since it last held
}

// Watch checks every promise each Period (2 minutes when that is 0), within 10 %,
// the first time at a random moment of its first period, until ctx ends or
// [Watcher.Stop] is called.
//
// When a promise has failed Failures times in a row (once when that is 0),
// raise is called; and then not again before the promise has held in between,
// or [Watcher.Reset]. seen, if not nil, is told every result. Both are called
// one at a time, and must not call Stop.
func (c *Checker) Watch(ctx context.Context, promises []plan.Promise, raise func(plan.Promise, Result), seen func(Result)) *Watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &Watcher{
		checker: c,
		raise:   raise,
		seen:    seen,
		cancel:  cancel,
		slots:   make(chan struct{}, atOnce),
		states:  make([]state, len(promises)),
	}
	for i, p := range promises {
		w.done.Go(func() { w.watch(ctx, i, p) })
	}
	return w
}

// Stop ends watching and waits until no check and no callback runs any more.
func (w *Watcher) Stop() {
	w.cancel()
	w.done.Wait()
}

// Reset forgets all failures: each promise may raise anew.
func (w *Watcher) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.states {
		w.states[i].failed, w.states[i].raised = 0, false
	}
}

// Results returns the last result of each promise that was checked, in the
// order of promises.
func (w *Watcher) Results() []Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []Result
	for _, s := range w.states {
		if s.known {
			list = append(list, s.last)
		}
	}
	return list
}

func (w *Watcher) watch(ctx context.Context, i int, p plan.Promise) {
	period := p.Period
	if period <= 0 {
		period = defaultPeriod
	}
	pause := rand.N(period)
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.checker.after(pause):
		}
		if !w.check(ctx, i, p) {
			return
		}
		pause = period*9/10 + rand.N(period/5+1)
	}
}

// check checks once and tells whoever must know. It returns false when
// watching has ended.
func (w *Watcher) check(ctx context.Context, i int, p plan.Promise) bool {
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	r := w.checker.Check(ctx, p)
	<-w.slots
	if ctx.Err() != nil {
		return false // stopped: the result says nothing about the instance
	}
	raise := w.note(i, p, r)
	w.calls.Lock()
	defer w.calls.Unlock()
	if w.seen != nil {
		w.seen(r)
	}
	if raise && w.raise != nil {
		w.raise(p, r)
	}
	return true
}

// note counts, and reports whether it is time to raise.
func (w *Watcher) note(i int, p plan.Promise, r Result) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.states[i]
	s.last, s.known = r, true
	if r.OK {
		s.failed, s.raised = 0, false
		return false
	}
	s.failed++
	if s.raised || s.failed < p.Failures {
		return false
	}
	s.raised = true
	return true
}

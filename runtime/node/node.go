// Package node keeps instances alive: it processes an instance when that was
// asked for, when a service ended that nobody stopped, when its promises fail,
// and when the last processing did not come to its end.
//
// An [Instance] is one that is served: one goroutine processes it, so there is
// one run at a time; others watch its services and promises and raise a bang. It
// is what `instar up` runs, and answers what comes through the control socket.
//
// The invariant: whatever happens to one processing, the services that run keep
// running, and the next processing finds what the last one left.
package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"instar/runtime/control"
	"instar/runtime/engine"
	"instar/runtime/plan"
	"instar/runtime/promise"
	"instar/runtime/report"
	"instar/runtime/service"
	"instar/runtime/state"
)

// Options say how an instance is processed.
type Options struct {
	Name string
	// Engine returns what processes the instance, its manager included.
	// Settings nil means: the remembered ones. Close is called afterwards.
	Engine func(settings *state.Settings, action control.Action) (e *engine.Engine, closeEngine func(), err error)
	// Lock takes the instance's lock, or fails with [state.ErrLocked].
	Lock func() (unlock func(), err error)
	// Load reads the instance's state; Save replaces it.
	Load    func() (*state.State, error)
	Save    func(*state.State) error
	Manager service.Manager
	Checker *promise.Checker // for the periodical checks; nil checks nothing
	// Status completes what is shown of a state: published values and the
	// like, masked unless reveal is set.
	Status func(st *state.State, reveal bool) (*report.Status, error)
	// Exit gives the exit code of an outcome.
	Exit func(*report.Report, error) int
	// Sink sees everything that happens, whoever asked for it.
	Sink report.Sink
	Now  func() time.Time
}

// Instance is one instance that is served.
type Instance struct {
	options Options
	jobs    chan *job
	banging chan string // reason; at most one waits
	gone    chan struct{}

	mu          sync.Mutex
	patience    context.Context         // of a processing that nobody waits for; else nil
	preempt     context.CancelCauseFunc // ends it
	subscribers map[chan report.Event]bool
	results     map[string]report.Promise
	specs       []service.Spec
	held        map[string]bool
	banged      bool
	watcher     *promise.Watcher
	destroyed   bool
}

// job is one action, and where its outcome goes.
type job struct {
	action control.Action
	sink   report.Sink
	done   chan outcome
}

type outcome struct {
	report *report.Report
	exit   int
}

// Retry is how long a processing that failed waits for the next one, at first
// and at most.
const (
	retryFirst = time.Second
	retryMost  = 5 * time.Minute
)

// lockPatience is how long another run's lock is waited for.
const lockPatience = 10 * time.Second

var (
	// ErrPreempted ends a processing that nobody waited for, when somebody asks
	// for another one.
	ErrPreempted = errors.New("another command took over")
	errGone      = errors.New("the instance is not served any more")
)

// New returns an instance that Run will serve.
func New(options Options) *Instance {
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Instance{
		options: options, jobs: make(chan *job), banging: make(chan string, 1), gone: make(chan struct{}),
		subscribers: map[chan report.Event]bool{}, results: map[string]report.Promise{}, held: map[string]bool{},
	}
}

// Run performs the first action and then serves the instance until ctx ends or
// it is destroyed. The first outcome is given to started; when that returns
// false, Run returns at once.
func (n *Instance) Run(ctx context.Context, first control.Action, started func(*report.Report, error) bool) error {
	var background sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		close(n.gone)
		n.stopWatching()
		background.Wait()
		n.closeEvents()
	}()
	exits, err := n.options.Manager.Exits(ctx)
	if err != nil {
		return err
	}
	background.Go(func() {
		for exit := range exits {
			n.bang(fmt.Sprintf("service %s ended: %s", exit.Name, exit.Reason))
		}
	})
	rep, err := n.automatic(ctx, first)
	if !started(rep, err) || ctx.Err() != nil {
		return nil
	}
	n.loop(ctx, n.next(rep, err, retryFirst))
	return nil
}

// loop performs jobs, bangs and retries, one at a time.
func (n *Instance) loop(ctx context.Context, retry time.Duration) {
	for {
		var timer <-chan time.Time
		if retry > 0 {
			timer = time.After(retry)
		}
		select {
		case <-ctx.Done():
			return
		case j := <-n.jobs:
			rep, err := n.act(ctx, j.action, j.sink)
			j.done <- outcome{rep, n.options.Exit(rep, err)}
			if n.isDestroyed() {
				return
			}
			if j.action.Verb == "apply" || j.action.Verb == "start" {
				retry = n.next(rep, err, retryFirst)
			}
		case reason := <-n.banging:
			n.recordBang(reason)
			rep, err := n.automatic(ctx, control.Action{Verb: "apply"})
			retry = n.next(rep, err, retryFirst)
		case <-timer:
			rep, err := n.automatic(ctx, control.Action{Verb: "apply"})
			retry = n.next(rep, err, min(2*retry, retryMost))
		}
	}
}

// next says when an instance is processed again after this outcome; 0 when it
// is as it should be. A failed promise is watched, not retried.
func (n *Instance) next(rep *report.Report, err error, after time.Duration) time.Duration {
	var unkept *engine.UnkeptError
	switch {
	case errors.As(err, &unkept):
		return 0
	case err != nil, rep != nil && rep.Pending != nil:
		return after
	}
	return 0
}

// automatic processes the instance although nobody waits for it: whoever asks
// for something ends its waiting for promises.
func (n *Instance) automatic(ctx context.Context, action control.Action) (*report.Report, error) {
	patience, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	n.mu.Lock()
	n.patience, n.preempt = patience, cancel
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.patience, n.preempt = nil, nil
		n.mu.Unlock()
	}()
	return n.act(ctx, action, nil)
}

// process converges the instance.
func (n *Instance) process(ctx context.Context, requested string, action control.Action, sink report.Sink) (*report.Report, error) {
	return n.locked(ctx, action, func(e *engine.Engine) (*report.Report, error) {
		e.Requested, e.Sink, e.Held = requested, n.tee(sink), n.heldNow()
		n.mu.Lock()
		e.Patience = n.patience
		n.mu.Unlock()
		n.stopWatching()
		rep, err := e.Converge(ctx)
		n.after(ctx, e, rep, err)
		return rep, err
	})
}

// locked runs do with an engine, holding the instance's lock.
func (n *Instance) locked(ctx context.Context, action control.Action, do func(*engine.Engine) (*report.Report, error)) (*report.Report, error) {
	unlock, err := n.lock(ctx)
	if err != nil {
		return n.failed(err)
	}
	defer unlock()
	e, closeEngine, err := n.options.Engine(action.Settings, action)
	if err != nil {
		return n.failed(err)
	}
	defer closeEngine()
	return do(e)
}

// failed is the report of what could not even begin.
func (n *Instance) failed(err error) (*report.Report, error) {
	rep := &report.Report{FormatVersion: report.FormatVersion, Instance: n.options.Name,
		Changes: []report.Change{}, Published: map[string]any{}, Summary: report.Summary{Failed: 1},
		Error: report.ErrorOf(err, func(s string) string { return s })}
	n.tee(nil)(report.Event{Time: n.options.Now(), Kind: "done", Report: rep})
	return rep, err
}

func (n *Instance) lock(ctx context.Context) (func(), error) {
	deadline := time.Now().Add(lockPatience)
	for {
		unlock, err := n.options.Lock()
		if !errors.Is(err, state.ErrLocked) || time.Now().After(deadline) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// after takes over what a processing has found, and watches the promises.
func (n *Instance) after(ctx context.Context, e *engine.Engine, rep *report.Report, err error) {
	n.mu.Lock()
	if e.Specs != nil {
		n.specs = e.Specs
	}
	for _, p := range rep.Promises {
		n.results[p.Name] = p
	}
	if err == nil {
		n.banged = false
	}
	n.mu.Unlock()
	st, loadErr := n.options.Load()
	if loadErr != nil || st.Requested != state.Started {
		return
	}
	n.watch(ctx, st.Promises)
}

func (n *Instance) watch(ctx context.Context, promises []plan.Promise) {
	if n.options.Checker == nil || len(promises) == 0 {
		return
	}
	w := n.options.Checker.Watch(context.WithoutCancel(ctx), promises, func(p plan.Promise, r promise.Result) {
		n.bang(fmt.Sprintf("promise %s failed %d times in a row: %s", p.Name, p.Failures, r.Message))
	}, n.seen)
	n.mu.Lock()
	n.watcher = w
	n.mu.Unlock()
}

// seen takes one periodical result.
func (n *Instance) seen(r promise.Result) {
	now := report.Promise{Name: r.Name, OK: r.OK, Message: r.Message, At: r.At}
	n.mu.Lock()
	last, known := n.results[r.Name]
	n.results[r.Name] = now
	n.mu.Unlock()
	if !known || last.OK != now.OK {
		n.tee(nil)(report.Event{Time: r.At, Kind: "promise", Name: r.Name, Promise: &now})
	}
}

func (n *Instance) stopWatching() {
	n.mu.Lock()
	w := n.watcher
	n.watcher = nil
	n.mu.Unlock()
	if w != nil {
		w.Stop()
	}
}

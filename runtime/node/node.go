// Package node keeps instances alive: it processes an instance when that was
// asked for, when a service ended that nobody stopped, when its promises fail,
// when the last processing did not come to its end, and once a day.
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
	"instar/runtime/promise"
	"instar/runtime/report"
	"instar/runtime/secret"
	"instar/runtime/service"
	"instar/runtime/state"
)

// Options say how an instance is processed.
type Options struct {
	Name string
	// Engine returns what processes the instance for an action, its manager
	// included. An action without settings means the remembered ones. Close is
	// called afterwards. What it sets as requested holds where the action itself
	// asks for no state.
	Engine func(action control.Action) (e *engine.Engine, closeEngine func(), err error)
	// Lock takes the instance's lock, or fails with [state.ErrLocked].
	Lock func() (unlock func(), err error)
	// Load reads the instance's state; Save replaces it.
	Load    func() (*state.State, error)
	Save    func(*state.State) error
	Manager service.Manager
	Checker *promise.Checker // for the periodical checks; nil checks nothing
	// Mask hides the instance's secrets in whatever is told of it.
	Mask *secret.Masker
	// Status completes what is shown of a state: published values and the
	// like, masked unless reveal is set.
	Status func(st *state.State, reveal bool) (*report.Status, error)
	// Unasked is what the instance does when nobody asks for anything; nil: it
	// applies.
	Unasked func() control.Action
	// Hurry, if not nil, is called when somebody asks for something: Lock, if it is
	// waited for, should return soon.
	Hurry func()
	// Exit gives the exit code of an outcome.
	Exit func(*report.Report, error) int
	// Sink sees everything that happens, whoever asked for it. It is called
	// from several goroutines, and must return soon.
	Sink report.Sink
	// Version is that of this program, for metrics.
	Version string
}

// Instance is one instance that is served.
type Instance struct {
	options Options
	jobs    chan *job
	banging chan alert    // at most one waits
	nudge   chan struct{} // what the last processing lacked may be there now
	gone    chan struct{}

	mu          sync.Mutex
	asking      int                     // how many wait for their turn
	patience    context.Context         // of a processing that nobody waits for; else nil
	preempt     context.CancelCauseFunc // ends it
	destroying  int                     // how many wait for their turn to destroy
	interrupt   context.CancelCauseFunc // ends the processing at work, commands included; else nil
	subscribers map[chan report.Event]bool
	results     map[string]report.Promise
	specs       []service.Spec
	held        map[string]bool
	banged      bool // since the last success
	unkept      bool // the last processing ended with a promise or run that failed
	watcher     *promise.Watcher
	destroyed   bool

	meter *meter
	owns  bool // the meter: nobody else counts for it

	// Of the goroutine of Run alone.
	exits        <-chan service.Exit // nil when there are no more
	lockPatience time.Duration
	last         *processed // the last processing, until the loop has taken it
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

// alert is a bang on its way.
type alert struct {
	at      time.Time
	reason  string
	service string // that ended; "" when it is something else
}

// processed is how a processing went.
type processed struct {
	again   bool // to be tried again soon
	watched *watched
}

// How long until an instance is processed again: after a failure, at first and
// at most, and when all is well.
const (
	retryFirst = time.Second
	retryMost  = 5 * time.Minute
	period     = 24 * time.Hour
)

// lockPatience is how long another run's lock is waited for.
const lockPatience = 10 * time.Second

var (
	// ErrPreempted ends a processing that nobody waited for, when somebody asks
	// for another one.
	ErrPreempted = errors.New("another command took over")
	// ErrInterrupted ends a processing of an instance that somebody wants destroyed.
	ErrInterrupted = errors.New("interrupted, since the instance is to be destroyed")
	// ErrGone says that what served the instance has ended.
	ErrGone = errors.New("the instance is not served any more")
)

// New returns an instance that Run will serve.
func New(options Options) *Instance {
	return newInstance(options, newMeter(newTook()), true)
}

// newInstance returns an instance for which a meter counts.
func newInstance(options Options, m *meter, owns bool) *Instance {
	return &Instance{
		meter: m, owns: owns,
		options: options, jobs: make(chan *job), banging: make(chan alert, 1), nudge: make(chan struct{}, 1), gone: make(chan struct{}),
		subscribers: map[chan report.Event]bool{}, results: map[string]report.Promise{}, held: map[string]bool{},
	}
}

// Run performs the first action, unless that is nil, and then serves the instance
// until ctx ends or it is destroyed. Where started is given, it is told the first
// outcome, which may not wait for another run of the instance; when it returns
// false, Run returns at once.
func (n *Instance) Run(ctx context.Context, first *control.Action, started func(*report.Report, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		n.leave()
		n.stopWatching()
		for n.exits != nil {
			exit, ok := <-n.exits
			n.ended(exit, ok)
		}
	}()
	var err error
	if n.exits, err = n.options.Manager.Exits(ctx); err != nil {
		return err
	}
	if started == nil {
		n.lockPatience = lockPatience
	}
	if first != nil {
		r, err := n.automatic(ctx, *first) // what came of it is in n.last, too
		if errors.Is(err, ErrPreempted) || errors.Is(err, ErrInterrupted) {
			err = nil // what was asked for meanwhile tells the rest
		}
		if started != nil && !started(r, err) {
			return nil
		}
	}
	n.lockPatience = lockPatience
	if ctx.Err() == nil && !n.Destroyed() {
		n.loop(ctx)
	}
	return nil
}

// ended takes one exit, or that there are no more.
func (n *Instance) ended(exit service.Exit, ok bool) {
	if !ok {
		n.exits = nil
		return
	}
	if n.owns {
		n.meter.exit(exit.Name)
	}
	n.bang(alert{exit.At, n.mask(fmt.Sprintf("service %s ended: %s", exit.Name, exit.Reason)), exit.Name})
}

// loop performs jobs, bangs and retries, one at a time.
func (n *Instance) loop(ctx context.Context) {
	s := newSchedule()
	defer s.stop()
	for {
		s.take(n.last)
		n.last = nil
		select {
		case <-ctx.Done():
			return
		case exit, ok := <-n.exits:
			n.ended(exit, ok)
			continue
		case j := <-n.jobs:
			s.restart()
			rep, err := n.act(ctx, j.action, j.sink)
			j.done <- outcome{rep, n.options.Exit(rep, err)}
			if n.Destroyed() {
				return
			}
			continue
		case a := <-n.banging:
			s.restart()
			n.recordBang(a)
		case <-n.nudge:
			s.restart()
		case <-s.timer.C:
		case <-s.look():
			if !s.changed() {
				continue
			}
			s.restart()
		}
		_, _ = n.automatic(ctx, n.unasked()) // what it found is in n.last
		if n.Destroyed() {
			return
		}
	}
}

func (n *Instance) unasked() control.Action {
	if n.options.Unasked == nil {
		return control.Action{Verb: "apply"}
	}
	return n.options.Unasked()
}

// automatic processes the instance although nobody waits for it: whoever asks
// for something ends its waiting for promises.
func (n *Instance) automatic(ctx context.Context, action control.Action) (*report.Report, error) {
	patience, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	n.mu.Lock()
	n.patience, n.preempt = patience, cancel
	if n.asking > 0 {
		cancel(ErrPreempted)
	}
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
	return n.locked(ctx, action, sink, func(e *engine.Engine) (*report.Report, error) {
		e.Held = n.heldNow()
		if requested != "" {
			e.Requested = requested
		}
		n.mu.Lock()
		e.Patience = n.patience
		n.mu.Unlock()
		e.Saved, e.VerifyIdempotent = action.Plan, action.VerifyIdempotent
		n.stopWatching()
		rep, err := n.converge(ctx, e)
		n.after(ctx, e, rep, err)
		return rep, err
	})
}

// converge runs e, until somebody wants the instance destroyed.
func (n *Instance) converge(ctx context.Context, e *engine.Engine) (*report.Report, error) {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	n.mu.Lock()
	n.interrupt = cancel
	if n.destroying > 0 {
		cancel(ErrInterrupted)
	}
	n.mu.Unlock()
	rep, err := e.Converge(work)
	n.mu.Lock()
	n.interrupt = nil
	n.mu.Unlock()
	if err != nil && ctx.Err() == nil && context.Cause(work) == ErrInterrupted {
		err = ErrInterrupted
		rep.Error = report.ErrorOf(err, n.mask)
	}
	return rep, err
}

// locked runs do with an engine, holding the instance's lock, and tells how it
// went.
func (n *Instance) locked(ctx context.Context, action control.Action, sink report.Sink, do func(*engine.Engine) (*report.Report, error)) (*report.Report, error) {
	n.last = &processed{again: true} // unless it comes further
	unlock, err := n.lock(ctx)
	if err != nil {
		return n.unbegun(ctx, err)
	}
	defer unlock()
	e, closeEngine, err := n.options.Engine(action)
	if err != nil {
		return n.unbegun(ctx, err)
	}
	defer closeEngine()
	emit := n.tee(sink)
	e.Sink = func(ev report.Event) {
		if ev.Kind != "done" { // told below, as all may see it
			emit(ev)
		}
	}
	rep, err := do(e)
	return n.processed(ctx, rep, err)
}

// unbegun is a processing that could not even begin.
func (n *Instance) unbegun(ctx context.Context, err error) (*report.Report, error) {
	return n.processed(ctx, n.failure(err), err)
}

// processed ends a processing: it is counted before anybody is told.
func (n *Instance) processed(ctx context.Context, rep *report.Report, err error) (*report.Report, error) {
	rep, shown, err := n.outcome(ctx, rep, err)
	n.meter.processed(rep, err)
	n.tell(shown)
	return rep, err
}

// failed is the report of what could not be done.
func (n *Instance) failed(ctx context.Context, err error) (*report.Report, error) {
	return n.done(ctx, n.failure(err), err)
}

func (n *Instance) failure(err error) *report.Report {
	return &report.Report{FormatVersion: report.FormatVersion, Instance: n.options.Name,
		Changes: []report.Change{}, Published: map[string]any{}, Summary: report.Summary{Failed: 1},
		Error: report.ErrorOf(err, n.mask)}
}

// done tells everybody of an outcome.
func (n *Instance) done(ctx context.Context, rep *report.Report, err error) (*report.Report, error) {
	rep, shown, err := n.outcome(ctx, rep, err)
	n.tell(shown)
	return rep, err
}

func (n *Instance) tell(shown *report.Report) {
	n.tee(nil)(report.Event{Time: time.Now(), Kind: "done", Report: shown})
}

// outcome is what came of something, for who asked, and as all may see it: only who
// asked may have what is published revealed.
func (n *Instance) outcome(ctx context.Context, rep *report.Report, err error) (asked, all *report.Report, _ error) {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
		err = ErrGone
		rep.Error = report.ErrorOf(err, n.mask)
	}
	shown := *rep
	shown.Published = n.options.Mask.Object(rep.Published)
	if errors.Is(err, ErrPreempted) {
		shown.Error = nil
		shown.Summary.Failed--
		rep = &shown
	}
	return rep, &shown, err
}

func (n *Instance) lock(ctx context.Context) (func(), error) {
	deadline := time.Now().Add(n.lockPatience)
	for {
		unlock, err := n.options.Lock()
		if !errors.Is(err, state.ErrLocked) || !time.Now().Before(deadline) {
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
	var unkept *engine.UnkeptError
	var below *engine.RequestsError
	isUnkept := errors.As(err, &unkept) || errors.As(err, &below)
	n.last = &processed{again: err != nil && !isUnkept && !final(err) || rep.Pending != nil}
	if rep.Pending != nil {
		n.last.watched = watch(e.Settings.Root, e.Observed)
	}
	n.mu.Lock()
	switch {
	case rep.Pending != nil:
		n.specs = merged(e.Specs, n.specs)
	case e.Specs != nil || err == nil || isUnkept:
		n.specs = e.Specs
	}
	n.keep(rep.Promises)
	n.unkept = isUnkept
	if err == nil && rep.Pending == nil {
		n.banged = false
	}
	n.mu.Unlock()
	st, loadErr := n.options.Load()
	if loadErr == nil {
		n.meter.is(st)
	}
	if loadErr != nil || st.Requested != state.Started {
		return
	}
	n.forget(st.Promises)
	n.watch(ctx, st.Promises)
}

// final reports whether trying again would not make err go away: what was saved
// does not hold any more, or was applied and would be changed again.
func final(err error) bool {
	var stale *engine.StaleError
	var again *engine.IdempotenceError
	return errors.As(err, &stale) || errors.As(err, &again)
}

func (n *Instance) mask(text string) string { return n.options.Mask.String(text) }

// leave has everybody who waits for the instance know that it is not served any
// more.
func (n *Instance) leave() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.gone)
	for ch := range n.subscribers {
		close(ch)
	}
	n.subscribers = nil
}

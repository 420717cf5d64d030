package supervise

import (
	"context"
	"fmt"
	"time"

	"instar/runtime/process"
	"instar/runtime/service"
)

// unit is one service or run. Its goroutine, loop, alone starts and ends its
// processes, one request or event after the other.
type unit struct {
	in       *instance
	name     string
	log      *logFile
	requests chan request
	excess   chan excess
	gone     chan struct{} // closed when loop has ended

	// Guarded by in.mu, and written by loop but for what Apply prepares.
	state   service.State
	wanted  bool             // shall run
	started bool             // has been running since it was last asked to start
	main    *process.Process // the last one that was started; who signals it need not be loop
	watched struct {
		limit int64 // of memory; 0: nothing to watch
		tree  process.Tree
	}

	// Of loop alone.
	spec       service.Spec
	proc       *process.Process // nil when none runs
	background *process.Process // a run that succeeded and left something behind
	began      time.Time        // of proc
	reason     string           // why proc was killed, "" if it was not
	backoff    backoff
	timer      <-chan time.Time // of the next attempt; nil when there is none
	stopTimer  func()
	waiting    <-chan struct{} // for what spec is after; nil when not waiting
	alarm      alarm           // of a timer
}

// request asks a unit for something; what is answered goes to done.
type request struct {
	op    service.Op
	spec  service.Spec
	again bool // a stop that a start follows
	done  chan error
}

// add makes a unit and starts its goroutine; called with in.mu held.
func (in *instance) add(spec service.Spec) *unit {
	options := &in.sup.options
	u := &unit{
		in: in, name: spec.Name, spec: spec,
		requests: make(chan request), excess: make(chan excess, 1), gone: make(chan struct{}),
		state: service.State{Name: spec.Name, Run: spec.Run, Status: service.Stopped, Since: options.Clock.Now(), After: spec.After},
	}
	u.log = &logFile{
		path: LogFile(options.LogDir(in.name), spec.Name), size: options.LogSize, keep: options.LogKeep,
		mask: func() func([]byte) []byte {
			if options.Mask == nil {
				return nil
			}
			return options.Mask(in.name)
		},
	}
	in.units[spec.Name] = u
	in.sup.work.Go(u.loop)
	return u
}

// up reports whether those after u may start; called with in.mu held.
func (u *unit) up() bool {
	if u.state.Run {
		return u.state.Status == service.Done
	}
	return u.started
}

// ask has the unit's goroutine serve r. When ctx ends, r is served all the
// same if it was begun.
func (u *unit) ask(ctx context.Context, r request) error {
	r.done = make(chan error, 1)
	select {
	case u.requests <- r:
	case <-u.gone:
		if r.op == service.Unload || r.op == service.Stop {
			return nil
		}
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (u *unit) loop() {
	defer close(u.gone)
	for {
		var ended <-chan struct{}
		if u.proc != nil {
			ended = u.proc.Done()
		}
		select {
		case r := <-u.requests:
			r.done <- u.serve(r)
			if r.op == service.Unload {
				return
			}
		case <-ended:
			u.ended()
		case x := <-u.excess:
			u.kill(x)
		case <-u.timer:
			u.timer = nil
			if u.spec.Timer() {
				u.look()
				continue
			}
			u.attempt(true) // the state tells of an error, and of the next attempt
		case <-u.waiting:
			u.begin()
		}
	}
}

// serve does what was asked for.
func (u *unit) serve(r request) error {
	switch r.op {
	case service.Start:
		if r.spec.Timer() {
			return u.arm(r.spec)
		}
		return u.start(r.spec)
	case service.Stop:
		return u.stop(r.again)
	case service.Unload:
		err := u.stop(false)
		u.unload()
		return err
	case service.Reload:
		if r.spec.Timer() {
			return u.rearm(r.spec, false)
		}
		return u.reload(r.spec)
	case service.Update:
		u.adopt(r.spec)
		return nil
	default:
		return fmt.Errorf("cannot %s %q: no such operation", r.op, u.name)
	}
}

// start begins anew, unless what is asked for runs or is done already.
func (u *unit) start(spec service.Spec) error {
	same := u.snapshot().Digest == spec.Digest
	if same && (u.proc != nil || u.snapshot().Status == service.Done) {
		u.adopt(spec)
		return nil
	}
	if u.proc != nil {
		if err := u.stop(true); err != nil {
			return err
		}
	}
	u.cancel()
	u.backoff.reset()
	u.adopt(spec)
	u.set(func(s *service.State) {
		s.Restarts, s.Ended, s.Message, s.ExitCode = 0, false, "", 0
		s.Digest, s.Inputs = spec.Digest, spec.Inputs
		u.wanted, u.started = true, false
	})
	return u.begin()
}

// adopt takes a definition over without touching the process.
func (u *unit) adopt(spec service.Spec) {
	u.spec = spec
	u.set(func(s *service.State) {
		s.Run, s.After, s.Definition = spec.Run, spec.After, spec.Definition()
		if s.Schedule = spec.Schedule; s.Schedule == "" {
			s.Next, s.Last = time.Time{}, time.Time{}
		}
		s.ReloadDigest, s.ReloadInputs = spec.ReloadDigest, spec.ReloadInputs
	})
}

// begin makes the first attempt once all that the unit is after permits.
func (u *unit) begin() error {
	ready, changed := u.in.ready(u.spec)
	if !ready {
		u.waiting = changed
		if u.snapshot().Status != service.Waiting {
			u.set(func(s *service.State) { s.Status, s.Message = service.Waiting, "" })
		}
		return nil
	}
	u.waiting = nil
	return u.attempt(false)
}

// attempt starts the process, again or for the first time. When that fails it
// is tried again later.
func (u *unit) attempt(again bool) error {
	if u.in.sup.closing() {
		return errClosed
	}
	err := u.launch(again)
	if err == nil {
		return nil
	}
	u.log.note("%v", err)
	u.set(func(s *service.State) { s.Status, s.PID, s.Message, s.ExitCode = service.Failed, 0, err.Error(), -1 })
	if u.spec.Run || u.spec.Restart != "no" {
		u.schedule(u.backoff.nextAfterFailedStart(u.spec.Run))
	}
	return fmt.Errorf("cannot start %q: %w", u.name, err)
}

// schedule sets the time of the next attempt.
func (u *unit) schedule(delay time.Duration) {
	u.timer, u.stopTimer = u.in.sup.options.Clock.Timer(delay)
}

// cancel gives up all attempts to come.
func (u *unit) cancel() {
	if u.timer != nil {
		u.stopTimer()
		u.timer = nil
	}
	u.waiting = nil
}

// unload removes the unit from its instance.
func (u *unit) unload() {
	u.log.close()
	u.in.mu.Lock()
	defer u.in.mu.Unlock()
	if u.in.units[u.name] == u {
		delete(u.in.units, u.name)
	}
	u.in.tell()
}

func (u *unit) snapshot() service.State {
	u.in.mu.Lock()
	defer u.in.mu.Unlock()
	return u.state
}

// set changes the state, and tells whoever wants to know.
func (u *unit) set(change func(*service.State)) {
	u.in.mu.Lock()
	before := u.state
	change(&u.state)
	if u.state.Status != before.Status {
		u.state.Since = u.in.sup.options.Clock.Now()
	}
	state := u.state
	u.in.tell()
	u.in.mu.Unlock()
	shown := state.Status != before.Status || state.PID != before.PID || state.Restarts != before.Restarts || state.Message != before.Message
	if f := u.in.sup.options.OnChange; f != nil && shown {
		f(u.in.name, state)
	}
}

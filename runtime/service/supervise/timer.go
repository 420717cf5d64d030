package supervise

import (
	"fmt"
	"time"

	"instar/runtime/process"
	"instar/runtime/schedule"
	"instar/runtime/service"
)

const (
	// lookPeriod is how often a timer looks at the clock, which may be set, and
	// stands still while the machine sleeps.
	lookPeriod = time.Minute
	// setBack is by how much the clock may be set back without a schedule
	// beginning anew: less would start twice what was just started.
	setBack = 3 * time.Hour
)

// alarm is when a timer is due.
type alarm struct {
	schedule schedule.Schedule
	next     time.Time // by the wall's clock
	looked   time.Time // when it was looked at the clock last
}

// wallNow is the time that a clock on the wall shows, which may be set.
func (u *unit) wallNow() time.Time { return u.in.sup.options.Clock.Now().Round(0) }

// arm has the unit start its program at the times of the schedule from now on.
func (u *unit) arm(spec service.Spec) error {
	u.cancel()
	if err := u.rearm(spec, true); err != nil {
		return err
	}
	u.set(func(s *service.State) {
		s.Restarts, s.Ended = 0, false
		if u.proc == nil {
			s.Status, s.Message, s.ExitCode = service.Waiting, "", 0
		}
		u.wanted, u.started = true, true
	})
	return nil
}

// rearm takes another definition over. The schedule begins anew when it is
// another one; what was started goes on.
func (u *unit) rearm(spec service.Spec, anew bool) error {
	parsed, err := schedule.Parse(spec.Schedule)
	if err != nil {
		return fmt.Errorf("cannot arm %q: schedule: %w", u.name, err)
	}
	anew = anew || u.spec.Schedule != spec.Schedule
	u.adopt(spec)
	u.set(func(s *service.State) { s.Digest, s.Inputs = spec.Digest, spec.Inputs })
	if anew {
		u.cancel()
		now := u.wallNow()
		u.alarm = alarm{schedule: parsed, looked: now}
		u.ring(now)
		u.sleep(now)
	}
	return nil
}

// ring sets the next time.
func (u *unit) ring(now time.Time) {
	u.alarm.next = u.alarm.schedule.Next(now)
	u.set(func(s *service.State) { s.Next = u.alarm.next })
}

// sleep waits for the next time, or until it is time to look at the clock.
func (u *unit) sleep(now time.Time) {
	if !u.alarm.next.IsZero() {
		u.schedule(max(min(u.alarm.next.Sub(now), lookPeriod), time.Millisecond))
	}
}

// look starts the program when it is due.
func (u *unit) look() {
	now := u.wallNow()
	due := !now.Before(u.alarm.next)
	if due || u.alarm.looked.Sub(now) > setBack {
		u.ring(now)
	}
	u.alarm.looked = now
	u.sleep(now)
	if due {
		u.fire(now)
	}
}

// fire starts the program of a timer, unless it still runs.
func (u *unit) fire(now time.Time) {
	if u.in.sup.closing() {
		return
	}
	if u.proc != nil {
		u.log.note("it still runs: not started a second time")
		return
	}
	u.set(func(s *service.State) { s.Last = now })
	if err := u.launch(false); err != nil {
		u.log.note("%v", err)
		u.set(func(s *service.State) { s.Status, s.PID, s.Message, s.ExitCode = service.Failed, 0, err.Error(), -1 })
	}
}

// fired deals with the end of a timer's program: what it left behind is ended,
// and whoever waits for it is told, however it went.
func (u *unit) fired(p *process.Process, exit process.Exit, message string) {
	if !p.Alone() {
		if err := u.end(p, min(u.spec.StopTimeout, survivorTime)); err != nil {
			u.log.note("%v", err)
		}
	}
	p.Drain(drainTime)
	status := service.Waiting
	if exit.Ok() {
		message = ""
	} else {
		status = service.Failed
		u.log.note("%s", message)
	}
	if u.spec.ThenSignal != "" {
		if err := u.in.signal(u.spec.ThenService, u.spec.ThenSignal); err != nil {
			u.log.note("%v", err)
			status, message = service.Failed, err.Error()
		}
	}
	u.set(func(s *service.State) {
		s.Status, s.PID, s.ExitCode, s.Message = status, 0, exit.Code, message
		u.watched.limit = 0
	})
}

// signal sends a signal to the main process of a service. One that does not run
// needs none.
func (in *instance) signal(name, signal string) error {
	sig, err := process.ParseSignal(signal)
	if err != nil {
		return err
	}
	in.mu.Lock()
	var p *process.Process
	u := in.units[name]
	if u != nil && u.state.PID != 0 {
		p = u.main
	}
	in.mu.Unlock()
	if u == nil && in.sup.options.Signal != nil {
		return in.sup.options.Signal(in.name, name, signal)
	}
	if p == nil {
		return nil
	}
	err = p.Signal(sig)
	select {
	case <-p.Done(): // it needs none any more
		return nil
	default:
	}
	if err != nil {
		return fmt.Errorf("cannot signal %q: %w", name, err)
	}
	return nil
}

package supervise

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"instar/runtime/process"
	"instar/runtime/service"
)

const (
	// markKind is the kind of all marks of services and runs.
	markKind = "service"
	// drainTime is how long the output of a tree that is gone may still come.
	drainTime = time.Second
	// survivorTime is the longest that what outlived its program gets to end
	// before the next one starts.
	survivorTime = 10 * time.Second
	// reloadTime is how long a reload command may take.
	reloadTime = time.Minute
)

// launch starts the process, after ending what the last one left behind.
func (u *unit) launch(again bool) error {
	if err := u.endBackground(); err != nil {
		return err
	}
	if _, err := u.stopSignal(); err != nil {
		return err
	}
	output := u.log.lines()
	p, err := process.Start(process.Spec{
		Argv: u.spec.Argv, Env: slices.Concat(u.spec.Env, u.spec.PrivateEnv), Dir: u.spec.Dir, Identity: u.spec.Identity,
		Mark:   process.Mark(u.in.sup.options.MarkBase, markKind, u.in.name, u.name),
		Stdout: output, Stderr: output,
		NoFile: u.spec.Limits.NoFile, NProc: u.spec.Limits.NProc,
	})
	if err != nil {
		return err
	}
	u.in.records.add(record{Name: u.name, Tree: p.Tree(), Signal: u.spec.StopSignal, Timeout: u.spec.StopTimeout})
	u.proc, u.reason, u.began = p, "", u.in.sup.options.Clock.Now()
	u.set(func(s *service.State) {
		if again {
			s.Restarts++
		}
		if s.Status == service.Failed {
			s.Message, s.ExitCode = "", 0
		}
		s.Status, s.PID, s.Since = service.Running, p.PID(), u.began
		s.Digest, s.Inputs = u.spec.Digest, u.spec.Inputs
		u.started, u.main = true, p
		u.watched.limit, u.watched.tree = u.spec.Limits.Memory, p.Tree()
	})
	u.in.sup.watchFor(u.spec.Limits.Memory)
	return nil
}

// stopSignal returns the signal that asks the service to end.
func (u *unit) stopSignal() (syscall.Signal, error) {
	if u.spec.StopSignal == "" {
		return syscall.SIGTERM, nil
	}
	return process.ParseSignal(u.spec.StopSignal)
}

// end ends the tree of p and all its output.
func (u *unit) end(p *process.Process, timeout time.Duration) error {
	sig, err := u.stopSignal()
	if err != nil {
		sig = syscall.SIGTERM
	}
	if err := p.End(u.in.sup.hard, sig, timeout); err != nil {
		return err
	}
	p.Drain(drainTime)
	return nil
}

// endBackground ends what a run that succeeded left running.
func (u *unit) endBackground() error {
	if u.background == nil {
		return nil
	}
	if err := u.end(u.background, u.spec.StopTimeout); err != nil {
		return err
	}
	u.background = nil
	return nil
}

// stop ends the process, and all attempts to come. A start follows at once
// when again is set.
func (u *unit) stop(again bool) error {
	u.cancel()
	u.set(func(*service.State) { u.wanted, u.started = again, false })
	err := u.endBackground()
	if err == nil && u.proc != nil {
		err = u.end(u.proc, u.spec.StopTimeout)
	}
	if err != nil {
		u.set(func(s *service.State) { s.Message = err.Error() })
		return fmt.Errorf("cannot stop %q: %w", u.name, err)
	}
	u.proc = nil
	u.set(func(s *service.State) {
		s.Status, s.PID, s.Ended, s.Message, s.Next = service.Stopped, 0, false, "", time.Time{}
		u.watched.limit = 0
	})
	return nil
}

// kill ends a process that used too much; ended then sees to the rest.
func (u *unit) kill(x excess) {
	if u.proc == nil || u.proc.Tree() != x.tree {
		return // another one by now
	}
	u.reason = x.reason
	if err := u.proc.End(u.in.sup.hard, syscall.SIGKILL, 0); err != nil {
		u.log.note("%v", err)
	}
}

// ended deals with the end of the process that nobody asked for. The state tells
// of it before anybody hears of it: who looks then finds no process that is gone.
func (u *unit) ended() {
	p := u.proc
	u.proc = nil
	exit := p.Exit()
	message := exit.String()
	if u.reason != "" {
		message = u.reason
	}
	at := u.in.sup.options.Clock.Now()
	if u.spec.Timer() {
		u.fired(p, exit, message)
		return
	}
	u.clear(p, exit)
	publish := func() {
		if !u.spec.Run {
			u.in.sup.exits.publish(service.Exit{Instance: u.in.name, Name: u.name, Code: exit.Code, Reason: message, At: at})
		}
	}
	state, ended := outcome(u.spec, exit)
	if state != service.Restarting {
		if !u.spec.Run {
			u.log.note("%s; not started again", message)
		}
		u.set(func(s *service.State) {
			s.Status, s.PID, s.ExitCode, s.Message, s.Ended = state, 0, exit.Code, message, ended
			u.watched.limit = 0
		})
		publish()
		return
	}
	delay := u.backoff.next(at.Sub(u.began), u.spec.Run)
	u.log.note("%s; starting it again%s", message, later(delay))
	u.set(func(s *service.State) {
		s.Status, s.PID, s.ExitCode, s.Message = service.Restarting, 0, exit.Code, message
		u.watched.limit = 0
	})
	publish()
	if delay > 0 {
		u.schedule(delay)
		return
	}
	u.attempt(true) // the state tells of an error, and of the next attempt
}

// clear ends what outlived the program, so that the next one finds no port
// taken; but what a run that succeeded left in the background stays.
func (u *unit) clear(p *process.Process, exit process.Exit) {
	if !p.Alone() {
		if u.spec.Run && exit.Ok() {
			u.background = p
			return
		}
		if err := u.end(p, min(u.spec.StopTimeout, survivorTime)); err != nil {
			u.log.note("%v", err)
		}
	}
	p.Drain(drainTime)
}

// outcome returns what a service or run is once its process has ended so, and
// whether it has Ended.
func outcome(spec service.Spec, exit process.Exit) (service.Status, bool) {
	switch {
	case spec.Run && exit.Ok():
		return service.Done, false
	case spec.Run:
		return service.Restarting, false
	case exit.Ok() && (spec.Restart == "no" || spec.Restart == "on-failure"):
		return service.Stopped, true
	case spec.Restart == "no":
		return service.Failed, true
	default:
		return service.Restarting, false
	}
}

func later(delay time.Duration) string {
	if delay == 0 {
		return ""
	}
	return " in " + delay.Round(100*time.Millisecond).String()
}

// reload tells the process to read its files again, by signal or by command.
// When that fails the service goes on, and still counts as not reloaded.
func (u *unit) reload(spec service.Spec) error {
	if u.proc == nil {
		u.adopt(spec) // it reads them when it starts
		return nil
	}
	var err error
	if spec.ReloadSig != "" {
		err = u.reloadBySignal(spec.ReloadSig)
	} else if len(spec.ReloadArgv) > 0 {
		err = u.reloadByCommand(spec)
	}
	if err != nil {
		u.log.note("cannot reload: %v", err)
		return fmt.Errorf("cannot reload %q: %w", u.name, err)
	}
	u.adopt(spec)
	return nil
}

func (u *unit) reloadBySignal(name string) error {
	sig, err := process.ParseSignal(name)
	if err != nil {
		return err
	}
	return u.proc.Signal(sig)
}

// reloadByCommand runs the command as the service's user, its output going to
// the service's log. It is given up when the service itself ends.
func (u *unit) reloadByCommand(spec service.Spec) error {
	ctx, cancel := context.WithTimeout(u.in.sup.hard, reloadTime)
	defer cancel()
	finished := make(chan struct{})
	defer close(finished)
	service := u.proc.Done()
	u.in.sup.work.Go(func() {
		select {
		case <-service:
			cancel()
		case <-finished:
		}
	})
	output := u.log.lines()
	exit, err := process.Run(ctx, process.Spec{
		Argv: spec.ReloadArgv, Env: slices.Concat(spec.Env, spec.PrivateEnv), Dir: spec.Dir, Identity: spec.Identity,
		// Not the service's mark: the command is ended without it.
		Mark:   process.Mark(u.in.sup.options.MarkBase, markKind, u.in.name, u.name+"/reload"),
		Stdout: output, Stderr: output,
	}, syscall.SIGTERM, drainTime)
	if err == nil && !exit.Ok() {
		err = fmt.Errorf("%q: %s", spec.ReloadArgv[0], exit)
	}
	return err
}

package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"instar/runtime/plan"
	"instar/runtime/process"
	"instar/runtime/service"
	"instar/runtime/service/supervise"
)

const (
	// startTime is how long a start is waited for, beside the time that an
	// earlier service may take to end.
	startTime = 10 * time.Second
	// endTime is how long the shim itself may take to end, beside its service.
	endTime = 15 * time.Second
	// takeTime is how long a reload is waited for.
	takeTime = 70 * time.Second
	// pollPeriod is how often what is waited for is looked at.
	pollPeriod = 10 * time.Millisecond
)

// guard starts a command, again and again as long as the file $1 says that it
// is wanted, and there is such a program: until it has succeeded. It is
// a shell, since that is small, and needs nothing of instar.
const guard = `wanted=$1; shift
while [ -e "$wanted" ]; do "$@"; case $? in 0 | 126 | 127) exit ;; esac; sleep 1; done`

// Guard keeps a command running as long as the file wanted exists, until it has
// succeeded. It returns at once.
func Guard(wanted string, argv ...string) error {
	cmd := exec.Command("/bin/sh", append([]string{"-c", guard, "instar-guard", wanted}, argv...)...)
	cmd.Dir = "/"
	// By a mark of its own it is nobody's stray where another supervisor has
	// adopted it: one whose service has called instar.
	cmd.Env = []string{"PATH=" + plan.DefaultPath, process.MarkVariable + "=" + process.Mark(wanted, "guard", "", "")}
	cmd.SysProcAttr = detached()
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // in a process that lives on it must not stay a zombie
	return nil
}

// Start has the service run, by a shim that is the program binary, and returns
// when it was started, or waits for others. It is an error when the program
// can't be started; it is tried again all the same. What runs already is left
// alone.
func Start(p Place, binary string) error {
	return StartBy(p, func() error { return Guard(p.wantedPath(), binary, "supervise", p.SpecPath()) })
}

// StartBy is Start where launch has somebody else start the shim, and start it
// again when it is killed.
func StartBy(p Place, launch func() error) error {
	file, err := p.Read()
	if err != nil {
		return err
	}
	if file == nil {
		return fmt.Errorf("there is no %s", p.SpecPath())
	}
	patience := time.Now().Add(startTime + file.Spec.StopTimeout)
	for {
		lock, err := p.lock()
		if err != nil {
			return err
		}
		if lock != nil {
			err := errors.Join(removeFile(p.statusPath()), p.want())
			if err = errors.Join(err, lock.Unlock()); err != nil {
				return err
			}
			break
		}
		if p.Wanted() {
			return p.decided(patience)
		}
		if time.Now().After(patience) {
			return fmt.Errorf("cannot start %q: it is still being stopped", file.Spec.Name)
		}
		time.Sleep(pollPeriod)
	}
	if err := launch(); err != nil {
		return fmt.Errorf("cannot start %q: %w", file.Spec.Name, err)
	}
	return p.decided(patience)
}

// decided waits until the shim says how the start went.
func (p Place) decided(until time.Time) error {
	for {
		s, err := p.Status()
		switch {
		case err != nil:
			return err
		case s != nil && s.Decided && (s.Serving() || s.Over):
			if s.State.Status == service.Failed && !s.State.Ended && !s.State.Timer() {
				return errors.New(firstOf(s.Error, s.State.Message))
			}
			return nil
		case time.Now().After(until):
			return fmt.Errorf("cannot start %q: its supervisor says nothing", p)
		case !p.Wanted():
			return errors.New("it was stopped meanwhile")
		}
		time.Sleep(pollPeriod)
	}
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return "it failed"
}

// Stop ends the service, and whatever an earlier shim left of it, and returns
// when nothing of it is left. What does not run is fine.
func Stop(p Place) error {
	if !exists(string(p)) {
		return nil
	}
	file, err := p.Read()
	if err != nil {
		file = nil // it must be stopped all the same
	}
	if err := removeFile(p.wantedPath()); err != nil {
		return err
	}
	patience := time.Now().Add(endTime)
	if file != nil {
		patience = patience.Add(file.Spec.StopTimeout)
	}
	var told process.Tree
	for killed := false; ; time.Sleep(pollPeriod) {
		lock, err := p.lock()
		if err != nil {
			return err
		}
		if lock != nil {
			return errors.Join(p.settle(file), lock.Unlock())
		}
		s, err := p.Status()
		if err != nil {
			return err
		}
		switch late := time.Now().After(patience); {
		case s == nil || !s.Shim.Alive():
		case late && !killed:
			killed = true
			patience = time.Now().Add(endTime)
			_ = s.Guard.Signal(syscall.SIGKILL)
			_ = s.Shim.Signal(syscall.SIGKILL)
		case late:
			return fmt.Errorf("cannot stop %q: its supervisor, process %d, does not end", p, s.Shim.PID)
		case s.Shim != told:
			told = s.Shim
			_ = s.end() // it may just have ended
		}
	}
}

// settle ends what a shim that was killed has left, and says that nothing runs.
// The lock is held.
func (p Place) settle(file *File) error {
	s, err := p.Status()
	if err != nil {
		return err
	}
	if file != nil && exists(p.recordsPath()) {
		if err := endLeft(file); err != nil {
			return err
		}
	} else if s != nil {
		if err := s.Main.End(context.Background(), syscall.SIGTERM, endTime); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	if s == nil || s.State.Status == service.Stopped && !s.State.Ended {
		return nil
	}
	return removeFile(p.statusPath())
}

// endLeft ends all that carries the service's mark.
func endLeft(f *File) error {
	sup, err := supervise.New(f.options())
	if err != nil {
		return err
	}
	return errors.Join(sup.Apply(context.Background(), f.Spec.Instance, nil), sup.Close(context.Background()))
}

// Tell has the shim take over the place's file, and returns when it has. When
// no shim serves, nothing has to be told.
func Tell(p Place, t Take) error {
	before, err := p.Status()
	if err != nil || !before.Serving() {
		return err
	}
	if err := before.tell(t); err != nil {
		return nil // it has just ended
	}
	for until := time.Now().Add(takeTime); ; time.Sleep(pollPeriod) {
		s, err := p.Status()
		switch {
		case err != nil:
			return err
		case s == nil || s.Shim != before.Shim || !s.Serving():
			return nil // another one reads the file when it starts
		case s.Taken > before.Taken:
			if s.Error != "" {
				return errors.New(s.Error)
			}
			return nil
		case time.Now().After(until):
			return fmt.Errorf("cannot reload %q: its supervisor says nothing", before.State.Name)
		}
	}
}

// self is the program that runs.
func self() (string, error) { return os.Executable() }

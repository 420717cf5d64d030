package shim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/windows"

	"instar/runtime/process"
)

// private says why a file is not one that only we could have written.
func private(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errors.New("it is not a file")
	}
	return nil
}

// sameFile reports whether what is there is a file that we have open: nobody can
// replace one here. Identities would not do: wine's change while it starts.
func sameFile(fs.FileInfo, fs.FileInfo) bool { return true }

// inUse reports whether an error is of a file that somebody has open.
func inUse(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
}

func setUmask(int) {}

func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// events are what a shim is told by: it has one for each thing to be told.
const (
	adoptEvent = iota
	reloadEvent
	endEvent
	eventCount
)

// eventName returns the name of an event of the shim that runs as process pid,
// which began at start.
func eventName(shim process.Tree, event int) *uint16 {
	name, err := windows.UTF16PtrFromString(fmt.Sprintf(`Global\instar-shim-%d-%d-%d`, shim.PID, shim.Start, event))
	if err != nil {
		panic(err) // numbers
	}
	return name
}

func (s *Status) set(event int) error {
	h, err := windows.OpenEvent(windows.EVENT_MODIFY_STATE, false, eventName(s.Shim, event))
	if err != nil {
		return err
	}
	defer windows.CloseHandle(h)
	return windows.SetEvent(h)
}

// tell asks the shim for something.
func (s *Status) tell(t Take) error {
	if t == Reload {
		return s.set(reloadEvent)
	}
	return s.set(adoptEvent)
}

// end asks the shim to end, with its service.
func (s *Status) end() error { return s.set(endEvent) }

// hear returns what others tell this shim: a context that ends when it shall
// end, and what it is asked to take. The caller calls done.
func hear(parent context.Context, _ Place) (ctx context.Context, takes <-chan Take, done func(), err error) {
	self, err := process.Of(os.Getpid())
	if err != nil {
		return nil, nil, nil, err
	}
	events := make([]windows.Handle, eventCount)
	for i := range events {
		if events[i], err = windows.CreateEvent(nil, 0, 0, eventName(self, i)); err != nil {
			return nil, nil, nil, fmt.Errorf("cannot make an event: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(parent)
	told := make(chan Take)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer cancel()
		for ctx.Err() == nil {
			fired, err := windows.WaitForMultipleObjects(events, false, windows.INFINITE)
			t := Adopt
			switch {
			case err != nil || fired == windows.WAIT_OBJECT_0+endEvent:
				return
			case fired == windows.WAIT_OBJECT_0+reloadEvent:
				t = Reload
			}
			select {
			case told <- t:
			case <-ctx.Done():
			}
		}
	}()
	return ctx, told, func() {
		cancel()
		_ = windows.SetEvent(events[endEvent])
		<-ended
		for _, h := range events {
			_ = windows.CloseHandle(h) // nothing to lose
		}
	}, nil
}

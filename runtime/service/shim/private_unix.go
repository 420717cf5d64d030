//go:build unix

package shim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
)

// private says why a file is not one that only we and root could have written,
// and can read.
func private(info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return errors.New("it is not a file")
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("others have access to it: mode %04o", info.Mode().Perm())
	case ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to user %d", stat.Uid)
	}
	return nil
}

// sameFile reports whether what is there is a file that we have open.
func sameFile(there, ours fs.FileInfo) bool { return os.SameFile(there, ours) }

// inUse reports whether an error is of a file that somebody has open: here that
// keeps nobody from anything.
func inUse(error) bool { return false }

// setUmask sets the umask, which what is started inherits.
func setUmask(mask int) { syscall.Umask(mask) }

// detached is a process that outlives us, in a session of its own.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// takeSignals are what a shim is told by.
var takeSignals = map[Take]syscall.Signal{Adopt: syscall.SIGUSR1, Reload: syscall.SIGHUP}

// tell asks the shim for something.
func (s *Status) tell(t Take) error { return s.Shim.Signal(takeSignals[t]) }

// end asks the shim to end, with its service.
func (s *Status) end() error { return s.Shim.Signal(syscall.SIGTERM) }

// hear returns what others tell this shim: a context that ends when it shall
// end, and what it is asked to take. The caller calls done.
func hear(parent context.Context, _ Place) (ctx context.Context, takes <-chan Take, done func(), err error) {
	ctx, done = signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	asked := make(chan os.Signal, 8)
	for _, sig := range takeSignals {
		signal.Notify(asked, sig)
	}
	told := make(chan Take)
	go func() {
		for {
			select {
			case sig := <-asked:
				t := Adopt
				if sig == takeSignals[Reload] {
					t = Reload
				}
				select {
				case told <- t:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, told, done, nil
}

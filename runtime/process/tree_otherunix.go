//go:build unix && !linux

package process

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// End ends the program's process group, from any process, while the program
// itself lives: afterwards nothing tells the group from a later one of the same
// number. What left the group is not found here.
func (t Tree) End(ctx context.Context, sig syscall.Signal, timeout time.Duration) error {
	if !t.Alive() {
		return nil
	}
	return endGroup(ctx, t.PID, sig, timeout)
}

// Leftovers finds nothing: the environment of a process can't be read here.
func Leftovers(context.Context, string, syscall.Signal, time.Duration) (int, error) {
	return 0, nil
}

// Marked finds nothing, as Leftovers.
func Marked(base, kind string) (map[string]bool, error) { return nil, nil }

// Memory is not known here.
func Memory([]Tree) ([]int64, error) { return nil, errors.ErrUnsupported }

// Adopt does nothing here.
func Adopt() (release func(), err error) { return func() {}, nil }

// Strays finds nothing here.
func Strays() int { return 0 }

// Alone reports that nothing is left of p's process group.
func (p *Process) Alone() bool { return groupGone(p.tree.PID) }

func (p *Process) end(ctx context.Context, sig syscall.Signal, timeout time.Duration) error {
	if err := endGroup(ctx, p.tree.PID, sig, timeout); err != nil {
		return err
	}
	<-p.exited
	return nil
}

func groupGone(pgid int) bool { return syscall.Kill(-pgid, 0) == syscall.ESRCH }

// endGroup ends a process group: sig first, KILL after timeout.
func endGroup(ctx context.Context, pgid int, sig syscall.Signal, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	var killed time.Time
	cancelled := ctx.Done()
	for n := 0; !groupGone(pgid); n++ {
		now := time.Now()
		switch {
		case !killed.IsZero() && now.Sub(killed) > killTime:
			return fmt.Errorf("cannot end process group %d: KILL does not help", pgid)
		case sig == kill || now.After(deadline) || ctx.Err() != nil:
			if killed.IsZero() {
				killed, n, cancelled = now, 0, nil
			}
			syscall.Kill(-pgid, kill)
		case n == 0:
			syscall.Kill(-pgid, sig)
			syscall.Kill(-pgid, syscall.SIGCONT)
		}
		select {
		case <-time.After(pause(n)):
		case <-cancelled:
		}
	}
	return nil
}

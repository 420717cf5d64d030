//go:build unix && !linux

package process

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// End ends the program's process group. What left the group is not found here;
// and since nothing tells a group from a later one of the same number, a Tree
// that was stored is not ended at all.
func (t Tree) End(context.Context, syscall.Signal, time.Duration) error {
	return fmt.Errorf("cannot end process %d of an earlier instar: %w", t.PID, errors.ErrUnsupported)
}

// Leftovers finds nothing: the environment of a process can't be read here.
func Leftovers(context.Context, string, syscall.Signal, time.Duration) (int, error) {
	return 0, nil
}

// Memory is not known here.
func Memory([]Tree) ([]int64, error) { return nil, errors.ErrUnsupported }

// Adopt does nothing here.
func Adopt() (release func(), err error) { return func() {}, nil }

// Strays finds nothing here.
func Strays() int { return 0 }

// Alone reports that nothing is left of p's process group.
func (p *Process) Alone() bool {
	return syscall.Kill(-p.tree.PID, 0) == syscall.ESRCH
}

func (p *Process) end(ctx context.Context, sig syscall.Signal, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	var killed time.Time
	cancelled := ctx.Done()
	for n := 0; !p.Alone(); n++ {
		now := time.Now()
		switch {
		case !killed.IsZero() && now.Sub(killed) > killTime:
			return fmt.Errorf("cannot end process group %d: KILL does not help", p.tree.PID)
		case sig == kill || now.After(deadline) || ctx.Err() != nil:
			if killed.IsZero() {
				killed, n, cancelled = now, 0, nil
			}
			syscall.Kill(-p.tree.PID, kill)
		case n == 0:
			syscall.Kill(-p.tree.PID, sig)
			syscall.Kill(-p.tree.PID, syscall.SIGCONT)
		}
		select {
		case <-time.After(pause(n)):
		case <-cancelled:
		}
	}
	<-p.exited
	return nil
}

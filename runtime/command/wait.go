package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"instar/runtime/process"
)

const (
	// lockPoll is how often a lock is tried.
	lockPoll = 50 * time.Millisecond
	// lockPatience is how long a supervisor tries before it says that another
	// one is running: somebody may hold the lock just to look.
	lockPatience = 2 * time.Second

	// leftoverGrace is what the processes of a killed supervisor get to end.
	leftoverGrace = 5 * time.Second
)

func commandLock(dir, name string) *flock.Flock {
	return flock.New(lockPath(dir, name), flock.SetPermissions(0o600))
}

// Wait waits until no supervisor runs the command any more, and returns the
// record, nil for none. Where a supervisor was killed, it ends what the
// command left running, and records the attempt as interrupted. With nothing
// to wait for it writes nothing. The caller holds the instance's lock.
func Wait(ctx context.Context, dir, name string) (*Record, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(lockPath(dir, name)); errors.Is(err, fs.ErrNotExist) {
		return settle(ctx, dir, name)
	}
	lock := commandLock(dir, name)
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		return nil, fmt.Errorf("cannot wait for command %q, which an earlier instar began: %w", name, err)
	}
	defer lock.Unlock() // can only fail when it is not held
	return settle(ctx, dir, name)
}

// Names returns the commands that dir has a lock of: those that were ever run.
func Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list the records of commands: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".lock"); ok && CheckName(name) == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

// Running reports whether a supervisor runs the command now.
func Running(dir, name string) bool {
	if _, err := os.Lstat(lockPath(dir, name)); err != nil {
		return false
	}
	lock := commandLock(dir, name)
	free, err := lock.TryRLock()
	if free {
		lock.Unlock() // can only fail when it is not held
	}
	return err == nil && !free
}

// settle turns the record of an attempt that nobody supervises into that of an
// interrupted one.
func settle(ctx context.Context, dir, name string) (*Record, error) {
	rec, err := Load(dir, name)
	if err != nil || rec == nil || rec.Status != Started {
		return rec, err
	}
	if rec.Mark != "" {
		if _, err := process.Leftovers(ctx, rec.Mark, syscall.SIGTERM, leftoverGrace); err != nil {
			return nil, fmt.Errorf("cannot end what command %q left running: %w", name, err)
		}
	}
	rec.Status, rec.Reason, rec.ExitCode = Interrupted, "its supervisor was killed", -1
	rec.Finished = time.Now().UTC()
	return rec, rec.save(dir)
}

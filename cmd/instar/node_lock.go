package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"

	"instar/runtime/control"
	"instar/runtime/state"
)

// dyingTime is how long a node that was killed may hold its lock.
const dyingTime = time.Second

// asService is set in a node that an init script, launchd or Windows has started.
var asService atomic.Bool

// byCommand is the second line of a lock that another node holds: one that was
// started by its command, as people do, and systemd.
const byCommand = "node run"

// lockNode has this process be the only node of the state folder, and notes its
// number there.
func (a *app) lockNode() (release func(), err error) {
	if err := os.MkdirAll(string(a.home), 0o700); err != nil {
		return nil, fmt.Errorf("cannot create the state folder: %w", err)
	}
	path := filepath.Join(string(a.home), nodeLock)
	lock := flock.New(path, flock.SetPermissions(0o600))
	patience, cancel := context.WithTimeout(context.Background(), dyingTime)
	defer cancel()
	ok, err := lock.TryLockContext(patience, 50*time.Millisecond)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	if !ok {
		return nil, hinted("instar node status says what it does", "another node runs for %s: %w", a.home, state.ErrLocked)
	}
	_ = writePID(path) // for people, and those who want to end it
	return func() { _ = lock.Unlock() }, nil
}

// pidAt is where in the lock the number stands. Windows lets nobody read or write
// a byte that is locked, and that is the first one.
func pidAt() int64 {
	if runtime.GOOS == "windows" {
		return 1
	}
	return 0
}

func writePID(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	text := strconv.Itoa(os.Getpid()) + "\n"
	if !asService.Load() {
		text += byCommand + "\n"
	}
	_, err = f.WriteAt([]byte(text), pidAt())
	return errors.Join(err, f.Truncate(pidAt()+int64(len(text))), f.Close())
}

// readLock returns the number in a lock, 0 for one that is not known, and whether
// it is that of a node which was started by its command.
func readLock(path string) (pid int, command bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	data, _ := io.ReadAll(io.NewSectionReader(f, pidAt(), 64)) // what was read, in any case
	number, rest, _ := strings.Cut(string(data), "\n")
	pid, _ = strconv.Atoi(strings.TrimSpace(number))
	return pid, strings.TrimSpace(rest) == byCommand
}

// nodePID returns the process that serves a state folder; 0: none does.
func nodePID(home string) int {
	pid, _ := nodeOf(home)
	return pid
}

// nodeOf is [readLock] of the node that serves a state folder.
func nodeOf(home string) (pid int, command bool) {
	path := filepath.Join(home, nodeLock)
	if !exists(path) {
		return 0, false
	}
	lock := flock.New(path, flock.SetPermissions(0o600))
	if free, err := lock.TryLock(); err != nil || free {
		_ = lock.Unlock()
		return 0, false
	}
	_ = lock.Close()
	return readLock(path) // 0: it has just come
}

// anotherNode is the error of an install while process pid serves the state folder,
// which is not the service's.
func (a *app) anotherNode(pid int) error {
	return hinted("end it, and install again", "another node, process %d, serves %s: %w", pid, a.home, state.ErrLocked)
}

// unreachable returns the process of a node that serves a state folder although no
// command can reach it, since this system has no unix sockets; 0: none does.
func unreachable(home state.Home) int {
	if control.Available() == nil {
		return 0
	}
	return nodePID(string(home))
}

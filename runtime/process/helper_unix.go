//go:build unix

package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// helperName is the program name by which the binary knows that it was started
// to set limits and become another program.
const helperName = "instar: setting limits"

// helperReady is set once main has shown that it knows about the helper.
var helperReady atomic.Bool

// limited is what the helper is told.
type limited struct {
	NoFile, NProc int64
	UID, GID      int // UID -1: as we are
	Groups        []int
}

// Helper must be the first thing that main does. In a process that was started
// to set limits it sets them, becomes the program, and never returns. Without
// it a Spec with limits can't be started.
func Helper() {
	helperReady.Store(true)
	if len(os.Args) < 3 || os.Args[0] != helperName {
		return
	}
	err := becomeLimited(os.Args[1], os.Args[2:])
	fmt.Fprintf(os.Stderr, "instar: cannot start %q: %v\n", os.Args[2], err)
	os.Exit(126)
}

// helped returns the helper's arguments for spec.
func (s Spec) helped() ([]string, error) {
	if !helperReady.Load() {
		return nil, errors.New("limits need a main that calls process.Helper")
	}
	l := limited{NoFile: s.NoFile, NProc: s.NProc, UID: -1}
	if s.foreign() {
		l.UID, l.GID, l.Groups = s.Identity.UID, s.Identity.GID, s.Identity.Groups
	}
	if err := unix.Access(s.Argv[0], unix.X_OK); err != nil {
		return nil, err // here the message is better than the helper's
	}
	text, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("cannot encode limits: %w", err)
	}
	return append([]string{helperName, string(text)}, s.Argv...), nil
}

// becomeLimited sets the limits, then the identity (raising a limit needs
// root), then executes argv. It returns only with an error.
func becomeLimited(text string, argv []string) error {
	var l limited
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return fmt.Errorf("cannot read limits: %w", err)
	}
	for _, r := range []struct {
		name     string
		resource int
		value    int64
	}{{"nofile", unix.RLIMIT_NOFILE, l.NoFile}, {"nproc", unix.RLIMIT_NPROC, l.NProc}} {
		if r.value <= 0 {
			continue
		}
		if err := setLimit(r.resource, uint64(r.value)); err != nil {
			return fmt.Errorf("cannot set %s to %d: %w", r.name, r.value, err)
		}
	}
	if l.UID >= 0 {
		if err := errors.Join(syscall.Setgroups(l.Groups), syscall.Setgid(l.GID), syscall.Setuid(l.UID)); err != nil {
			return fmt.Errorf("cannot become user %d: %w", l.UID, err)
		}
	}
	return syscall.Exec(argv[0], argv, os.Environ())
}

// setLimit sets the soft and the hard limit of a resource.
func setLimit(resource int, value uint64) error {
	return unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value})
}

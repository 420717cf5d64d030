package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"instar/runtime/engine"
	"instar/runtime/report"
	"instar/runtime/state"
	"instar/starlark/interp"
)

// Exit codes: the contract with scripts.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUnkept      = 2 // a promise or run fails; for plan --detailed-exitcode: changes
	exitPending     = 3
	exitUnstable    = 5 // apply --verify-idempotent: the next apply has changes
	exitStale       = 6 // a saved plan does not hold any more
	exitUsage       = 64
	exitLocked      = 75
	exitPermission  = 77
	exitHungUp      = 129
	exitInterrupted = 130
	exitTerminated  = 143
)

// usageError is a command line that cannot be meant.
type usageError struct{ msg, hint string }

func (e *usageError) Error() string { return e.msg }
func (e *usageError) Hint() string  { return e.hint }

func usagef(hint, format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...).Error(), hint}
}

// hintedError is an error with advice on it.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }
func (e *hintedError) Hint() string  { return e.hint }

// hinted returns an error with advice, which may be "".
func hinted(hint, format string, args ...any) error {
	return &hintedError{fmt.Errorf(format, args...), hint}
}

// permissionError is something that another user may do.
type permissionError struct{ msg, hint string }

func (e *permissionError) Error() string        { return e.msg }
func (e *permissionError) Hint() string         { return e.hint }
func (e *permissionError) Is(target error) bool { return target == fs.ErrPermission }

// exitWith ends the command with a code although nothing failed that was not
// shown already.
type exitWith int

func (e exitWith) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// reported is an error that was shown, as part of a report.
type reported struct{ error }

func (r reported) Unwrap() error { return r.error }

// exitCode returns the code for an error of a command.
func exitCode(ctx context.Context, err error) int {
	var (
		code   exitWith
		usage  *usageError
		unkept *engine.UnkeptError
		below  *engine.RequestsError
		stale  *engine.StaleError
		again  *engine.IdempotenceError
		stop   signalled
	)
	switch {
	case errors.As(err, &code):
		return int(code)
	case errors.As(context.Cause(ctx), &stop):
		return stop.code()
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &unkept), errors.As(err, &below) && below.Unkept:
		return exitUnkept
	case errors.As(err, &stale):
		return exitStale
	case errors.As(err, &again):
		return exitUnstable
	case errors.Is(err, state.ErrLocked):
		return exitLocked
	case errors.Is(err, fs.ErrPermission):
		return exitPermission
	}
	return exitFailed
}

// didYouMean returns the hint for a name that is none of candidates, or "".
func didYouMean(name string, candidates []string) string {
	if best, ok := interp.Nearest(name, candidates); ok {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return ""
}

// remoteError is an error of the `up` that serves an instance.
type remoteError struct{ told report.Error }

func (e *remoteError) Error() string { return e.told.Message }

// At returns where in the profile it arose, or "".
func (e *remoteError) At() string { return e.told.At }

// Hint says what can be done.
func (e *remoteError) Hint() string { return e.told.Hint }

// Detail is the whole error as people are shown it, or "".
func (e *remoteError) Detail() string { return e.told.Detail }

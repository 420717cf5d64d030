package interp

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"go.starlark.net/starlark"
)

// cancelled is the reason given to Thread.Cancel. It is never shown.
const cancelled = "cancelled by instar"

// bytesText returns a size for people: 16777216 is "16 MiB".
func bytesText(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	default:
		return fmt.Sprintf("%d bytes", n)
	}
}

// TimeLimit returns the error of a program that took longer than limit,
// which is in the form that --max-time takes, and was at pos by then.
func TimeLimit(limit string, pos Position) *Error {
	return &Error{
		Msg:   fmt.Sprintf("the time limit (%s) was reached", limit),
		Pos:   pos,
		Limit: LimitTime,
		Hint:  "allow more with --max-time",
	}
}

// MemoryLimit returns the error of a program that needed more than limit
// bytes, and was at pos by then.
func MemoryLimit(limit int64, pos Position) *Error {
	return &Error{
		Msg:   fmt.Sprintf("the memory limit (%s) was reached", bytesText(limit)),
		Pos:   pos,
		Limit: LimitMemory,
		Hint:  "allow more with --max-memory",
	}
}

func (in *Interp) stepLimit() *Error {
	return &Error{
		Msg:   fmt.Sprintf("the step limit (%d) was reached", in.opts.MaxSteps),
		Limit: LimitSteps,
		Hint:  "allow more with --max-steps",
	}
}

func (in *Interp) sourceLimit(name string) *Error {
	return &Error{
		Msg:   fmt.Sprintf("the source limit (%s for all files together) was reached with %s", bytesText(in.opts.MaxSource), name),
		Limit: LimitSource,
		Hint:  "allow more with --max-source",
	}
}

// nestingLimit is the error of source nested too deeply. The numbers in its
// hint are the parser's (brackets, blocks) and DefaultMaxDepth.
func nestingLimit(pos Position) *Error {
	return &Error{
		Msg:   "the nesting limit was reached: the source is nested too deeply",
		Pos:   pos,
		Limit: LimitNesting,
		Hint:  "this limit is fixed: about 80 brackets, 900 blocks, 10000 operators or elif in a row; use variables, functions or a list",
	}
}

// gulpLimit turns the interpreter's refusal to make one huge value into an
// error of the memory limit, or returns nil. Only operators refuse that way.
func gulpLimit(err *starlark.EvalError) *Error {
	if top := len(err.CallStack) - 1; top < 0 || err.CallStack[top].Pos.Filename() == builtinFile {
		return nil
	}
	msg := err.Msg
	repeat := strings.HasPrefix(msg, "excessive repeat (") ||
		strings.HasPrefix(msg, "repeat count ") && strings.HasSuffix(msg, " too large")
	switch {
	case repeat:
		return &Error{
			Msg:   "the memory limit was reached: " + msg,
			Limit: LimitMemory,
			Hint:  "one repetition makes at most 1073741823 elements or bytes, a fixed limit; below that, allow more with --max-memory",
		}
	case strings.HasPrefix(msg, "shift count too large"):
		return &Error{
			Msg:   "the memory limit was reached: " + msg,
			Limit: LimitMemory,
			Hint:  "an integer is shifted left by at most 511 bits, a fixed limit; multiply instead",
		}
	}
	return nil
}

// panicked explains a panic of a builtin. Those of Go's that mean a value
// too big to exist become the memory limit.
func (in *Interp) panicked(problem any) error {
	e := &Error{Pos: in.last}
	if failure, ok := problem.(error); ok {
		e.cause = failure
	}
	if isSize(problem) {
		e.Msg = "the memory limit was reached: a value is too large"
		e.Limit = LimitMemory
		e.Hint = "no value can be that large, whatever --max-memory allows"
	} else {
		e.Msg = fmt.Sprintf("internal error: %v", problem)
		e.Hint = "this is a bug of instar; please report it"
		e.Detail = string(debug.Stack())
	}
	in.addSource(e)
	return e
}

// isSize reports whether a panic is Go's refusal of a huge slice, string or
// buffer.
func isSize(problem any) bool {
	if err, ok := problem.(error); ok && errors.Is(err, bytes.ErrTooLarge) {
		return true
	}
	msg := fmt.Sprint(problem)
	for _, refusal := range []string{"makeslice: len out of range", "makeslice: cap out of range", "growslice: len out of range", "Repeat output length overflow"} {
		if strings.HasSuffix(msg, refusal) {
			return true
		}
	}
	return false
}

// Cancelled returns the error of a program that was stopped, at pos, because
// its context had ended. It wraps cause.
func Cancelled(cause error, pos Position) *Error {
	return &Error{Msg: "evaluation was cancelled", Pos: pos, cause: cause}
}

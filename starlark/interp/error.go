package interp

import (
	"fmt"

	"go.starlark.net/syntax"
)

// Values of Error.Limit.
const (
	LimitSource  = "source"  // bytes of source, --max-source
	LimitSteps   = "steps"   // steps of the interpreter, --max-steps
	LimitTime    = "time"    // wall clock, --max-time
	LimitMemory  = "memory"  // --max-memory
	LimitNesting = "nesting" // depth of the source, fixed
)

// An Error says where and why a program failed. It is what a person is
// shown, see Render, and plain data that can be sent as JSON. In the process
// where it arose it also wraps what caused it.
type Error struct {
	Msg    string   `json:"msg"`              // one sentence, without position or suggestion
	Pos    Position `json:"pos"`              // where; zero when unknown
	Source string   `json:"source,omitempty"` // the line at Pos, or the part of a long one around it
	Caret  int      `json:"caret,omitempty"`  // characters of Source before Pos; -1 for no caret
	Stack  []Frame  `json:"stack,omitempty"`  // Starlark calls, outermost first
	Hint   string   `json:"hint,omitempty"`   // what to do about it, in one or more lines
	Limit  string   `json:"limit,omitempty"`  // the limit that was reached, or ""
	Detail string   `json:"detail,omitempty"` // of an internal error: Go's stack, or a dead process' last words

	cause error
}

// Error returns position and message, in one line if the message has one.
func (e *Error) Error() string {
	if e.Pos.File == "" {
		return e.Msg
	}
	return e.Pos.String() + ": " + e.Msg
}

// Unwrap returns what a builtin, Options.Read or the context returned, or
// nil.
func (e *Error) Unwrap() error { return e.cause }

// A Position is a place in a file. Line and column count from 1, the column
// in characters; 0 means unknown.
type Position struct {
	File string `json:"file,omitempty"` // canonical name, see Resolve
	Line int32  `json:"line,omitempty"`
	Col  int32  `json:"col,omitempty"`
}

// PositionOf converts the interpreter's own position.
func PositionOf(pos syntax.Position) Position {
	if !pos.IsValid() {
		return Position{}
	}
	return Position{File: pos.Filename(), Line: pos.Line, Col: pos.Col}
}

// String returns "file:line:col", as far as known.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Col == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
	}
}

// A Frame is one call in progress: the function and the place it had
// reached.
type Frame struct {
	Name   string   `json:"name"`
	Pos    Position `json:"pos"`
	Source string   `json:"source,omitempty"` // the line at Pos, trimmed, when short
}

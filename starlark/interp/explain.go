package interp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// builtinFile is the file name that the interpreter gives to positions in
// builtins.
const builtinFile = "<builtin>"

// A missingFile is a file that Options.Read says does not exist.
type missingFile struct {
	name string
	err  error
}

func (e *missingFile) Error() string { return fmt.Sprintf("cannot read %s: no such file", e.name) }
func (e *missingFile) Unwrap() error { return e.err }

// explain turns whatever a run returned into an *Error.
func (in *Interp) explain(ctx context.Context, err error) *Error {
	outer, inner := evalErrors(err)
	e := in.describe(ctx, err, outer, inner)
	if inner != nil {
		e.Stack = in.stack(inner.CallStack, e.Limit == "" && argumentError(inner))
	}
	if e.Pos == (Position{}) {
		if n := len(e.Stack); n > 0 {
			e.Pos = e.Stack[n-1].Pos
		} else {
			e.Pos = in.last
		}
	}
	if e.cause == nil {
		e.cause = cause(err)
	}
	addAsked(e, err)
	splitHint(e)
	if better := in.nearMiss(e, inner); better != "" {
		e.Hint = better
	}
	in.addSource(e)
	return e
}

// describe finds out what kind of failure err is.
func (in *Interp) describe(ctx context.Context, err error, outer, inner *starlark.EvalError) *Error {
	var own *Error
	var missing *missingFile
	switch {
	case in.spent:
		return in.stepLimit()
	case ctx.Err() != nil && (inner == nil || strings.HasSuffix(inner.Msg, cancelled)):
		return contextError(ctx)
	case errors.As(err, &own):
		e := *own
		if e.cause == nil {
			e.cause = own
		}
		return &e
	case errors.As(err, &missing):
		return &Error{Msg: missing.Error(), Pos: Position{File: missing.name}, cause: missing}
	case outer == nil:
		return &Error{Msg: err.Error()}
	}
	if e := gulpLimit(inner); e != nil {
		return e
	}
	return &Error{Msg: outer.Msg}
}

// contextError says how the context ended.
func contextError(ctx context.Context) *Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &Error{
			Msg:   "the time limit was reached",
			Limit: LimitTime,
			Hint:  "allow more with --max-time",
			cause: ctx.Err(),
		}
	}
	return Cancelled(ctx.Err(), Position{})
}

// evalErrors returns the evaluation errors in err: the outermost one whose
// message is about the failure itself rather than about a load statement
// that led there, and the innermost one, whose stack is the deepest. Both
// are nil if there is none.
func evalErrors(err error) (outer, inner *starlark.EvalError) {
	for {
		var next *starlark.EvalError
		if !errors.As(err, &next) {
			return outer, inner
		}
		if outer == nil || outer == inner && strings.HasPrefix(outer.Msg, "cannot load ") {
			outer = next
		}
		inner = next
		if err = next.Unwrap(); err == nil {
			return outer, inner
		}
	}
}

// cause returns what is below the evaluation errors.
func cause(err error) error {
	for {
		var eval *starlark.EvalError
		if !errors.As(err, &eval) {
			return err
		}
		if err = eval.Unwrap(); err == nil {
			return nil
		}
	}
}

// addAsked adds what a builtin's own error knows: its place, for an error in
// a file that the builtin interprets, and its hint.
func addAsked(e *Error, err error) {
	var at interface{ At() Position }
	if errors.As(err, &at) {
		if pos := at.At(); pos != (Position{}) {
			e.Pos = pos
		}
	}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) && e.Hint == "" {
		e.Hint = hint.Hint()
	}
}

// splitHint moves the interpreter's own suggestion from the message to the
// hint.
func splitHint(e *Error) {
	const mark = " (did you mean "
	i := strings.LastIndex(e.Msg, mark)
	if i < 0 || !strings.HasSuffix(e.Msg, "?)") || e.Hint != "" {
		return
	}
	e.Hint = e.Msg[i+2 : len(e.Msg)-1]
	e.Msg = e.Msg[:i]
}

// stack converts a call stack, without builtins, and without the innermost
// function if its call failed before it began.
func (in *Interp) stack(calls starlark.CallStack, dropTop bool) []Frame {
	if dropTop && len(calls) > 1 {
		calls = calls[:len(calls)-1]
	}
	var frames []Frame
	for _, call := range calls {
		if call.Pos.Filename() == builtinFile {
			continue
		}
		pos := PositionOf(call.Pos)
		frames = append(frames, Frame{Name: call.Name, Pos: pos, Source: in.shortLine(pos)})
	}
	return frames
}

// argumentError reports whether the innermost function refused its
// arguments, or being called recursively: the mistake is in its caller.
func argumentError(err *starlark.EvalError) bool {
	top := len(err.CallStack) - 1
	if top < 1 || err.CallStack[top].Pos.Filename() == builtinFile {
		return false
	}
	rest, ok := strings.CutPrefix(err.Msg, "function "+err.CallStack[top].Name+" ")
	if !ok {
		return false
	}
	for _, verb := range []string{"accepts ", "got ", "missing ", "called recursively"} {
		if strings.HasPrefix(rest, verb) {
			return true
		}
	}
	return false
}

// syntaxError converts an error of the parser.
func (in *Interp) syntaxError(err error) *Error {
	var failure syntax.Error
	if !errors.As(err, &failure) {
		return &Error{Msg: err.Error(), cause: err}
	}
	pos := PositionOf(failure.Pos)
	if failure.Msg == "excessive nesting" {
		return nestingLimit(pos)
	}
	return &Error{Msg: failure.Msg, Pos: in.tokenStart(pos, failure.Msg), cause: err}
}

// tokenStart moves the position of "got X, want Y" from behind the token X,
// where the parser says it is, to its beginning.
func (in *Interp) tokenStart(pos Position, msg string) Position {
	token, _, ok := strings.Cut(msg, ", want ")
	token, got := strings.CutPrefix(token, "got ")
	if !ok || !got || strings.HasSuffix(msg, "primary expression") {
		return pos
	}
	if token == "newline" && pos.Col == 1 && pos.Line > 1 {
		end := Position{File: pos.File, Line: pos.Line - 1, Col: 1}
		text, _ := in.line(end)
		end.Col = int32(utf8.RuneCountInString(text) + 1)
		return end
	}
	text, _ := in.line(pos)
	runes := []rune(text)
	if int(pos.Col)-1 > len(runes) {
		return pos
	}
	before := string(runes[:pos.Col-1])
	word := strings.Trim(token, "'")
	if token == "identifier" || token == "int literal" {
		word = before[strings.LastIndexFunc(before, func(r rune) bool { return !isWord(r) })+1:]
	}
	if strings.HasSuffix(before, word) {
		pos.Col -= int32(utf8.RuneCountInString(word))
	}
	return pos
}

func isWord(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

// resolveError converts the first of the errors about names, and counts the
// others.
func (in *Interp) resolveError(file *syntax.File, list resolve.ErrorList) *Error {
	slices.SortStableFunc(list, func(a, b resolve.Error) int {
		if a.Pos.Line != b.Pos.Line {
			return int(a.Pos.Line - b.Pos.Line)
		}
		return int(a.Pos.Col - b.Pos.Col)
	})
	e := &Error{Msg: list[0].Msg, Pos: PositionOf(list[0].Pos), cause: list}
	splitHint(e)
	if name, ok := strings.CutPrefix(e.Msg, "undefined: "); ok {
		known := in.candidates(file, name)
		if local, ok := strings.CutPrefix(e.Hint, "did you mean "); ok {
			known = append(known, strings.TrimSuffix(local, "?"))
		}
		e.Hint = ""
		if best, ok := Nearest(name, known); ok {
			e.Hint = "did you mean " + best + "?"
		}
	}
	if others := len(list) - 1; others > 0 {
		more := fmt.Sprintf("%d more errors like this in %s", others, e.Pos.File)
		if others == 1 {
			more = "1 more error like this in " + e.Pos.File
		}
		e.Hint = strings.TrimPrefix(e.Hint+"\n"+more, "\n")
	}
	return e
}

package interp

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

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
	if e.Hint == "" && inner != nil {
		e.Hint = in.keywordHint(e, inner)
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

// keywordHint suggests a parameter for a keyword argument that a Starlark
// function does not have.
func (in *Interp) keywordHint(e *Error, err *starlark.EvalError) string {
	_, keyword, ok := strings.Cut(e.Msg, " got an unexpected keyword argument ")
	if !ok || !argumentError(err) {
		return ""
	}
	callee := err.CallStack[len(err.CallStack)-1]
	file, parseErr := dialect.Parse(callee.Pos.Filename(), in.sources[callee.Pos.Filename()], 0)
	if parseErr != nil {
		return ""
	}
	best, found := Nearest(keyword, parameters(file, callee))
	if !found {
		return ""
	}
	return "did you mean " + best + "?"
}

// parameters returns the names of the parameters of the function that was
// called.
func parameters(file *syntax.File, callee starlark.CallFrame) []string {
	var names []string
	syntax.Walk(file, func(n syntax.Node) bool {
		def, ok := n.(*syntax.DefStmt)
		if !ok || def.Name.Name != callee.Name {
			return true
		}
		if begin, end := def.Span(); callee.Pos.Line < begin.Line || callee.Pos.Line > end.Line {
			return true
		}
		names = names[:0]
		for _, param := range def.Params {
			if binary, ok := param.(*syntax.BinaryExpr); ok {
				param = binary.X
			}
			if id, ok := param.(*syntax.Ident); ok {
				names = append(names, id.Name)
			}
		}
		return true
	})
	return names
}

// syntaxError converts an error of the parser.
func (in *Interp) syntaxError(err error) *Error {
	var failure syntax.Error
	if !errors.As(err, &failure) {
		return &Error{Msg: err.Error(), cause: err}
	}
	if failure.Msg == "excessive nesting" {
		return nestingLimit(PositionOf(failure.Pos))
	}
	return &Error{Msg: failure.Msg, Pos: PositionOf(failure.Pos), cause: err}
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

// candidates returns what name could have been meant to be.
func (in *Interp) candidates(file *syntax.File, name string) []string {
	known := in.names.Keys()
	if module, ok := file.Module.(*resolve.Module); ok {
		for _, global := range module.Globals {
			known = append(known, global.First.Name)
		}
		for _, local := range module.Locals {
			known = append(known, local.First.Name)
		}
	}
	return append(known, in.suggestions("name", name)...)
}

func (in *Interp) suggestions(kind, name string) []string {
	if in.opts.Suggest == nil {
		return nil
	}
	return in.opts.Suggest(kind, name)
}

// noSuchFile is the error of loading a file that does not exist.
func (in *Interp) noSuchFile(from, ref, name string, err error) *Error {
	e := &Error{Msg: fmt.Sprintf("cannot load %q: no such file", ref), cause: err}
	files := in.suggestions("file", name)
	best, ok := Nearest(name, files)
	for _, file := range files {
		if !ok && path.Base(file) == path.Base(name) {
			best, ok = file, true // right name, wrong folder
		}
	}
	if ok {
		e.Hint = fmt.Sprintf("did you mean %q?", reference(from, best))
	}
	return e
}

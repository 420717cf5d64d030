// Package interp runs Starlark programs of several files.
//
// An Interp loads modules, each once and each frozen afterwards, on one
// thread, so that a call stack reaches from the entry file through every
// load and call to the failing line. What a program can name beyond the
// language itself, and where its files come from, is given by Options: the
// package knows no domain. A file has one canonical name (see Resolve),
// under which it is read, cached and shown in positions.
//
// Every failure is an *Error with a position, the source line, the stack
// and often a hint. Source, steps and nesting are bounded here. Time and
// memory are bounded as far as a process can bound itself, which is not
// enough: a builtin is never interrupted. Package sandbox adds the hard
// bounds.
package interp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// Defaults of the limits in Options.
const (
	DefaultMaxSource = 16 << 20   // bytes
	DefaultMaxSteps  = 10_000_000 // steps of the byte code interpreter
	DefaultMaxDepth  = 10_000     // levels of the syntax tree
)

// ErrTooLarge is returned, perhaps wrapped, by Options.Read for a file that
// it declines to read because of its size. It becomes the error of the
// source limit.
var ErrTooLarge = errors.New("file too large")

// Options says what a program may use. Only Read is mandatory.
type Options struct {
	// Predeclared holds the names that every file can use, above those of
	// the language itself. It must not change while a program runs.
	Predeclared starlark.StringDict

	// Locals become the thread's local values, for builtins to find.
	Locals map[string]any

	// Read returns the text of a file by its canonical name:
	// "instance.star" and "lib/x.star" are relative to the profile's
	// folder, "@std//x.star" is in the shipped library. A file that does
	// not exist is an error that wraps fs.ErrNotExist. Each file is read
	// once.
	Read func(module string) ([]byte, error)

	// Suggest returns more candidates for "did you mean", or nil. The kind
	// is "name" for an identifier, "file" for a file to load, whose
	// candidates are canonical names, or "attribute of T" for a field or
	// method of a value of type T.
	Suggest func(kind, name string) []string

	// Position, if set, is told before every step where the program is, so
	// that whoever kills it knows the line that it had reached. The column
	// may be that of the operand before. Line 0 means that the file is being
	// read and compiled. It must be fast: finding the position costs every
	// step about 10 ns as it is.
	Position func(file string, line, col int32)

	// Print receives what the program prints. The default drops it.
	Print func(pos syntax.Position, msg string)

	MaxSource int64  // bytes of all files together; 0 means DefaultMaxSource
	MaxSteps  uint64 // steps of a whole Interp; 0 means DefaultMaxSteps
	MaxDepth  int    // levels of a file's syntax tree; 0 means DefaultMaxDepth
}

// An Interp is one program: its modules, its thread and its budget of steps.
// It is used by one goroutine at a time.
type Interp struct {
	opts    Options
	thread  *starlark.Thread
	modules map[string]starlark.StringDict // loaded and frozen
	loading []string                       // being loaded, the entry first
	sources map[string][]byte              // all that was read
	size    int64                          // bytes in sources
	spent   bool                           // the step limit was reached
	last    Position                       // last one given to opts.Position
}

const localKey = "instar/starlark/interp"

// dialect is that of all files: no while and no recursion, so that
// evaluation ends.
var dialect = &syntax.FileOptions{
	Set:             true,
	TopLevelControl: true,
	GlobalReassign:  true,
}

// New returns a program of which nothing has been read yet.
func New(opts Options) *Interp {
	if opts.MaxSource == 0 {
		opts.MaxSource = DefaultMaxSource
	}
	if opts.MaxSteps == 0 {
		opts.MaxSteps = DefaultMaxSteps
	}
	if opts.MaxDepth == 0 {
		opts.MaxDepth = DefaultMaxDepth
	}
	in := &Interp{
		opts:    opts,
		modules: map[string]starlark.StringDict{},
		sources: map[string][]byte{},
	}
	in.thread = &starlark.Thread{
		Name:       "profile",
		Load:       in.load,
		Print:      in.print,
		OnMaxSteps: in.step,
	}
	for key, value := range opts.Locals {
		in.thread.SetLocal(key, value)
	}
	in.thread.SetLocal(localKey, in)
	if opts.Position != nil {
		in.thread.SetMaxExecutionSteps(1) // step is called each time
	} else {
		in.thread.SetMaxExecutionSteps(opts.MaxSteps)
	}
	return in
}

// Run runs a program and returns the frozen globals of its entry file.
// Globals are returned with an error too, as far as they had been set. The
// error is an *Error; its Unwrap leads to what a builtin returned, or to
// ctx.Err().
func Run(ctx context.Context, entry string, opts Options) (starlark.StringDict, error) {
	return New(opts).Run(ctx, entry)
}

// Run is the function of that name, for a program whose functions are
// called afterwards.
func (in *Interp) Run(ctx context.Context, entry string) (globals starlark.StringDict, err error) {
	err = in.guard(ctx, func() error {
		globals, err = in.module(entry)
		return err
	})
	return globals, err
}

// Call calls a function of the program, on the same thread and budget of
// steps. The error is as for Run.
func (in *Interp) Call(ctx context.Context, fn starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) (result starlark.Value, err error) {
	err = in.guard(ctx, func() error {
		result, err = starlark.Call(in.thread, fn, args, kwargs)
		return err
	})
	return result, err
}

// Thread returns the program's thread.
func (in *Interp) Thread() *starlark.Thread { return in.thread }

// guard calls run, stops it when ctx ends, and explains how it failed.
func (in *Interp) guard(ctx context.Context, run func() error) (err error) {
	if ctx.Err() != nil {
		return in.explain(ctx, ctx.Err())
	}
	if !in.spent {
		in.thread.Uncancel() // an earlier call was cancelled
	}
	stop := context.AfterFunc(ctx, func() { in.thread.Cancel(cancelled) })
	defer stop()
	defer func() {
		if problem := recover(); problem != nil {
			err = in.panicked(problem)
		}
	}()
	if err = run(); err != nil {
		return in.explain(ctx, err)
	}
	return nil
}

// step is called by the interpreter once the thread's limit is reached: at
// every step when positions are wanted. The frame's position is still that
// of the instruction before.
func (in *Interp) step(thread *starlark.Thread) {
	if thread.Steps >= in.opts.MaxSteps {
		in.spent = true
		thread.Cancel(cancelled)
	}
	if in.opts.Position == nil {
		return
	}
	pos := thread.DebugFrame(0).Position()
	in.report(pos.Filename(), pos.Line, pos.Col)
}

// report notes the position that the program has reached.
func (in *Interp) report(file string, line, col int32) {
	in.last = Position{File: file, Line: line, Col: col}
	if in.opts.Position != nil {
		in.opts.Position(file, line, col)
	}
}

func (in *Interp) print(thread *starlark.Thread, msg string) {
	if in.opts.Print != nil {
		in.opts.Print(CallerPos(thread), msg)
	}
}

// load is the thread's implementation of the load statement.
func (in *Interp) load(thread *starlark.Thread, ref string) (starlark.StringDict, error) {
	from := CallerFile(thread)
	name, err := Resolve(from, ref)
	if err != nil {
		return nil, &Error{Msg: fmt.Sprintf("cannot load %q: %v", ref, err)}
	}
	if globals, ok := in.modules[name]; ok {
		return globals, nil
	}
	if i := slices.Index(in.loading, name); i >= 0 {
		cycle := append(slices.Clone(in.loading[i:]), name)
		return nil, &Error{Msg: "cannot load " + name + ": it is being loaded: " + strings.Join(cycle, " loads ")}
	}
	globals, err := in.module(name)
	if err != nil && errors.Is(err, fs.ErrNotExist) {
		var missing *missingFile
		if errors.As(err, &missing) && missing.name == name {
			return nil, in.noSuchFile(from, ref, name, err)
		}
	}
	return globals, err
}

// module reads, compiles and executes a file.
func (in *Interp) module(name string) (starlark.StringDict, error) {
	in.loading = append(in.loading, name)
	defer func() { in.loading = in.loading[:len(in.loading)-1] }()
	prog, err := in.compile(name)
	if err != nil {
		return nil, err
	}
	globals, err := prog.Init(in.thread, in.opts.Predeclared)
	if err != nil {
		return globals, err
	}
	globals.Freeze()
	in.modules[name] = globals
	return globals, nil
}

// compile reads and compiles a file. Its errors carry their own position.
func (in *Interp) compile(name string) (*starlark.Program, error) {
	in.report(name, 0, 0)
	text, err := in.read(name)
	if err != nil {
		return nil, err
	}
	if err := checkText(name, text); err != nil {
		return nil, err
	}
	file, err := dialect.Parse(name, text, 0)
	if err != nil {
		return nil, in.syntaxError(err)
	}
	if err := prepare(file, in.opts.MaxDepth); err != nil {
		return nil, err
	}
	prog, err := starlark.FileProgram(file, in.opts.Predeclared.Has)
	if err != nil {
		var list resolve.ErrorList
		if errors.As(err, &list) {
			return nil, in.resolveError(file, list)
		}
		return nil, err
	}
	return prog, nil
}

// read reads a file within the limit on source.
func (in *Interp) read(name string) ([]byte, error) {
	text, err := in.opts.Read(name)
	switch {
	case errors.Is(err, ErrTooLarge):
		return nil, in.sourceLimit(name)
	case errors.Is(err, fs.ErrNotExist):
		return nil, &missingFile{name: name, err: err}
	case err != nil:
		return nil, &Error{Msg: fmt.Sprintf("cannot read %s: %v", name, err), Pos: Position{File: name}, cause: err}
	}
	if in.size += int64(len(text)); in.size > in.opts.MaxSource {
		return nil, in.sourceLimit(name)
	}
	in.sources[name] = text
	return text, nil
}

// checkText refuses what the scanner would misread: it takes a zero byte
// for the end of the file.
func checkText(name string, text []byte) error {
	if len(text) > math.MaxInt32 {
		return &Error{Msg: "cannot read a file of 2 GiB", Pos: Position{File: name}}
	}
	if i := bytes.IndexByte(text, 0); i >= 0 {
		return &Error{Msg: "zero byte in source", Pos: offsetPosition(name, text, i)}
	}
	if utf8.Valid(text) {
		return nil
	}
	i := 0
	for i < len(text) {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		i += size
	}
	return &Error{Msg: "source is not UTF-8", Pos: offsetPosition(name, text, i)}
}

// offsetPosition returns the position of the byte at offset.
func offsetPosition(name string, text []byte, offset int) Position {
	before := text[:offset]
	start := bytes.LastIndexByte(before, '\n') + 1
	return Position{
		File: name,
		Line: int32(bytes.Count(before, []byte("\n")) + 1),
		Col:  int32(utf8.RuneCount(before[start:]) + 1),
	}
}

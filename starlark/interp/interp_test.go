package interp_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"instar/starlark/interp"
)

// files is a profile: text by canonical name.
type files map[string]string

func (f files) read(name string) ([]byte, error) {
	text, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

// one returns options that run the text as instance.star.
func one(text string) interp.Options {
	return interp.Options{Read: files{"instance.star": text}.read}
}

func run(t *testing.T, opts interp.Options) (starlark.StringDict, *interp.Error) {
	t.Helper()
	globals, err := interp.Run(t.Context(), "instance.star", opts)
	if err == nil {
		return globals, nil
	}
	var e *interp.Error
	if !errors.As(err, &e) {
		t.Fatalf("got an error of type %T, want *interp.Error: %v", err, err)
	}
	return globals, e
}

func TestDialect(t *testing.T) {
	good := []string{
		"x = set([1])", "if True: x = 1", "for i in [1]: x = i", "x = 1\nx = 2",
		"f = lambda n: n + 1\nx = f(1)", "def f(*a, **k): return a\nx = f(1, b = 2)",
	}
	for _, text := range good {
		if _, err := run(t, one(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	bad := map[string]string{
		"while True: pass":                            "does not support while loops",
		"def f(): return f()\nf()":                    "called recursively",
		"y = lambda g: g(g)\ny(y)":                    "called recursively",
		"f = 1\ndef g(): f()\ng()":                    "invalid call of non-function (int)",
		"x = [1]\nfor i in x: x.append(i)":            "during iteration",
		"x = 1\x00 + fail()":                          "zero byte in source",
		"x = '\xff'":                                  "source is not UTF-8",
		"def f():\n  def g(): return f()\n  g()\nf()": "called recursively",
	}
	for text, want := range bad {
		if _, err := run(t, one(text)); err == nil || !strings.Contains(err.Msg, want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestModulesAreLoadedOnceAndFrozen(t *testing.T) {
	reads := map[string]int{}
	profile := files{
		"instance.star": `load("lib/a.star", "a"); load("//lib/b.star", "b", "shared"); load("@std//s.star", "s")`,
		"lib/a.star":    `load("b.star", "shared"); a = shared`,
		"lib/b.star":    `shared = []; b = loading()`,
		"@std//s.star":  `load("t.star", "t"); load("//t.star", u = "t"); s = t`,
		"@std//t.star":  `t = 1`,
	}
	var loading []bool
	opts := interp.Options{
		Read: func(name string) ([]byte, error) { reads[name]++; return profile.read(name) },
		Predeclared: starlark.StringDict{"loading": starlark.NewBuiltin("loading",
			func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
				loading = append(loading, interp.Loading(thread))
				return starlark.None, nil
			})},
	}
	profile["instance.star"] += "\nloading()\nshared.append(1)"
	_, err := run(t, opts)
	if err == nil || !strings.Contains(err.Msg, "frozen") || err.Pos.Line != 3 {
		t.Errorf("appending to a loaded list: got %v, want an error about a frozen list in line 3", err)
	}
	for name := range profile {
		if reads[name] != 1 {
			t.Errorf("%s was read %d times, want once", name, reads[name])
		}
	}
	if want := []bool{true, false}; !slices.Equal(loading, want) {
		t.Errorf("Loading: got %v, want %v", loading, want)
	}
}

func TestLoadCycle(t *testing.T) {
	_, err := run(t, interp.Options{Read: files{
		"instance.star": `load("a.star", "x")`,
		"a.star":        `load("b.star", "x")`,
		"b.star":        "\n" + `load("a.star", "x")`,
	}.read})
	want := "b.star:2:1: cannot load a.star: it is being loaded: a.star loads b.star loads a.star"
	if err == nil || err.Error() != want {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
	if len(err.Stack) != 3 {
		t.Errorf("got a stack of %d frames, want 3: %v", len(err.Stack), err.Stack)
	}
}

func TestCaller(t *testing.T) {
	var got []string
	where := starlark.NewBuiltin("where", func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		var names []string
		for _, frame := range interp.Stack(thread) {
			names = append(names, frame.Name)
		}
		got = append(got, fmt.Sprint(interp.CallerFile(thread), " ", interp.CallerPos(thread), " ", names))
		return starlark.MakeInt(0), nil
	})
	opts := interp.Options{
		Predeclared: starlark.StringDict{"where": where},
		Read: files{
			"instance.star": "load('lib/a.star', 'f')\nwhere()\nf()\nsorted([1], key = lambda x: where())\nmax([1], key = where) if False else None",
			"lib/a.star":    "def f():\n  where()",
		}.read,
	}
	if _, err := run(t, opts); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"instance.star instance.star:2:6 [<toplevel>]",
		"lib/a.star lib/a.star:2:8 [<toplevel> f]",
		"instance.star instance.star:4:34 [<toplevel> lambda]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestPrint(t *testing.T) {
	opts := one("def f(): print('a', 1)\nf()")
	var got string
	opts.Print = func(pos syntax.Position, msg string) { got = pos.String() + " " + msg }
	if _, err := run(t, opts); err != nil {
		t.Fatal(err)
	}
	if want := "instance.star:1:15 a 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A builtinError is what a builtin of a domain may return.
type builtinError struct{ error }

func (builtinError) At() interp.Position {
	return interp.Position{File: "my.tmpl", Line: 2, Col: 3}
}
func (builtinError) Hint() string    { return "set it" }
func (e builtinError) Unwrap() error { return e.error }

func TestBuiltinError(t *testing.T) {
	sentinel := errors.New("sentinel")
	opts := interp.Options{
		Predeclared: starlark.StringDict{"f": starlark.NewBuiltin("f", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
			return nil, builtinError{fmt.Errorf("no value: %w", sentinel)}
		})},
		Read: files{"instance.star": "load('a.star', 'x')", "a.star": "x = f()", "my.tmpl": "a\nb {{c}}\n"}.read,
	}
	_, err := run(t, opts)
	if !errors.Is(err, sentinel) {
		t.Fatalf("errors.Is does not reach the builtin's error in %v", err)
	}
	if want := "my.tmpl:2:3: no value: sentinel"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if err.Source != "b {{c}}" || err.Hint != "set it" || len(err.Stack) != 2 {
		t.Errorf("got source %q, hint %q, stack %v", err.Source, err.Hint, err.Stack)
	}
}

func TestCall(t *testing.T) {
	in := interp.New(one("def f(n): return 10 // n"))
	globals, err := in.Run(t.Context(), "instance.star")
	if err != nil {
		t.Fatal(err)
	}
	v, err := in.Call(t.Context(), globals["f"], starlark.Tuple{starlark.MakeInt(5)}, nil)
	if err != nil || v.String() != "2" {
		t.Errorf("f(5): got %v, %v", v, err)
	}
	_, err = in.Call(t.Context(), globals["f"], starlark.Tuple{starlark.MakeInt(0)}, nil)
	if want := "instance.star:1:21: floored division by zero"; err == nil || err.Error() != want {
		t.Errorf("f(0): got %v, want %s", err, want)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := interp.Run(ctx, "instance.star", one("x = 1"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	opts := one("def f():\n  for i in range(1000000000):\n    stop()\nf()")
	opts.Predeclared = starlark.StringDict{"stop": starlark.NewBuiltin("stop", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		cancel()
		return starlark.None, nil
	})}
	_, err = interp.Run(ctx, "instance.star", opts)
	var e *interp.Error
	if !errors.Is(err, context.Canceled) || !errors.As(err, &e) || e.Pos.Line < 2 || e.Pos.Line > 3 {
		t.Errorf("got %v, want context.Canceled in line 2 or 3", err)
	}
	in := interp.New(one("def f(): return 1"))
	globals, err := in.Run(t.Context(), "instance.star")
	if err != nil {
		t.Fatal(err)
	}
	in.Thread().Cancel("for a test")
	if _, err := in.Call(t.Context(), globals["f"], nil, nil); err != nil {
		t.Errorf("a call after a cancelled one: %v", err)
	}
}

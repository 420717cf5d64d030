package interp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"instar/starlark/interp"
)

func TestSourceLimit(t *testing.T) {
	profile := files{
		"instance.star": "x = 1\nload('a.star', 'a')",
		"a.star":        "a = '" + strings.Repeat("a", 1000) + "'",
	}
	size := int64(len(profile["instance.star"]) + len(profile["a.star"]))
	for _, limit := range []int64{size, size + 1} {
		if _, err := run(t, interp.Options{Read: profile.read, MaxSource: limit}); err != nil {
			t.Errorf("%d bytes with a limit of %d: %v", size, limit, err)
		}
	}
	_, err := run(t, interp.Options{Read: profile.read, MaxSource: size - 1})
	if err == nil || err.Limit != "source" || err.Pos.Line != 2 || !strings.Contains(err.Hint, "--max-source") || !strings.Contains(err.Msg, "a.star") {
		t.Errorf("got %#v", err)
	}
	declined := func(name string) ([]byte, error) { return nil, fmt.Errorf("%s: %w", name, interp.ErrTooLarge) }
	if _, err := run(t, interp.Options{Read: declined}); err == nil || err.Limit != "source" || err.Pos.File != "instance.star" {
		t.Errorf("Read declined: got %#v", err)
	}
}

func TestStepLimit(t *testing.T) {
	opts := one("def f():\n    for i in range(100000000):\n        pass\nf()")
	opts.MaxSteps = 5000
	for _, position := range []func(string, int32, int32){nil, func(string, int32, int32) {}} {
		opts.Position = position
		_, err := run(t, opts)
		if err == nil || err.Limit != "steps" || err.Pos.Line != 2 || !strings.Contains(err.Msg, "5000") ||
			!strings.Contains(err.Hint, "--max-steps") || len(err.Stack) != 2 {
			t.Errorf("got %#v", err)
		}
	}
	// The budget is one for all modules and calls.
	in := interp.New(interp.Options{
		MaxSteps: 5000,
		Read: files{
			"instance.star": "load('a.star', 'a')\nfor i in range(200): pass",
			"a.star":        "for i in range(200): a = i\ndef f():\n  for i in range(100): pass",
		}.read,
	})
	globals, err := in.Run(t.Context(), "instance.star")
	if err != nil {
		t.Fatal(err, globals)
	}
	if steps := in.Thread().ExecutionSteps(); steps < 1200 || steps > 5000 {
		t.Errorf("%d steps", steps)
	}
}

func TestTimeLimit(t *testing.T) {
	opts := one("def f():\n  for i in range(1000000000):\n    x = i\nf()")
	opts.MaxSteps = 1 << 62
	var err error
	var e *interp.Error
	for limit := 50 * time.Millisecond; limit < time.Minute && (e == nil || e.Pos.Line < 2 || e.Pos.Line > 3); limit *= 4 { // until it is enough to come there
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		_, err = interp.Run(ctx, "instance.star", opts)
		cancel()
		if !errors.As(err, &e) {
			break
		}
	}
	if !errors.As(err, &e) || e.Limit != "time" || e.Pos.Line < 2 || e.Pos.Line > 3 || !strings.Contains(e.Hint, "--max-time") {
		t.Errorf("got %v", err)
	}
}

// Panics of builtins that mean a value of impossible size are the memory
// limit; others are bugs. Both have a position.
func TestPanics(t *testing.T) {
	tests := []struct {
		panics func()
		limit  string
		msg    string
	}{
		{func() { n := -1; _ = make([]byte, n) }, "memory", "the memory limit was reached"},
		{func() { _ = strings.Repeat("xx", 1<<62) }, "memory", "the memory limit was reached"},
		{func() { panic(bytes.ErrTooLarge) }, "memory", "the memory limit was reached"},
		{func() { panic("oh") }, "", "internal error: oh"},
		{func() { var l []int; _ = l[3] }, "", "internal error: runtime error: index out of range"},
	}
	for _, test := range tests {
		opts := one("x = 1\nf()")
		opts.Position = func(string, int32, int32) {}
		opts.Predeclared = starlark.StringDict{"f": starlark.NewBuiltin("f", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
			test.panics()
			return starlark.None, nil
		})}
		_, err := run(t, opts)
		if err == nil || err.Limit != test.limit || !strings.HasPrefix(err.Msg, test.msg) || err.Pos.Line != 2 || err.Source != "f()" {
			t.Errorf("%s: got %v (%q)", test.msg, err, err.Source)
		}
		if test.limit == "" && !strings.Contains(err.Detail, "limits_test.go") {
			t.Errorf("%s: no Go stack in %q", test.msg, err.Detail)
		}
	}
}

// A program may say what the interpreter says about limits.
func TestNoFalseLimit(t *testing.T) {
	for _, text := range []string{"fail('excessive repeat (')", "fail('shift count too large')", "fail('cancelled by instar')"} {
		if _, err := run(t, one(text)); err == nil || err.Limit != "" || !strings.HasPrefix(err.Msg, "fail: ") {
			t.Errorf("%s: got %#v", text, err)
		}
	}
}

func TestDepth(t *testing.T) {
	sum := func(n int) string { return "x = 1" + strings.Repeat(" + 1", n) }
	elif := func(n int) string { return "if False: pass\n" + strings.Repeat("elif False: pass\n", n) }
	for name, source := range map[string]func(int) string{"sum": sum, "elif": elif} {
		opts := one(source(90))
		opts.MaxDepth = 100
		if _, err := run(t, opts); err != nil {
			t.Errorf("%s of 90: %v", name, err)
		}
		opts = one(source(110))
		opts.MaxDepth = 100
		if _, err := run(t, opts); err == nil || err.Limit != "nesting" {
			t.Errorf("%s of 110: got %v", name, err)
		}
	}
	// What is fine by default.
	for _, text := range []string{sum(9000), elif(4000), "x = " + strings.Repeat("[", 70) + strings.Repeat("]", 70)} {
		if _, err := run(t, one(text)); err != nil {
			t.Errorf("%.20s…: %v", text, err)
		}
	}
}

// Every repetition means what it means without the rewriting that makes it
// report its position.
func TestRepetition(t *testing.T) {
	globals, err := run(t, one(`
a = [1, 2] * 2
b = 2 * (1, 2)
c = "ab" * 2
d = 2 * b"ab"
e = 3 * 4
f = ("ab") * 2
g = [[]] * 2
g[0].append(1)
h = () * 3
i = 2.5 * 2
j = [0] * len("abc")
k = [x * 2 for x in ["a"] * 2]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a": "[1, 2, 1, 2]", "b": "(1, 2, 1, 2)", "c": `"abab"`, "d": `b"abab"`, "e": "12", "f": `"abab"`,
		"g": "[[1], [1]]", "h": "()", "i": "5.0", "j": "[0, 0, 0]", "k": `["aa", "aa"]`,
	}
	for name, value := range want {
		if got := globals[name].String(); got != value {
			t.Errorf("%s: got %s, want %s", name, got, value)
		}
	}
	_, err = run(t, one("x = 'a' * 'b'"))
	if want := "instance.star:1:9: unknown binary op: string * string"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Whenever a builtin runs, the line of its call has been reported.
func TestPosition(t *testing.T) {
	var line int32
	var file string
	profile := files{
		"instance.star": "load('a.star', 'f')\nhere(2)\nx = [\n  here(4),\n  1]\nif True:\n  here(7)\nf()\nhere(9)\n" +
			"y = [here(10) for i in range(3)]\nz = 1\nmax(here(12), here(12))\nw = 7\nhere(14)",
		"a.star": "def f():\n  here(2)\n  a = 4\n  here(4)",
	}
	calls := 0
	opts := interp.Options{
		Read:     profile.read,
		Position: func(f string, l, _ int32) { file, line = f, l },
		Predeclared: starlark.StringDict{"here": starlark.NewBuiltin("here",
			func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
				calls++
				if want, _ := starlark.AsInt32(args[0]); int(line) != want || file != interp.CallerFile(thread) {
					t.Errorf("in line %d: reported %s:%d", want, file, line)
				}
				return starlark.MakeInt(0), nil
			})},
	}
	if _, err := run(t, opts); err != nil {
		t.Fatal(err)
	}
	if calls != 12 {
		t.Errorf("%d calls", calls)
	}
}

const work = `
def f(n):
    r = []
    for i in range(n):
        x = i * 2 + 1
        if x % 3 == 0:
            r.append("a%d" % x)
        else:
            r.append(str(x))
    return r
f(100000)
`

func benchmark(b *testing.B, position func(string, int32, int32)) {
	opts := one(work)
	opts.Position = position
	var steps uint64
	for b.Loop() {
		in := interp.New(opts)
		if _, err := in.Run(b.Context(), "instance.star"); err != nil {
			b.Fatal(err)
		}
		steps += in.Thread().ExecutionSteps()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(steps), "ns/step")
}

func BenchmarkWithoutPosition(b *testing.B) { benchmark(b, nil) }

func BenchmarkPosition(b *testing.B) {
	var sum int32
	benchmark(b, func(_ string, line, _ int32) { sum += line })
}

func BenchmarkLoadThousandLines(b *testing.B) {
	opts := one(strings.Repeat("x = {'a': [1, 2, 3], 'b': 'text'}\n", 1000))
	for b.Loop() {
		if _, err := interp.Run(b.Context(), "instance.star", opts); err != nil {
			b.Fatal(err)
		}
	}
}

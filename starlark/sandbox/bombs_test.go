package sandbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"instar/starlark/interp"
	"instar/starlark/sandbox"
)

// A bomb is a program that wants too much.
type bomb struct {
	name   string
	text   string // of instance.star
	limit  string // the one it must run into
	at     string // the line; "" for any of the entry file
	raise  string // must be in the hint
	memory int64  // bytes; 0 means 256 MiB
	time   time.Duration
	files  map[string]string
}

// nested returns a list nested n deep as x.
func nested(n int) string {
	return fmt.Sprintf("x = []\nfor i in range(%d):\n    x = [x]\n", n)
}

var bombs = []bomb{
	{name: "repeat list", text: "x = 1\ny = [0] * (1 << 40)", limit: "memory", at: "2:", raise: "--max-memory"},
	{name: "repeat list, allowed count", text: "x = 1\ny = [0] * (1 << 29)", limit: "memory", at: "2:", raise: "--max-memory"},
	{name: "repeat text", text: `x = "x" * (1 << 31)`, limit: "memory", at: "1:", raise: "--max-memory"},
	{name: "repeat text in a loop", text: "l = []\nfor i in range(100):\n    l.append(\"x\" * (1 << 29))", limit: "memory", at: "3:", raise: "--max-memory"},
	{name: "repeat literal", text: "x = 1\ny = max(1, 2)\nz = \"x\" * 900000000\nx = 2", limit: "memory", at: "3:", raise: "--max-memory"},
	{name: "repeat literal list", text: "x = 1\ny = max(1, 2)\nz = ([0]) * 900000000\nx = 2", limit: "memory", at: "3:", raise: "--max-memory"},
	{name: "repeat literal, count first", text: "x = 1\ny = max(1, 2)\nz = 900000000 * (1, 2, 3)[:1]\nx = 2", limit: "memory", at: "3:", raise: "--max-memory"},
	{name: "repeat tuple", text: "x = (1, 2) * (1 << 30)", limit: "memory", at: "1:", raise: "--max-memory"},
	{name: "shift", text: "x = 1 << 10000000", limit: "memory", at: "1:", raise: ""},
	{name: "list of range", text: "a = 1\nl = 2\nl = list(range(1000000000))", limit: "memory", at: "3:", raise: "--max-memory"},
	{name: "list of range after a call", text: "a = max(1, 2)\nl = list(range(1000000000))", limit: "memory", at: "2:", raise: "--max-memory"},
	{name: "sorted range", text: "l = sorted(range(1000000000))", limit: "memory", at: "1:", raise: "--max-memory"},
	{name: "list.extend", text: "l = []\nl.extend(range(1000000000))", limit: "memory", at: "2:", raise: "--max-memory"},
	{name: "join", text: "x = ','.join(['x' * 1000000] * 10000)", limit: "memory", at: "1:", raise: "--max-memory"},
	{name: "replace", text: "x = ('x' * 1000000).replace('x', 'y' * 10000)", limit: "memory", at: "1:", raise: "--max-memory"},
	{name: "format", text: "x = '%s' % ('x' * 20000000)\nfor i in range(9): x = '%s%s' % (x, x)", limit: "memory", at: "2:", raise: "--max-memory"},
	{name: "growing list", text: "l = []\nfor i in range(1000000000):\n    l.append([i])", limit: "memory", at: "3:", raise: "--max-memory"},
	{name: "growing dict", text: "d = {}\nfor i in range(1000000000):\n    d[i] = str(i)", limit: "memory", at: "3:", raise: "--max-memory"},
	{name: "growing set", text: "s = set()\nfor i in range(1000000000):\n    s.add(i)", limit: "memory", at: "3:", raise: "--max-memory"},
	{name: "doubling text", text: "x = 'x'\nfor i in range(1000):\n    x += x", limit: "memory", at: "3:", raise: "--max-memory"},
	{name: "doubling list", text: "x = [0]\nfor i in range(1000):\n    x += x", limit: "memory", at: "3:", raise: "--max-memory"},
	{name: "comprehensions", text: "x = [[i for i in range(100000)] for j in range(100000)]", limit: "memory", at: "1:", raise: "--max-memory"},
	{name: "bytes", text: "x = bytes('x' * 20000000)\nl = [bytes(str(i) + str(x)) for i in range(100)]", limit: "memory", at: "2:", raise: "--max-memory"},
	{name: "squaring", text: "x = 3\nfor i in range(100):\n    x = x * x", limit: "time", at: "3:", raise: "--max-time", time: 2 * time.Second},
	{name: "decimal digits", text: "x = 7\nfor i in range(26):\n    x = x * x\ny = str(x) + str(x + 1)", limit: "time", at: "", raise: "--max-time", time: time.Second / 2},
	{name: "loops", text: "def f():\n    for i in range(1000000):\n        for j in range(1000000):\n            pass\nf()", limit: "steps", at: "3:", raise: "--max-steps"},
	{name: "top-level loops", text: "for i in range(1000000):\n    for j in range(1000000):\n        x = j", limit: "steps", at: "", raise: "--max-steps"},
	{name: "sum in a builtin", text: "a = 1\nb = max(range(100000000000))", limit: "time", at: "2:", raise: "--max-time", time: time.Second / 2},
	{name: "any in a builtin", text: "a = 1\nb = any([0] * 1000000) or all(range(1, 100000000000))", limit: "time", at: "2:", raise: "--max-time", time: time.Second / 2},
	{name: "deep str", text: nested(1000000) + "y = str(x)", limit: "", at: "4:", raise: "--max-", time: 4 * time.Second},
	{name: "deep json", text: nested(1000000) + "y = json.encode(x)", limit: "", at: "4:", raise: "--max-", time: 5 * time.Second},
	{name: "deep freeze", text: "x = (1,)\nfor i in range(2000000):\n    x = (x, )", limit: "memory", at: "", raise: "--max-memory"},
	{name: "deep hash", text: "x = (1,)\nfor i in range(2000000):\n    x = (x, )\nd = {x: 1}", limit: "memory", at: "4:", raise: "--max-memory"},
	{name: "sending", text: "x = 'x' * 10000000\nfor i in range(1000000):\n    send(x)", limit: "memory", at: "3:", raise: "--max-memory"},
	{
		name: "in a module", text: "load('lib/a.star', 'f')\n\nf()", limit: "memory", at: "lib/a.star:2:", raise: "--max-memory",
		files: map[string]string{"lib/a.star": "def f():\n    return list(range(1000000000))"},
	},
	{
		name: "loading", text: "load('a.star', 'x')", limit: "memory", at: "a.star:1:", raise: "--max-memory",
		files: map[string]string{"a.star": "x = list(range(1000000000))"},
	},
}

func TestBombs(t *testing.T) {
	for _, b := range bombs {
		t.Run(b.name, func(t *testing.T) { b.explode(t) })
	}
}

func (b bomb) explode(t *testing.T) {
	if !sandbox.HardMemory && b.limit != "steps" {
		t.Skip("memory is not limited by the kernel here")
	}
	if b.files == nil {
		b.files = map[string]string{}
	}
	b.files["instance.star"] = b.text
	l := sandbox.Limits{Memory: b.memory, Time: b.time}
	if l.Memory == 0 {
		l.Memory = 256 << 20
	}
	if l.Time == 0 {
		l.Time = unhurried.Time
	}
	begin := time.Now()
	usage, e := detonate(t, l, program{Files: b.files, Steps: b.steps()})
	for b.time != 0 && e.Limit == "time" && !b.here(e) && l.Time < time.Minute { // too little to come there in
		l.Time *= 4
		begin = time.Now()
		usage, e = detonate(t, l, program{Files: b.files, Steps: b.steps()})
	}
	took := time.Since(begin)
	t.Logf("%6d ms, %3d MiB: %v [%s]", took.Milliseconds(), usage.Peak>>20, e, e.Hint)
	if e.Limit == "" || b.limit != "" && e.Limit != b.limit {
		t.Errorf("got limit %q, want %q\n%s", e.Limit, b.limit, e.Detail)
	}
	if !strings.Contains(e.Msg, strings.TrimSuffix(e.Limit, "s")+" limit") {
		t.Errorf("the message does not name the limit: %s", e.Msg)
	}
	if !b.here(e) {
		t.Errorf("got position %v, want %s", e.Pos, b.at)
	}
	if !strings.Contains(e.Hint, b.raise) {
		t.Errorf("got hint %q, want %q in it", e.Hint, b.raise)
	}
	// Left alone a bomb goes on until its arithmetic is done, or for ever: this is
	// no measure of speed, but of whether the limit ended it.
	if want := l.Time + time.Minute; took > want {
		t.Errorf("took %v, want at most %v", took, want)
	}
	if usage.Peak > l.Memory+sandbox.Margin {
		t.Errorf("peak memory %d MiB, want at most %d MiB", usage.Peak>>20, (l.Memory+sandbox.Margin)>>20)
	}
}

// here reports whether e is where the bomb explodes.
func (b bomb) here(e *interp.Error) bool {
	at := b.at
	if !strings.Contains(at, ".star") {
		at = "instance.star:" + at
	}
	return strings.HasPrefix(e.Pos.String(), at)
}

// steps returns the step limit: out of the way, unless it is what is tested.
func (b bomb) steps() uint64 {
	if b.limit == "steps" {
		return 0
	}
	return 1 << 40
}

// unhurried is for runs in which another limit than that of time is met, or none,
// however slow the machine is.
var unhurried = sandbox.Limits{Time: 3 * time.Minute}

// detonate runs a program that must fail, in a child.
func detonate(t *testing.T, l sandbox.Limits, p program) (sandbox.Usage, *interp.Error) {
	t.Helper()
	request, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	usage, err := sandbox.Measure(t.Context(), l, "evaluate", request, ignore)
	var e *interp.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %T %v, want an *interp.Error", err, err)
	}
	return usage, e
}

func ignore(byte, []byte) ([]byte, error) { return nil, nil }

// Sources that nest, or are long, in every way that the grammar allows.
var deepSources = []struct {
	name   string
	repeat string
	end    string
}{
	{"list", "[", ""}, {"paren", "(", ""}, {"dict", "{1:", ""}, {"index", "a[", ""}, {"call", "f(", ""},
	{"closed list", "[", strings.Repeat("]", 100000)},
	{"not", "not ", "x"}, {"minus", "- ", "1"}, {"plus", "+", "1"}, {"tilde", "~", "1"},
	{"lambda", "lambda: ", "1"}, {"lambda default", "lambda x=", "1"}, {"if else", "1 if 1 else ", "1"},
	{"comprehension", "[x for x in ", "y"}, {"dict comprehension", "{x: 1 for x in ", "y"},
	{"add", "1 + ", "1"}, {"string add", "'a' + ", "1"}, {"and", "x and ", "x"}, {"or", "x or ", "x"}, {"pipe", "1 | ", "1"},
	{"multiply", "2*", "2"}, {"attribute", "x.", "x"}, {"percent", "'%s' % ", "1"},
	{"mixed", "[(", ""}, {"tuple", "(1,", ""}, {"keyword", "f(a=", ""}, {"star", "f(*", ""}, {"slice", "x[1:", ""},
}

func TestDeepSource(t *testing.T) {
	limits := sandbox.Limits{Memory: 256 << 20, Time: unhurried.Time}
	try := func(name, text string) {
		t.Run(name, func(t *testing.T) {
			_, e := detonate(t, limits, program{Files: map[string]string{"instance.star": text}})
			if e.Limit != "nesting" || !strings.Contains(e.Msg, "nesting limit") || !strings.Contains(e.Hint, "fixed") {
				t.Errorf("got limit %q: %v [%s]", e.Limit, e, e.Hint)
			}
			if e.Pos.File != "instance.star" || e.Pos.Line == 0 {
				t.Errorf("got position %v", e.Pos)
			}
		})
	}
	for _, d := range deepSources {
		try(d.name, "x = "+strings.Repeat(d.repeat, 100000)+d.end)
	}
	try("calls", "x = f"+strings.Repeat("()", 100000))
	try("indices", "x = f"+strings.Repeat("[0]", 100000))
	try("slices", "x = f"+strings.Repeat("[0:]", 100000))
	try("negated chain", "x = -a"+strings.Repeat(".b", 100000))
	try("elif", "if x: pass\n"+strings.Repeat("elif x: pass\n", 100000))
	try("default", "def f(a = "+strings.Repeat("(", 100000)+"): pass")
	try("target", strings.Repeat("(", 100000)+"a = 1")
	try("loop variables", "for "+strings.Repeat("(", 100000)+"a in x: pass")
	for _, block := range []string{"if x:", "for i in x:", "def f():"} {
		var text strings.Builder
		for i := range 3000 {
			text.WriteString(strings.Repeat(" ", i) + block + "\n")
		}
		text.WriteString(strings.Repeat(" ", 3000) + "pass\n")
		try(block, text.String())
	}
}

// Long sources that are not deep must not be refused as such, and very long
// ones must not kill anything either.
func TestLongSource(t *testing.T) {
	statements := program{Pattern: "if True: pass\n", Generate: 1 << 20}
	request, err := json.Marshal(statements)
	if err != nil {
		t.Fatal(err)
	}
	if err := sandbox.Run(t.Context(), unhurried, "evaluate", request, ignore); err != nil {
		t.Errorf("1 MiB of if statements: %v", err)
	}
	_, e := detonate(t, unhurried, program{Pattern: "x = 1\n", Generate: 100 << 20})
	if e.Limit != "source" || !strings.Contains(e.Hint, "--max-source") || e.Pos.File != "instance.star" {
		t.Errorf("100 MiB of source: %v [%s]", e, e.Hint)
	}
	if !sandbox.HardMemory {
		return
	}
	for _, pattern := range []string{"if True: pass\n", "f.a.b\n", "# comment\n", "'''", "\\\n"} {
		usage, err := measure(t, program{Pattern: pattern, Generate: 15 << 20})
		var e *interp.Error
		if errors.As(err, &e) && e.Pos.File != "instance.star" {
			t.Errorf("15 MiB of %q: no position: %v", pattern, err)
		}
		if usage.Peak > sandbox.DefaultMemory+sandbox.Margin {
			t.Errorf("15 MiB of %q: peak memory %d MiB", pattern, usage.Peak>>20)
		}
		t.Logf("15 MiB of %q: %d MiB, %v", pattern, usage.Peak>>20, err)
	}
}

func measure(t *testing.T, p program) (sandbox.Usage, error) {
	t.Helper()
	request, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return sandbox.Measure(t.Context(), unhurried, "evaluate", request, ignore)
}

// A program within its limits is not disturbed by them.
func TestWithinLimits(t *testing.T) {
	text := "l = []\nfor i in range(100000):\n    l.append('%d-%s' % (i, 'x' * 100))\nx = json.encode(l)\nsend(str(len(x)))"
	request, err := json.Marshal(program{Files: map[string]string{"instance.star": text}})
	if err != nil {
		t.Fatal(err)
	}
	var got string
	err = sandbox.Run(t.Context(), sandbox.Limits{Memory: 192 << 20, Time: unhurried.Time}, "evaluate", request, func(_ byte, data []byte) ([]byte, error) {
		got = string(data)
		return nil, nil
	})
	if err != nil || got != "10888891" {
		t.Errorf("got %q, %v", got, err)
	}
}

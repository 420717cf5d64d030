package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"instar/runtime/report"
	"instar/starlark/interp"
)

// captured returns a ui and what it prints.
func captured() (u *ui, out, errs *bytes.Buffer) {
	out, errs = &bytes.Buffer{}, &bytes.Buffer{}
	return &ui{stdout: out, stderr: errs, width: 20}, out, errs
}

func TestTableIgnoresColoursWhenItAligns(t *testing.T) {
	tab := table{header: []string{"NAME", "STATE", "NOTE"}}
	tab.add(cell{"a", green}, cell{"running", green}, cell{text: "two\nlines"})
	tab.add(cell{text: "日本語"}, cell{"x", red}, cell{})
	want := "NAME  STATE    NOTE\n" +
		"a     running  two\n" +
		"               lines\n" +
		"日本語   x\n"
	if got := tab.render(false); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	colored := tab.render(true)
	for _, code := range []string{bold, red, green, plain} {
		if !strings.Contains(colored, code) {
			t.Errorf("%q is missing", code)
		}
		colored = strings.ReplaceAll(colored, code, "")
	}
	if strings.ReplaceAll(colored, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("without its colours: %q", colored)
	}
}

func TestProgressIsReplacedByTheNextOutput(t *testing.T) {
	u, out, errs := captured()
	u.progress("nobody looks")
	if errs.Len() > 0 {
		t.Errorf("progress without a terminal: %q", errs)
	}
	u.live = true
	u.progress("one\ntwo")
	u.progress(strings.Repeat("x", 50))
	u.print("data\n")
	u.log("log\n")
	want := "one two" + "\r\x1b[K" + strings.Repeat("x", 18) + "…" + "\r\x1b[K" + "log\n"
	if errs.String() != want || out.String() != "data\n" {
		t.Errorf("got %q and %q, want %q", errs, out, want)
	}
}

func TestNothingShownMovesTheCursor(t *testing.T) {
	u, out, errs := captured()
	evil := "a\x1b[2Jb\rc\u202e\x9bd"
	u.change(report.Change{Op: "write", Path: evil, Why: evil, At: evil, Diff: "+" + evil + "\n"}, true)
	u.warn(evil)
	u.showError(errors.New(evil))
	u.showError(&profileError{&interp.Error{Msg: evil, Source: evil, Caret: -1, Pos: interp.Position{File: evil, Line: 1}}})
	u.promises([]report.Promise{{Name: evil, Message: evil}})
	u.published(map[string]any{evil: evil})
	for _, text := range []string{out.String(), errs.String()} {
		if strings.ContainsAny(text, "\x1b\r\u202e\u009b") {
			t.Errorf("got %q", text)
		}
	}
}

func TestErrorsAreMasked(t *testing.T) {
	u, out, errs := captured()
	u.learn([]string{"hunter2hunter2"})
	u.json = true
	err := &profileError{&interp.Error{Msg: "bad: hunter2hunter2", Hint: "not hunter2hunter2", Source: `x("hunter2hunter2")`, Caret: 2,
		Pos: interp.Position{File: "instance.star", Line: 3, Col: 2}}}
	u.failed(context.Background(), err)
	for _, text := range []string{out.String(), errs.String()} {
		if strings.Contains(text, "hunter2") || !strings.Contains(text, "********") {
			t.Errorf("got %q", text)
		}
	}
	if !strings.Contains(errs.String(), "error: instance.star:3:2: bad") || !strings.Contains(out.String(), `"at": "instance.star:3:2"`) {
		t.Errorf("got %s%s", out, errs)
	}
}

func TestEveryErrorOfAJoinedOneIsShown(t *testing.T) {
	u, _, errs := captured()
	u.showError(errors.Join(&interp.Error{Msg: "first", Caret: -1}, &interp.Error{Msg: "second", Caret: -1}))
	if got := errs.String(); got != "error: first\nerror: second\n" {
		t.Errorf("got %q", got)
	}
}

func TestMarks(t *testing.T) {
	for _, test := range []struct{ op, why, want string }{
		{"mkdir", missing, "+"}, {"write", missing, "+"}, {"write", "content differs", "~"}, {"link", "target differs", "~"},
		{"chmod", "mode is 0644", "~"}, {"remove", "", "-"}, {"unload", "", "-"}, {"run", "", ">"}, {"restart", "", "*"}, {"reload", "", "*"},
	} {
		if got, _ := mark(report.Change{Op: test.op, Why: test.why}); got != test.want {
			t.Errorf("%s (%s): got %s, want %s", test.op, test.why, got, test.want)
		}
	}
}

// What is said of services stands in columns, also of those that lack some of it.
func TestProcessesAreAligned(t *testing.T) {
	u, out, _ := captured()
	u.processes("services", []report.Service{
		{Name: "one", Status: "running", PID: 12, Message: "up"},
		{Name: "other", Status: "restarting", Restarts: 3, Message: "exit status 1"},
		{Name: "third", Status: "stopped", Message: "stopped"},
	})
	want := "services:\n" +
		"  one    running     pid 12              up\n" +
		"  other  restarting          3 restarts  exit status 1\n" +
		"  third  stopped\n"
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

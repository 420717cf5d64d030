//go:build unix

package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"instar/runtime/service"
)

// fake returns a backend whose systemctl is a script.
func fake(t *testing.T, script string) *systemd {
	t.Helper()
	dir := t.TempDir()
	m := &systemd{stateDir: dir + "/state", unitDir: dir + "/units", systemctl: dir + "/systemctl", version: func() int { return 252 }}
	if err := os.WriteFile(m.systemctl, []byte("#!/bin/sh\necho \"$@\" >>"+dir+"/calls\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return m
}

func calls(m *systemd) []string {
	data, _ := os.ReadFile(filepath.Join(filepath.Dir(m.systemctl), "calls"))
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// TestMuchIsComplainedOf: a systemctl that writes more than a pipe holds.
func TestMuchIsComplainedOf(t *testing.T) {
	m := fake(t, `i=0; while [ $i -lt 4000 ]; do echo "complaint $i ..............................................." >&2; i=$((i + 1)); done; exit 1`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	_, err := m.Observe(ctx, "web")
	if err == nil || !strings.Contains(err.Error(), "systemctl show: complaint 0") || len(err.Error()) > 20<<10 {
		t.Errorf("%.200v", err)
	}
}

func TestContextEndsIt(t *testing.T) {
	m := fake(t, "sleep 1000 & wait") // what it leaves holds its output
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := m.Observe(ctx, "web"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("it took %v", took)
	}
}

// TestOneCallPerKind: how many services there are does not matter.
func TestOneCallPerKind(t *testing.T) {
	m := fake(t, "")
	var changes []service.Change
	for i := range 50 {
		spec := sample()
		spec.Name = fmt.Sprint("s", i)
		spec.After = nil
		changes = append(changes, service.Change{Op: service.Start, Name: spec.Name, Spec: spec})
	}
	if err := m.Apply(t.Context(), "my-web", changes); err != nil && !strings.Contains(err.Error(), "systemd says its unit is") {
		t.Fatal(err)
	}
	var verbs []string
	for _, call := range calls(m) {
		verbs = append(verbs, strings.Fields(strings.TrimPrefix(call, "--no-pager --no-ask-password "))[0])
	}
	if got := strings.Join(verbs, " "); got != "show daemon-reload restart show" {
		t.Errorf("called: %s", got)
	}
	if n := len(strings.Fields(calls(m)[2])); n < 50 {
		t.Errorf("restart of %d words", n)
	}
}

func TestBatches(t *testing.T) {
	names := make([]string, 3)
	for i := range names {
		names[i] = strings.Repeat("x", maxArgs/2)
	}
	if got := batches(names); len(got) != 3 || len(got[0]) != 1 {
		t.Errorf("%d batches", len(got))
	}
	if got := batches(names[:0]); len(got) != 0 {
		t.Errorf("%d batches of nothing", len(got))
	}
	if got := batches([]string{"a", "b"}); len(got) != 1 || len(got[0]) != 2 {
		t.Errorf("%q", got)
	}
}

// TestApplyRefusesNonsense before it does anything.
func TestApplyRefusesNonsense(t *testing.T) {
	m := fake(t, "")
	other := sample()
	other.Instance = "other"
	bad := sample()
	bad.StopSignal = "NOPE"
	for want, changes := range map[string][]service.Change{
		"another change":     {{Op: service.Stop, Name: "a"}, {Op: service.Unload, Name: "a"}},
		"its definition is":  {{Op: service.Start, Name: other.Name, Spec: other}},
		"its definition is ": {{Op: service.Start, Name: "x", Spec: sample()}},
		"unknown signal":     {{Op: service.Stop, Name: "b"}, {Op: service.Start, Name: bad.Name, Spec: bad}},
	} {
		if err := m.Apply(t.Context(), "my-web", changes); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if got := calls(m); got[0] != "" {
		t.Errorf("called: %q", got)
	}
}

// A service runs since it was started; a reload, which changes its state for a
// moment, is no start.
func TestRunsSinceItWasStarted(t *testing.T) {
	f := &found{shown: map[string]string{"ActiveState": "active", "SubState": "running", "MainPID": "12",
		"ActiveEnterTimestamp": "Mon 2026-11-23 05:00:00 UTC", "StateChangeTimestamp": "Mon 2026-11-23 06:00:00 UTC"}}
	m := paper(t)
	if s := m.state("web", "a", f); s.Since.Hour() != 5 {
		t.Errorf("running since %s", s.Since)
	}
	f.shown["ActiveState"], f.shown["SubState"] = "failed", "failed"
	if s := m.state("web", "a", f); s.Since.Hour() != 6 {
		t.Errorf("failed since %s", s.Since)
	}
}

// TestEarlierFailure: what failed before a restart was asked for says nothing of
// that restart, although systemd counts it until it has begun.
func TestEarlierFailure(t *testing.T) {
	m := &systemd{stateDir: t.TempDir()}
	b := &batch{systemd: m, instance: "web"}
	if err := os.MkdirAll(m.recordDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	record := m.record("web", "a")
	if err := os.WriteFile(record, []byte("S d r 1\nE exited 200 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	earlier := b.ends([]string{"a"})["a"]
	s := shown{"NRestarts": "2"}
	if earlier == "" || b.triesAgain("a", s, earlier) {
		t.Errorf("the end %q is told", earlier)
	}
	if !b.triesAgain("a", s, "") {
		t.Error("the first end is not told")
	}
	later := time.Now().Add(time.Second) // the same end, once more
	if err := os.Chtimes(record, later, later); err != nil {
		t.Fatal(err)
	}
	if !b.triesAgain("a", s, earlier) {
		t.Error("another end is not told")
	}
	if b.triesAgain("a", shown{"NRestarts": "0"}, earlier) {
		t.Error("one that is not tried again")
	}
	if err := os.WriteFile(record, []byte("S d r 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b.triesAgain("a", s, earlier) {
		t.Error("one that has begun again")
	}
}

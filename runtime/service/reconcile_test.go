package service

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"instar/runtime/plan"
	"pgregory.net/rapid"
)

// spec returns a service with digest "d", after others.
func spec(name string, after ...string) Spec {
	return Spec{Name: name, Restart: "always", Digest: "d", ReloadDigest: "r", ReloadSig: "HUP", After: after,
		Inputs: map[string]string{"etc/a": "1", "etc/b": "1"}, ReloadInputs: map[string]string{"etc/r": "1"},
		At: plan.Pos{File: "instance.star", Line: 7}}
}

// running returns the state of a service that was started from s.
func running(s Spec) State { return Change{Op: Start, Name: s.Name, Spec: s}.outcome(State{}) }

// show renders changes as "op name: why", one per line.
func show(changes []Change) string {
	var lines []string
	for _, c := range changes {
		lines = append(lines, fmt.Sprintf("%s %s: %s", c.Op, c.Name, c.Why))
	}
	return strings.Join(lines, "\n")
}

func TestReconcileOne(t *testing.T) {
	s := spec("a")
	run := s
	run.Run = true
	timer := run
	timer.Schedule = "0 0 * * *"
	noReload := s
	noReload.ReloadSig = ""
	with := func(s Spec, change func(*State)) State {
		state := running(s)
		change(&state)
		return state
	}
	for _, c := range []struct {
		name string
		want Spec
		have State
		out  string
	}{
		{"runs", s, running(s), ""},
		{"stopped", s, with(s, func(h *State) { h.Status = Stopped }), "start a: not running"},
		{"ended by itself", s, with(s, func(h *State) { h.Status, h.Ended = Stopped, true }), ""},
		{"ended badly for good", s, with(s, func(h *State) { h.Status, h.Ended = Failed, true }), ""},
		{"ended, new digest", s, with(s, func(h *State) { h.Status, h.Ended, h.Digest = Stopped, true, "o" }), "start a: definition changed"},
		{"crash loop", s, with(s, func(h *State) { h.Status = Restarting }), ""},
		{"crash loop, new digest", s, with(s, func(h *State) { h.Status, h.Digest = Restarting, "o" }), "restart a: definition changed"},
		{"waiting", s, with(s, func(h *State) { h.Status = Waiting }), ""},
		{"failed", s, with(s, func(h *State) { h.Status, h.Message = Failed, "no such file" }), "start a: failed: no such file"},
		{"done", run, running(run), ""},
		{"done, new digest", run, with(run, func(h *State) { h.Digest = "o" }), "start a: definition changed"},
		{"run fails", run, with(run, func(h *State) { h.Status = Restarting }), ""},
		{"service became run", run, running(s), "restart a: definition changed"},
		{"unknown digest", s, with(s, func(h *State) { h.Digest = "" }), "restart a: not known what it was started with"},
		{"an input changed", s, with(s, func(h *State) { h.Digest, h.Inputs = "o", map[string]string{"etc/a": "1", "etc/b": "2"} }), "restart a: etc/b changed"},
		{"inputs came and went", s, with(s, func(h *State) { h.Digest, h.Inputs = "o", map[string]string{"etc/a": "1", "etc/c": "2"} }), "restart a: etc/b, etc/c changed"},
		{"both digests", s, with(s, func(h *State) { h.Digest, h.ReloadDigest = "o", "o" }), "restart a: definition changed"},
		{"reload", s, with(s, func(h *State) { h.ReloadDigest, h.ReloadInputs = "o", map[string]string{"etc/r": "2"} }), "reload a: etc/r changed"},
		{"reload while down", s, with(s, func(h *State) { h.ReloadDigest, h.Status = "o", Restarting }), "update a: files it reloads changed"},
		{"no way to reload", noReload, with(noReload, func(h *State) { h.ReloadDigest = "o" }), "update a: files it reloads changed"},
		{"timer, new", timer, State{Name: "a", Status: Stopped}, "start a: not armed"},
		{"timer, armed", timer, running(timer), ""},
		{"timer, failed", timer, with(timer, func(h *State) { h.Status, h.Message = Failed, "exit status 1" }), ""},
		{"timer, started", timer, with(timer, func(h *State) { h.Status = Running }), ""},
		{"timer, another schedule", timer, with(timer, func(h *State) { h.Schedule, h.Digest = "1 1 1 1 1", "o" }),
			"reload a: schedule was 1 1 1 1 1, is 0 0 * * *"},
		{"timer, another program", timer, with(timer, func(h *State) { h.Status, h.Digest = Running, "o" }), "reload a: definition changed"},
		{"timer, definition", timer, with(timer, func(h *State) { h.Definition = "o" }), "update a: definition changed"},
		{"run became timer", timer, running(run), "start a: definition changed"},
		{"timer became run", run, running(timer), "restart a: definition changed"},
		{"service became timer", timer, running(s), "restart a: definition changed"},
		{"definition", s, with(s, func(h *State) { h.Definition = "o" }), "update a: definition changed"},
		{"definition not known", s, with(s, func(h *State) { h.Definition = "" }), ""},
	} {
		got := Reconcile([]Spec{c.want}, map[string]State{"a": c.have}, true)
		if diff := cmp.Diff(c.out, show(got)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		for _, change := range got {
			if change.At != c.want.At {
				t.Errorf("%s: at %v", c.name, change.At)
			}
		}
	}
}

func TestReconcileOrder(t *testing.T) {
	want := []Spec{spec("web", "app"), spec("app", "db", "cache"), spec("cache"), spec("db")}
	if got := show(Reconcile(want, nil, true)); got != "start db: not running\nstart cache: not running\nstart app: not running\nstart web: not running" {
		t.Errorf("start:\n%s", got)
	}
	have := map[string]State{}
	for _, s := range want {
		have[s.Name] = running(s)
	}
	if got := show(Reconcile(want, have, false)); got != `stop web: the instance is stopped
stop app: the instance is stopped
stop cache: the instance is stopped
stop db: the instance is stopped` {
		t.Errorf("stop:\n%s", got)
	}
	ended, done := running(spec("ended")), running(spec("done"))
	ended.Status, ended.Ended, done.Status = Stopped, true, Done
	if got := show(Reconcile([]Spec{spec("ended"), spec("done")}, map[string]State{"ended": ended, "done": done}, false)); got !=
		"stop ended: the instance is stopped\nstop done: the instance is stopped" {
		t.Errorf("so that a later start begins anew:\n%s", got)
	}
	changed := spec("db")
	changed.Digest = "new"
	if got := show(Reconcile([]Spec{spec("new", "db"), changed}, have, true)); got != `unload web: no longer declared
unload app: no longer declared
unload cache: no longer declared
restart db: definition changed
start new: not running` {
		t.Errorf("mixed:\n%s", got)
	}
}

func TestValidate(t *testing.T) {
	at := func(s Spec, line int32) Spec {
		s.At.Line = line
		return s
	}
	if err := Validate([]Spec{spec("a", "b"), spec("b"), spec("c", "a", "b")}); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		specs []Spec
		want  string
	}{
		{[]Spec{at(spec("a", "x"), 3)}, `instance.star:3: "a" is after "x", which is not declared`},
		{[]Spec{at(spec("a"), 3), at(spec("a"), 4)}, `instance.star:4: "a" is declared already (instance.star:3)`},
		{[]Spec{at(spec("a", "a"), 3)}, `instance.star:3: started after each other for ever: "a" (instance.star:3) after "a" (instance.star:3)`},
		{[]Spec{at(spec("z", "a"), 1), at(spec("a", "b"), 3), at(spec("b", "a"), 4)},
			`instance.star:3: started after each other for ever: "a" (instance.star:3) after "b" (instance.star:4) after "a" (instance.star:3)`},
	} {
		if err := Validate(c.specs); err == nil || err.Error() != c.want {
			t.Errorf("got %v\nwant %s", err, c.want)
		}
	}
}

// TestReconcileConverges: whatever is wanted and whatever there is, what
// Reconcile asks for, once done, leaves nothing to do; and nothing is touched
// that was as wanted.
func TestReconcileConverges(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	digest := rapid.SampledFrom([]string{"1", "2"})
	rapid.Check(t, func(t *rapid.T) {
		var want []Spec
		for i, n := range names {
			if !rapid.Bool().Draw(t, "declared") {
				continue
			}
			s := Spec{Name: n, Run: rapid.Bool().Draw(t, "run"), Digest: digest.Draw(t, "d"), ReloadDigest: digest.Draw(t, "r"),
				ReloadSig: rapid.SampledFrom([]string{"", "HUP"}).Draw(t, "sig"), StopTimeout: time.Second}
			for _, earlier := range names[:i] {
				if rapid.Bool().Draw(t, "after") {
					s.After = append(s.After, earlier)
				}
			}
			want = append(want, s)
		}
		want = rapid.Permutation(want).Draw(t, "order")
		have := map[string]State{}
		for _, n := range names {
			if rapid.Bool().Draw(t, "present") {
				have[n] = State{Name: n, Run: rapid.Bool().Draw(t, "run"), Digest: rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "d"),
					ReloadDigest: digest.Draw(t, "r"), Ended: rapid.Bool().Draw(t, "ended"),
					Status: rapid.SampledFrom([]Status{Running, Stopped, Failed, Restarting, Waiting, Done}).Draw(t, "status")}
			}
		}
		isRunning := rapid.Bool().Draw(t, "running")
		changes := Reconcile(want, have, isRunning)
		recorder := &Recorder{}
		recorder.Set("i", have)
		if err := recorder.Apply(t.Context(), "i", changes); err != nil {
			t.Fatal(err)
		}
		after, err := recorder.Observe(t.Context(), "i")
		if err != nil {
			t.Fatal(err)
		}
		if again := Reconcile(want, after, isRunning); len(again) > 0 {
			t.Fatalf("not idempotent:\n%s\nthen\n%s", show(changes), show(again))
		}
		place := map[string]int{}
		for i, c := range changes {
			if _, twice := place[c.Name]; twice {
				t.Fatalf("%s changes twice:\n%s", c.Name, show(changes))
			}
			place[c.Name] = i
			if c.Op == Stop || c.Op == Unload {
				continue
			}
			for _, before := range c.Spec.After {
				if j := slices.IndexFunc(changes, func(o Change) bool { return o.Name == before && o.Op != Unload }); j > i {
					t.Fatalf("%s before %s:\n%s", c.Name, before, show(changes))
				}
			}
		}
	})
}

func TestRecorderStartsFromTheRealOne(t *testing.T) {
	real := &Recorder{}
	real.Set("i", map[string]State{"a": running(spec("a"))})
	recorder := &Recorder{Real: real}
	if err := recorder.Apply(t.Context(), "i", []Change{{Op: Start, Name: "b", Spec: spec("b")}, {Op: Stop, Name: "a"}}); err != nil {
		t.Fatal(err)
	}
	got, err := recorder.Observe(t.Context(), "i")
	if err != nil || got["a"].Status != Stopped || got["b"].Status != Running {
		t.Errorf("%v, %+v", err, got)
	}
	if untouched, _ := real.Observe(t.Context(), "i"); len(untouched) != 1 || untouched["a"].Status != Running {
		t.Errorf("the real one was changed: %+v", untouched)
	}
	if n := len(recorder.Changes("i")); n != 2 {
		t.Errorf("%d changes recorded", n)
	}
}

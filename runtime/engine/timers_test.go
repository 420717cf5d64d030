package engine

import (
	"context"
	"slices"
	"strings"
	"testing"

	"instar/runtime/plan"
	"instar/runtime/service"
	"instar/runtime/state"
)

// cron returns a timer that mentions things.
func cron(name, schedule string, mentions ...string) plan.Timer {
	return plan.Timer{Name: name, Schedule: schedule, Script: "etc/cron/" + name,
		Exec: plan.Exec{Argv: append([]string{"/bin/" + name}, mentions...), Dir: testRoot}, At: plan.Pos{File: "instance.star", Line: 1}}
}

func rotation(name string, r plan.Rotation) plan.Timer {
	return plan.Timer{Name: name, Schedule: "0 0 * * *", Rotation: &r, Exec: plan.Exec{Dir: testRoot}}
}

// timers applies a plan with these timers, and parts.
func (w *world) timers(timers []plan.Timer, parts ...any) ([]string, *Engine) {
	w.t.Helper()
	w.profile = func(plan.View) *plan.Plan {
		p := planOf(parts...)
		p.Timers = timers
		return p
	}
	e := w.engine()
	e.Program = "/usr/bin/instar"
	rep, err := e.Converge(context.Background())
	if err != nil {
		w.t.Fatalf("apply: %v", err)
	}
	if s := rep.Summary; s.Failed > 0 || s.OK+s.Changed+s.Removed+s.Restarted < len(timers) {
		w.t.Errorf("summary: %+v", s)
	}
	return changes(rep), e
}

func TestTimersAreArmed(t *testing.T) {
	w := newWorld(t)
	do := func(want []string, timers []plan.Timer, parts ...any) {
		t.Helper()
		got, _ := w.timers(timers, parts...)
		expect(t, got, want...)
	}
	one := []plan.Timer{cron("dump", "0 3 * * *", testRoot+"/etc/a"), cron("clean", "0 * * * *")}
	do([]string{"mkdir etc", "write etc/a", "start dump", "start clean"}, one, dir("etc"), file("etc/a", "one"))
	do(nil, one, dir("etc"), file("etc/a", "one"))
	// It is read at the next start: nothing has to happen.
	do([]string{"write etc/a"}, one, dir("etc"), file("etc/a", "two"))
	two := slices.Clone(one)
	two[1].Schedule = "30 * * * *"
	do([]string{"reload clean"}, two, dir("etc"), file("etc/a", "two"))
	do(nil, two, dir("etc"), file("etc/a", "two"))
	// Another command is another script, and no news to the timer.
	two[1].Exec.Argv = []string{"/bin/other"}
	do(nil, two, dir("etc"), file("etc/a", "two"))
	two[1].OwnUser = true
	do([]string{"reload clean"}, two, dir("etc"), file("etc/a", "two"))
	do([]string{"unload clean"}, two[:1], dir("etc"), file("etc/a", "two"))
	st, err := w.store.Load()
	if err != nil {
		t.Fatal(err)
	}
	if s := st.Services; len(s) != 1 || s["dump"].Schedule != "0 3 * * *" || !s["dump"].Run {
		t.Errorf("remembered: %+v", s)
	}
	w.requested = state.Stopped
	do([]string{"stop dump"}, two[:1], dir("etc"), file("etc/a", "two"))
	w.requested = state.Started
	do([]string{"start dump"}, two[:1], dir("etc"), file("etc/a", "two"))
}

// What is executed, and as whom.
func TestTimerSpecs(t *testing.T) {
	w := newWorld(t)
	own := cron("dump", "0 3 * * *")
	other := cron("other", "0 3 * * *", "x")
	other.OwnUser, other.Exec.Env, other.Exec.Identity.UID = true, []string{"A=b"}, 33
	logs := rotation("logs", plan.Rotation{Files: []string{"log/*"}, Keep: 3, Service: "web", Signal: "HUP"})
	told := rotation("told", plan.Rotation{Files: []string{"x"}, Keep: 1, Then: []string{"/bin/t"}})
	_, e := w.timers([]plan.Timer{own, other, logs, told})
	want := []string{
		testRoot + "/etc/cron/dump | | false",
		"/bin/other x | A=b | false",
		`/usr/bin/instar supervise --rotate {"files":["log/*"],"keep":3} | | web HUP`,
		`/usr/bin/instar supervise --rotate {"files":["x"],"keep":1,"then":["/bin/t"]} | | false`,
	}
	for i, spec := range e.Specs {
		env := ""
		if slices.Contains(spec.Env, "A=b") {
			env = "A=b "
		}
		then := "false"
		if spec.ThenSignal != "" {
			then = spec.ThenService + " " + spec.ThenSignal
		}
		got := strings.Join(spec.Argv, " ") + " | " + env + "| " + then
		if i >= len(want) || got != want[i] {
			t.Errorf("got %q, want %q", got, want[min(i, len(want)-1)])
		}
		if !spec.Run || !spec.Timer() || spec.Dir != testRoot || spec.Restart != "no" || spec.Digest == "" || spec.Identity.UID != []int{0, 33, 0, 0}[i] {
			t.Errorf("%+v", spec)
		}
	}
	if err := service.Validate(e.Specs); err != nil {
		t.Error(err)
	}
}

// A name is shared with what stands in the folders of drop-ins.
func TestTimersShareNames(t *testing.T) {
	w := newWorld(t)
	w.put("etc/run/dump", "#!/bin/sh\n")
	if err := w.overlay.Chmod("etc/run/dump", 0o750); err != nil {
		t.Fatal(err)
	}
	w.profile = func(plan.View) *plan.Plan {
		p := planOf()
		p.Timers = []plan.Timer{cron("dump", "0 3 * * *")}
		return p
	}
	if _, err := w.apply(); err == nil || !strings.Contains(err.Error(), `"dump" is also`) {
		t.Errorf("got %v", err)
	}
}

// Rotation needs instar itself.
func TestRotationNeedsAProgram(t *testing.T) {
	w := newWorld(t)
	w.profile = func(plan.View) *plan.Plan {
		p := planOf()
		p.Timers = []plan.Timer{rotation("logs", plan.Rotation{Files: []string{"x"}, Keep: 1})}
		return p
	}
	if _, err := w.apply(); err == nil || !strings.Contains(err.Error(), `timer "logs": it is not known where instar is`) {
		t.Errorf("got %v", err)
	}
}

//go:build linux

package native

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"instar/runtime/service"
)

// cron returns a timer that runs a shell script.
func (h *host) cron(name, schedule, script string) service.Spec {
	s := h.sh(name, script)
	s.Run, s.Restart, s.Schedule = true, "no", schedule
	s.Digest = hashOf(schedule + script)
	return s
}

// fire does what the timer does when its time has come.
func (h *host) fire(name string) {
	h.Helper()
	h.must("systemctl", "start", "--no-block", h.unit(name))
}

// ran waits for the n-th line of a file, and for the end of a timer's program.
func (h *host) ran(name, file string, n int) service.State {
	h.Helper()
	var s service.State
	h.within(20*time.Second, fmt.Sprintf("run %d of %s", n, name), func() bool {
		s = h.states()[name]
		return len(h.lines(file)) == n && s.Status != service.Running
	})
	return s
}

func (h *host) timerProperty(name, property string) string {
	h.Helper()
	return h.must("systemctl", "show", "--value", "-p", property, "--", timerName(h.unit(name)))
}

// nightly is a schedule that is not due while these tests run.
func nightly() string { return fmt.Sprintf("7 %d * * *", (time.Now().Hour()+12)%24) }

func TestHostTimer(t *testing.T) {
	h := newHost(t)
	a := h.cron("a@b", nightly(), `echo x >>fired; test ! -e bad || exit 3`)
	other := h.sh("service", forever)
	h.expect(h.reconcile(a, other), "start a@b (not armed), start service (not running)")
	h.settled(a, other)
	s := h.state("a@b")
	if s.Status != service.Waiting || s.Schedule != a.Schedule || !s.Last.IsZero() || s.Next.Hour() != (time.Now().UTC().Hour()+12)%24 && time.Local == time.UTC ||
		s.Next.Minute() != 7 || time.Until(s.Next) > 24*time.Hour || time.Until(s.Next) < time.Hour {
		t.Errorf("armed: %+v", s)
	}
	if list := h.must("systemctl", "list-timers", "--all"); !strings.Contains(list, timerName(h.unit("a@b"))) {
		t.Errorf("systemd's timers: %s", list)
	}
	for _, unit := range []string{h.unit("a@b"), timerName(h.unit("a@b"))} {
		if out, err := h.command("systemd-analyze", "verify", "--man=no", h.systemd.unitPath(unit)); err != nil || out != "" {
			t.Errorf("systemd-analyze: %v\n%s", err, out)
		}
	}
	pid := h.pid("service")
	h.fire("a@b")
	if s = h.ran("a@b", "fired", 1); s.Status != service.Waiting || time.Since(s.Last) > time.Minute || s.Message != "" {
		t.Errorf("after its time: %+v", s)
	}
	h.write("bad", "")
	h.fire("a@b")
	if s = h.ran("a@b", "fired", 2); s.Status != service.Failed || s.ExitCode != 3 || s.Message != "exit status 3" || s.Next.IsZero() {
		t.Errorf("after a failure: %+v", s)
	}
	h.settled(a, other) // it waits for its next time
	if h.exists(h.marker("a@b")) {
		t.Error("a marker: it would bang")
	}
	os.Remove(filepath.Join(h.dir, "bad"))
	h.fire("a@b")
	if s = h.ran("a@b", "fired", 3); s.Status != service.Waiting {
		t.Errorf("after a success: %+v", s)
	}
	// Another path, another instance: nothing was restarted by any of this.
	if h.pid("service") != pid {
		t.Error("a service was disturbed")
	}
	h.expect(service.Reconcile([]service.Spec{a, other}, h.states(), false), "stop service (the instance is stopped), stop a@b (the instance is stopped)")
	if err := h.Apply(t.Context(), h.instance, []service.Change{{Op: service.Stop, Name: "a@b"}}); err != nil {
		t.Fatal(err)
	}
	if s := h.state("a@b"); s.Status != service.Stopped || !s.Next.IsZero() {
		t.Errorf("stopped: %+v", s)
	}
	if got := h.timerProperty("a@b", "UnitFileState"); got != "disabled" {
		t.Errorf("stopped, it is %s", got)
	}
	h.expect(h.reconcile(a, other), "start a@b (not armed)")
	h.settled(a, other)
	h.expect(h.reconcile(other), "unload a@b (no longer declared)")
	if left := h.must("sh", "-c", "ls /etc/systemd/system /etc/systemd/system/*.wants"); strings.Contains(left, strings.TrimSuffix(h.unit("a@b"), ".service")) {
		t.Errorf("left behind:\n%s", left)
	}
	if left := h.must("systemctl", "list-units", "--all", "--plain", "--no-legend", unitPrefix(h.instance)+"*"); strings.Contains(left, ".timer") {
		t.Errorf("still loaded:\n%s", left)
	}
}

// TestHostTimerChanges: whatever changes, what was started goes on, and the next
// start is by what is declared then.
func TestHostTimerChanges(t *testing.T) {
	h := newHost(t)
	script := `echo %s >>fired; until test -e go; do sleep 0.05; done; echo end >>ends`
	a := h.cron("a", nightly(), fmt.Sprintf(script, "one"))
	h.reconcile(a)
	h.fire("a")
	h.within(5*time.Second, "start", func() bool { return len(h.lines("fired")) == 1 })
	pid := h.pid("a")
	undisturbed := func(what string) {
		t.Helper()
		if got := h.pid("a"); got != pid {
			t.Errorf("%s: process %d instead of %d", what, got, pid)
		}
		h.settled(a)
	}
	undisturbed("nothing")
	armed := h.timerProperty("a", "InactiveExitTimestampMonotonic")
	a = h.cron("a", a.Schedule, fmt.Sprintf(script, "two"))
	h.expect(h.reconcile(a), "reload a (definition changed)")
	undisturbed("another program")
	if h.timerProperty("a", "InactiveExitTimestampMonotonic") != armed {
		t.Error("the timer began anew for another program")
	}
	next := h.state("a").Next
	a = h.cron("a", "11 11 11 11 *", fmt.Sprintf(script, "two"))
	h.expect(h.reconcile(a), "reload a (schedule was "+nightly()+", is 11 11 11 11 *)")
	undisturbed("another schedule")
	if s := h.state("a"); s.Next.Equal(next) || s.Next.Month() != 11 {
		t.Errorf("next %v", s.Next)
	}
	a.StopTimeout /= 2
	h.expect(h.reconcile(a), "update a (definition changed)")
	undisturbed("a definition")
	h.write("go", "")
	h.ran("a", "ends", 1)
	h.fire("a")
	h.ran("a", "ends", 2)
	if got := strings.Join(h.lines("fired"), " "); got != "one two" {
		t.Errorf("fired: %s", got)
	}
	// Stopped with the instance, also while it runs.
	os.Remove(filepath.Join(h.dir, "go"))
	h.fire("a")
	h.within(5*time.Second, "start", func() bool { return len(h.lines("fired")) == 3 })
	if err := h.Apply(t.Context(), h.instance, []service.Change{{Op: service.Stop, Name: "a"}}); err != nil {
		t.Fatal(err)
	}
	if s := h.state("a"); s.Status != service.Stopped || s.PID != 0 || h.timerProperty("a", "ActiveState") != "inactive" {
		t.Errorf("stopped: %+v", s)
	}
	if h.must("systemctl", "show", "--value", "-p", "ActiveState", h.unit("a")) != "inactive" {
		t.Error("its end counts as a failure")
	}
	// Stopped by the administrator, it ends as quickly as it can.
	h.reconcile(a)
	h.fire("a")
	h.within(5*time.Second, "start", func() bool { return len(h.lines("fired")) == 4 })
	h.must("systemctl", "stop", h.unit("a"))
	if got := h.property("a", "Result"); got != "signal" || h.timerProperty("a", "ActiveState") != "active" {
		t.Errorf("its end: %s", got)
	}
	h.reconcile(a)
	h.settled(a)
	// What kind of program it is may change as well.
	h.reconcile(a)
	h.fire("a")
	h.within(5*time.Second, "start", func() bool { return len(h.lines("fired")) == 5 })
	plain := h.sh("a", forever)
	plain.Digest = "plain"
	h.expect(h.reconcile(plain), "restart a (definition changed)")
	h.settled(plain)
	pid = h.pid("a")
	if h.exists(h.systemd.unitPath(timerName(h.unit("a")))) || h.exists(h.systemd.wantsPath(timerName(h.unit("a")))) || !h.exists(h.systemd.wantsPath(h.unit("a"))) {
		t.Error("the timer is still there")
	}
	h.expect(h.reconcile(a), "restart a (definition changed)")
	h.settled(a)
	if s := h.state("a"); s.Status != service.Waiting || s.PID != 0 || h.exists(h.systemd.wantsPath(h.unit("a"))) {
		t.Errorf("as a timer: %+v", s)
	}
}

func TestHostTimerDrift(t *testing.T) {
	h := newHost(t)
	a := h.cron("a", nightly(), "true")
	h.reconcile(a)
	unit, timer := h.systemd.unitPath(h.unit("a")), h.systemd.unitPath(timerName(h.unit("a")))
	before := h.read(unit) + h.read(timer)
	for _, drift := range []struct {
		name string
		do   func()
		want string
	}{
		{"timer edited", func() {
			h.must("sed", "-i", "s/^OnCalendar=.*/OnCalendar=*-*-* *:*:00/", timer)
			h.must("systemctl", "daemon-reload")
		}, "update a (definition changed)"},
		{"service edited", func() { h.must("sed", "-i", "s/^Type=.*/Type=simple/", unit) }, "reload a (definition changed)"},
		{"timer removed", func() { os.Remove(timer); h.must("systemctl", "daemon-reload") }, "start a (not armed)"},
		{"service removed", func() { os.Remove(unit) }, "reload a (definition changed)"},
		{"both removed", func() { os.Remove(unit); os.Remove(timer); h.must("systemctl", "daemon-reload") }, "start a (not armed)"},
		{"disabled", func() { h.must("systemctl", "disable", timerName(h.unit("a"))) }, "update a (definition changed)"},
		{"stopped", func() { h.must("systemctl", "stop", timerName(h.unit("a"))) }, "start a (not armed)"},
		{"service enabled", func() { os.Symlink(unit, h.systemd.wantsPath(h.unit("a"))) }, "update a (definition changed)"},
		{"half written", func() { os.WriteFile(timer, []byte(mark[:9]), 0o640) }, "update a (definition changed)"},
	} {
		drift.do()
		if got := show(h.reconcile(a)); !strings.HasPrefix(got, drift.want) {
			t.Errorf("%s: %q, want %q", drift.name, got, drift.want)
		}
		h.settled(a)
		if s := h.state("a"); s.Status != service.Waiting || s.Next.Minute() != 7 {
			t.Errorf("%s: %+v", drift.name, s)
		}
		if h.read(unit)+h.read(timer) != before {
			t.Errorf("%s: not as it was", drift.name)
		}
	}
	os.WriteFile(timer, []byte("[Timer]\nOnCalendar=daily\n"), 0o644)
	if err := h.Apply(t.Context(), h.instance, []service.Change{{Op: service.Start, Name: "a", Spec: a}}); err == nil || !strings.Contains(err.Error(), "is not instar's") {
		t.Errorf("a foreign timer: %v", err)
	}
	os.Remove(timer)
}

// TestHostTimerTells: the main process of the service gets the signal, and nobody
// else; however the timer's program ends.
func TestHostTimerTells(t *testing.T) {
	h := newHost(t)
	web := h.sh("web", `(trap 'echo child >>told' USR1; echo x >>ready; while :; do sleep 0.02; done) & trap 'echo main >>told' USR1; echo x >>ready; while :; do sleep 0.02; done`)
	logs := h.cron("logs", nightly(), "echo x >>fired; test ! -e bad")
	logs.ThenService, logs.ThenSignal = "web", "USR1"
	h.reconcile(web, logs)
	h.within(5*time.Second, "readiness", func() bool { return len(h.lines("ready")) == 2 })
	pid := h.pid("web")
	for i, before := range []string{"", "bad"} {
		if before != "" {
			h.write(before, "")
		}
		h.fire("logs")
		h.ran("logs", "fired", i+1)
		h.within(5*time.Second, "signal", func() bool { return len(h.lines("told")) == i+1 })
	}
	if got := strings.Join(h.lines("told"), " "); got != "main main" || h.pid("web") != pid {
		t.Errorf("told: %s", got)
	}
	os.Remove(filepath.Join(h.dir, "bad"))
	if err := h.Apply(t.Context(), h.instance, []service.Change{{Op: service.Stop, Name: "web"}}); err != nil {
		t.Fatal(err)
	}
	h.fire("logs")
	if s := h.ran("logs", "fired", 3); s.Status != service.Waiting {
		t.Errorf("nobody to be told: %+v", s)
	}
	if journal := h.must("journalctl", "--no-pager", "-u", h.unit("logs")); strings.Contains(journal, "Failed to kill") {
		t.Errorf("it complains: %s", journal)
	}
}

//go:build linux

package supervise

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"instar/runtime/service"
)

// midnight is a local one.
var midnight = time.Date(2026, 3, 2, 0, 0, 0, 0, time.Local)

// newTimers returns a bench whose clock stands at five to midnight.
func newTimers(t *testing.T) *bench {
	b := newFake(t)
	b.clock.now = midnight.Add(-5 * time.Minute)
	return b
}

// cron returns a timer that runs a shell script.
func (b *bench) cron(name, schedule, script string) service.Spec {
	s := b.run(name, script)
	s.Schedule, s.Restart = schedule, "no"
	s.Digest += schedule
	return s
}

// pass passes time, as it passes: a minute at a time, and waits until the timers
// have looked.
func (b *bench) pass(d time.Duration) {
	b.Helper()
	for ; d > 0; d -= time.Minute {
		b.jump(min(d, time.Minute))
	}
}

// jump passes time at once, and waits until the timers that are due have looked.
func (b *bench) jump(d time.Duration) {
	b.Helper()
	b.clock.mu.Lock()
	waiting := len(b.clock.set)
	due := 0
	for t := range b.clock.timers {
		if !t.at.After(b.clock.now.Add(d)) {
			due++
		}
	}
	b.clock.mu.Unlock()
	b.clock.advance(d)
	waitFor(b, "timers to look", func() bool {
		b.clock.mu.Lock()
		defer b.clock.mu.Unlock()
		return len(b.clock.set) >= waiting+due
	})
}

// set sets the clock, by which no time passes, and lets all timers look at it.
func (b *bench) set(d time.Duration) {
	b.Helper()
	b.clock.mu.Lock()
	b.clock.now = b.clock.now.Add(d)
	for t := range b.clock.timers {
		t.at = t.at.Add(d)
	}
	b.clock.mu.Unlock()
	b.look()
}

// look passes a minute, within which every timer looks at the clock.
func (b *bench) look() { b.Helper(); b.jump(time.Minute) }

// ran waits until the job has been run n times and has ended.
func (b *bench) ran(name string, n int) service.State {
	b.Helper()
	waitFor(b, fmt.Sprintf("%s to have run %d times", name, n), func() bool {
		return strings.Count(b.seen.of(name), "running") >= n && b.state(name).PID == 0
	})
	if got := strings.Count(b.read(name+".ran"), "\n"); got != n {
		b.Fatalf("%s ran %d times, want %d", name, got, n)
	}
	return b.state(name)
}

func TestTimer(t *testing.T) {
	b := newTimers(t)
	dump := b.cron("dump", "0 * * * *", "echo dumping; echo >>dump.ran")
	b.reconcile(dump)
	if s := b.state("dump"); s.Status != service.Waiting || !s.Next.Equal(midnight) || !s.Last.IsZero() || s.Schedule != "0 * * * *" {
		t.Fatalf("armed: %+v", s)
	}
	b.pass(4*time.Minute + 59*time.Second)
	b.ran("dump", 0)
	b.jump(time.Second)
	s := b.ran("dump", 1)
	if s.Status != service.Waiting || !s.Last.Equal(midnight) || !s.Next.Equal(midnight.Add(time.Hour)) || s.Message != "" || s.Restarts != 0 {
		t.Errorf("after the first run: %+v", s)
	}
	if !strings.Contains(b.log("dump"), "dumping") {
		t.Errorf("log: %q", b.log("dump"))
	}
	if changes := b.reconcile(dump); len(changes) > 0 {
		t.Errorf("reconciled again: %+v", changes)
	}
	b.pass(59 * time.Minute)
	b.ran("dump", 1)
	b.pass(time.Minute)
	b.ran("dump", 2)
	if got := b.seen.of("dump"); got != "waiting running waiting running waiting" {
		t.Errorf("states: %s", got)
	}
}

// A failure is shown, and tried again only at the next time. It is nobody's exit.
func TestTimerFails(t *testing.T) {
	b := newTimers(t)
	exits, err := b.Exits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	job := b.cron("job", "0 * * * *", "echo >>job.ran; exit 3")
	missing := b.cron("missing", "0 * * * *", "")
	missing.Argv = []string{"/nowhere/program"}
	b.reconcile(job, missing)
	b.pass(5 * time.Minute)
	b.ran("job", 1)
	s := b.until("job", service.Failed)
	if s.ExitCode != 3 || s.Message != "exit status 3" || !s.Next.Equal(midnight.Add(time.Hour)) {
		t.Errorf("failed: %+v", s)
	}
	if s := b.until("missing", service.Failed); !strings.Contains(s.Message, "no such file") || s.ExitCode != -1 {
		t.Errorf("missing: %+v", s)
	}
	if changes := b.reconcile(job, missing); len(changes) > 0 {
		t.Errorf("reconciled after a failure: %+v", changes)
	}
	b.pass(59 * time.Minute)
	b.ran("job", 1)
	b.pass(time.Minute)
	b.ran("job", 2)
	select {
	case x := <-exits:
		t.Errorf("an exit: %+v", x)
	default:
	}
	if !strings.Contains(b.log("job"), "exit status 3") {
		t.Errorf("log: %q", b.log("job"))
	}
}

// What still runs is not started a second time, and another schedule or program
// does not disturb it.
func TestTimerNeverTwice(t *testing.T) {
	b := newTimers(t)
	job := b.cron("job", "* * * * *", "echo >>job.ran; until [ -e go ]; do sleep 0.01; done")
	b.reconcile(job)
	b.pass(time.Minute)
	b.until("job", service.Running)
	pid := b.pid("job")
	b.pass(2 * time.Minute)
	waitFor(t, "the note", func() bool { return strings.Count(b.log("job"), "still runs") == 2 })
	later := b.cron("job", "30 * * * *", "echo later >>job.ran")
	changes := b.reconcile(later)
	if len(changes) != 1 || changes[0].Op != service.Reload || changes[0].Why != "schedule was * * * * *, is 30 * * * *" {
		t.Errorf("changes: %+v", changes)
	}
	if s := b.state("job"); s.PID != pid || s.Status != service.Running || !s.Next.Equal(midnight.Add(30*time.Minute)) {
		t.Errorf("after the change: %+v", s)
	}
	if changes := b.reconcile(later); len(changes) > 0 {
		t.Errorf("reconciled again: %+v", changes)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b.ran("job", 1)
	b.pass(32 * time.Minute)
	b.ran("job", 2)
	if !strings.HasSuffix(b.read("job.ran"), "later\n") {
		t.Errorf("ran: %q", b.read("job.ran"))
	}
}

// Another program, told in the moment when the old one is due, is started at once.
func TestTimerReloadMissesNothing(t *testing.T) {
	b := newTimers(t)
	b.reconcile(b.cron("job", "0 0 * * *", "echo old >>job.ran"))
	b.clock.mu.Lock()
	b.clock.now = midnight.Add(time.Second) // and nothing has looked yet
	b.clock.mu.Unlock()
	if changes := b.reconcile(b.cron("job", "0 0 * * *", "echo new >>job.ran")); len(changes) != 1 || changes[0].Op != service.Reload {
		t.Errorf("changes: %+v", changes)
	}
	b.look()
	b.ran("job", 1)
	if got := b.read("job.ran"); got != "new\n" {
		t.Errorf("ran %q", got)
	}
}

func TestTimerStops(t *testing.T) {
	b := newTimers(t)
	job := b.cron("job", "* * * * *", "echo >>job.ran; exec sleep 10000")
	b.reconcile(job)
	b.pass(time.Minute)
	b.until("job", service.Running)
	pid := b.pid("job")
	b.apply(service.Change{Op: service.Stop, Name: "job"})
	if s := b.state("job"); s.Status != service.Stopped || !s.Next.IsZero() || alive(pid) {
		t.Errorf("stopped: %+v, alive: %v", s, alive(pid))
	}
	b.clock.advance(time.Hour)
	if changes := b.reconcile(job); len(changes) != 1 || changes[0].Op != service.Start || changes[0].Why != "not armed" {
		t.Errorf("changes: %+v", changes)
	}
	if s := b.state("job"); s.Status != service.Waiting || s.Next.IsZero() {
		t.Errorf("armed again: %+v", s)
	}
	if changes := b.reconcile(); len(changes) != 1 || changes[0].Op != service.Unload {
		t.Errorf("changes: %+v", changes)
	}
}

// What a job leaves behind is ended with it.
func TestTimerLeavesNothing(t *testing.T) {
	b := newTimers(t)
	b.reconcile(b.cron("job", "0 0 * * *", "sleep 10000 & echo $! >child; echo >>job.ran"))
	b.pass(5 * time.Minute)
	b.ran("job", 1)
	if child := b.number("child"); alive(child) {
		t.Errorf("%d is still there", child)
	}
}

// The clock is set: what is passed over is made up once; set back, nothing is
// started twice, unless it is by much.
func TestClockIsSet(t *testing.T) {
	b := newTimers(t)
	b.reconcile(b.cron("job", "0 * * * *", "echo >>job.ran"))
	b.set(5*time.Hour + 9*time.Minute) // five times are passed over
	if s := b.ran("job", 1); !s.Next.Equal(midnight.Add(6 * time.Hour)) {
		t.Errorf("set forward: next is %v", s.Next)
	}
	b.pass(55 * time.Minute)
	b.ran("job", 2) // 6:00
	b.set(-2 * time.Hour)
	b.pass(time.Hour)
	if s := b.ran("job", 2); !s.Next.Equal(midnight.Add(7 * time.Hour)) {
		t.Errorf("set back: next is %v", s.Next)
	}
	b.set(-24 * time.Hour)
	waitFor(t, "another next time", func() bool { return b.state("job").Next.Before(midnight) })
	b.ran("job", 2)
}

// The service is told in its place: same process.
func TestTimerTells(t *testing.T) {
	b := newTimers(t)
	web := b.sh("web", `trap 'echo $$ >>told' USR1; echo $$ >pid; while :; do sleep 0.01; done`)
	logs := b.cron("logs", "0 * * * *", "echo >>logs.ran; exit 1")
	logs.ThenService, logs.ThenSignal = "web", "USR1"
	b.reconcile(web, logs)
	pid := b.number("pid")
	b.pass(5 * time.Minute)
	b.ran("logs", 1)
	if told := b.number("told"); told != pid || b.pid("web") != pid {
		t.Errorf("told %d, was %d, is %d", told, pid, b.pid("web"))
	}
	if s := b.state("logs"); s.Status != service.Failed || s.Message != "exit status 1" {
		t.Errorf("it failed, though: %+v", s)
	}
	// Who does not run needs no telling.
	good := b.cron("logs", "0 * * * *", "echo >>logs.ran")
	good.ThenService, good.ThenSignal = "web", "USR1"
	b.reconcile(web, good)
	b.apply(service.Change{Op: service.Stop, Name: "web"})
	b.pass(time.Hour)
	b.ran("logs", 2)
	if s := b.until("logs", service.Waiting); s.Message != "" {
		t.Errorf("%+v", s)
	}
}

// A service that another supervisor runs is told by whoever knows how.
func TestTimerTellsAnothersService(t *testing.T) {
	b := newTimers(t)
	told := make(chan string, 1)
	b.options.Signal = func(instance, name, signal string) error {
		told <- instance + " " + name + " " + signal
		return errors.New("not now")
	}
	logs := b.cron("logs", "0 * * * *", "echo >>logs.ran")
	logs.ThenService, logs.ThenSignal = "web", "USR1"
	b.reconcile(logs)
	b.pass(5 * time.Minute)
	if got := <-told; got != "web web USR1" {
		t.Errorf("told %s", got)
	}
	if s := b.until("logs", service.Failed); s.Message != "not now" {
		t.Errorf("%+v", s)
	}
}

// A name may become a run, and a timer again.
func TestTimerBecomesRun(t *testing.T) {
	b := newTimers(t)
	b.reconcile(b.cron("job", "0 0 * * *", "echo >>job.ran"))
	run := b.run("job", "echo >>job.ran")
	b.reconcile(run)
	if s := b.until("job", service.Done); s.Schedule != "" || !s.Next.IsZero() {
		t.Errorf("as a run: %+v", s)
	}
	b.ran("job", 1)
	b.reconcile(b.cron("job", "0 0 * * *", "echo >>job.ran"))
	if s := b.until("job", service.Waiting); s.Next.IsZero() {
		t.Errorf("as a timer: %+v", s)
	}
	b.pass(5 * time.Minute)
	b.ran("job", 2)
}

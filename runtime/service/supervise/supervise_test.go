//go:build linux

package supervise

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"instar/runtime/plan"
	"instar/runtime/service"
)

func TestKilledServiceRunsAgainAtOnce(t *testing.T) {
	b := newBench(t)
	exits, err := b.Exits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.reconcile(b.sh("a", forever), b.sh("other", forever))
	first, other := b.pid("a"), b.pid("other")
	syscall.Kill(first, syscall.SIGKILL)
	x := <-exits
	if s := b.state("a"); s.PID == first {
		t.Errorf("its end was told, and the state is %+v", s)
	}
	waitFor(t, "another process", func() bool { s := b.state("a"); return s.Status == service.Running && s.PID != first })
	if s := b.state("a"); s.Restarts != 1 || s.Message != "signal: KILL" || s.ExitCode != -1 {
		t.Errorf("state %+v", s)
	}
	if b.pid("other") != other {
		t.Error("another service was disturbed")
	}
	if x.Instance != "web" || x.Name != "a" || x.Code != -1 || x.Reason != "signal: KILL" || x.At.IsZero() {
		t.Errorf("exit %+v", x)
	}
	if got := b.seen.of("a"); got != "running restarting running" {
		t.Errorf("shown: %s", got)
	}
	if changes := b.reconcile(b.sh("a", forever), b.sh("other", forever)); len(changes) > 0 {
		t.Errorf("a second apply does %v", changes)
	}
}

func TestCrashLoopBacksOff(t *testing.T) {
	b := newFake(t)
	b.reconcile(b.sh("a", "exit 3"))
	for n, most := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		most *= time.Second
		got := b.timer(n)
		if got > most || got <= most*3/4 {
			t.Errorf("delay %d is %v, want at most %v and more than 3/4 of it", n, got, most)
		}
		s := b.until("a", service.Restarting)
		if s.ExitCode != 3 || s.Message != "exit status 3" || s.Restarts != n+1 {
			t.Errorf("after attempt %d: %+v", n, s)
		}
		if changes := b.reconcile(b.sh("a", "exit 3")); len(changes) > 0 {
			t.Errorf("a crash loop is disturbed: %v", changes)
		}
		b.clock.advance(got)
	}
}

func TestAStableMinuteForgetsFailures(t *testing.T) {
	b := newFake(t)
	b.reconcile(b.sh("a", forever))
	die := func(restarts int) {
		syscall.Kill(b.pid("a"), syscall.SIGKILL)
		waitFor(t, "restart", func() bool { s := b.state("a"); return s.Restarts == restarts && s.Status == service.Running })
	}
	die(1) // at once
	syscall.Kill(b.pid("a"), syscall.SIGKILL)
	b.clock.advance(b.timer(0))
	waitFor(t, "second restart", func() bool { return b.state("a").Restarts == 2 })
	b.clock.advance(time.Minute)
	die(3) // at once again: no timer
	if len(b.clock.set) != 1 {
		t.Errorf("timers %v, want one", b.clock.set)
	}
}

func TestRestartPolicy(t *testing.T) {
	for _, c := range []struct {
		restart, script string
		want            service.Status
		ended           bool
	}{
		{"always", "exit 0", service.Restarting, false},
		{"on-failure", "exit 1", service.Restarting, false},
		{"on-failure", "exit 0", service.Stopped, true},
		{"no", "exit 0", service.Stopped, true},
		{"no", "exit 1", service.Failed, true},
	} {
		t.Run(c.restart+" "+c.script, func(t *testing.T) {
			b := newFake(t)
			exits, err := b.Exits(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			spec := b.sh("a", c.script)
			spec.Restart = c.restart
			b.reconcile(spec)
			if x := <-exits; x.Name != "a" {
				t.Errorf("exit %+v", x)
			}
			if s := b.until("a", c.want); s.Ended != c.ended {
				t.Errorf("state %+v", s)
			}
			if changes := b.reconcile(spec); len(changes) > 0 {
				t.Errorf("what ended is disturbed: %v", changes)
			}
			b.apply(service.Change{Op: service.Stop, Name: "a"})
			if s := b.state("a"); s.Status != service.Stopped || s.Ended {
				t.Errorf("after stop: %+v", s)
			}
			if changes := b.reconcile(spec); len(changes) != 1 || changes[0].Op != service.Start {
				t.Errorf("after the instance was stopped: %v", changes)
			}
		})
	}
}

// stubborn ignores TERM, in three processes: one of its session, one that left
// it.
const stubborn = `trap "" TERM
sh -c 'trap "" TERM; echo $$ >child; while :; do sleep 0.1; done' &
setsid sh -c 'trap "" TERM; echo $$ >away; while :; do sleep 0.1; done' &
while :; do sleep 0.1; done`

func TestStopEscalatesToKill(t *testing.T) {
	b := newBench(t)
	spec := b.sh("a", stubborn)
	spec.StopTimeout = 300 * time.Millisecond
	b.reconcile(spec)
	pids := []int{b.pid("a"), b.number("child"), b.number("away")}
	begin := time.Now()
	b.apply(service.Change{Op: service.Stop, Name: "a"})
	if took := time.Since(begin); took < spec.StopTimeout || took > patience {
		t.Errorf("stop took %v", took)
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d lives on", pid)
		}
	}
	if s := b.state("a"); s.Status != service.Stopped || s.PID != 0 {
		t.Errorf("state %+v", s)
	}
}

func TestStopSignalIsHeeded(t *testing.T) {
	b := newBench(t)
	spec := b.sh("a", `trap 'echo quit >got; exit 0' QUIT; trap 'echo term >got' TERM; echo ready; while :; do sleep 0.02; done`)
	spec.StopSignal = "QUIT"
	exits, err := b.Exits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.reconcile(spec)
	waitFor(t, "readiness", func() bool { return strings.Contains(b.log("a"), "ready") })
	b.apply(service.Change{Op: service.Stop, Name: "a"})
	if got := b.read("got"); got != "quit\n" {
		t.Errorf("it got %q", got)
	}
	select {
	case x := <-exits:
		t.Errorf("an end that was asked for is delivered: %+v", x)
	default:
	}
}

func TestWhatSurvivesItsProgramIsEndedBeforeTheNext(t *testing.T) {
	b := newBench(t)
	b.reconcile(b.sh("a", `setsid sh -c 'echo $$ >away; exec sleep 100000' & wait`))
	pid, away := b.pid("a"), b.number("away")
	os.Remove(filepath.Join(b.dir, "away"))
	syscall.Kill(pid, syscall.SIGKILL)
	waitFor(t, "restart", func() bool { s := b.state("a"); return s.Status == service.Running && s.PID != pid })
	if alive(away) {
		t.Error("the first one's child runs beside the second")
	}
	b.number("away")
}

func TestOrderOfStartAndStop(t *testing.T) {
	b := newBench(t)
	script := func(name string) string {
		return fmt.Sprintf(`echo +%s >>order; trap 'sleep 0.05; echo -%s >>order; exit' TERM; while :; do sleep 0.01; done`, name, name)
	}
	specs := []service.Spec{b.sh("web", script("web"), "app"), b.sh("app", script("app"), "db"), b.sh("db", script("db"))}
	b.reconcile(specs...)
	waitFor(t, "three starts", func() bool { return strings.Count(b.read("order"), "+") == 3 })
	states, _ := b.Observe(t.Context(), "web")
	b.apply(service.Reconcile(specs, states, false)...)
	_, stops, _ := strings.Cut(b.read("order"), "-")
	if stops != "web\n-app\n-db\n" {
		t.Errorf("order %q", b.read("order"))
	}
	if shown := b.seen.of("app") + b.seen.of("web"); strings.Contains(shown, "waiting") {
		t.Errorf("Apply does not start in order: %s", shown)
	}
	if !(states["db"].Since.Before(states["app"].Since) && states["app"].Since.Before(states["web"].Since)) {
		t.Errorf("started out of order: %v", states)
	}
}

func TestCloseStopsInReverseOrder(t *testing.T) {
	b := newBench(t)
	script := `echo ready >>order; trap 'sleep 0.05; echo %s >>order; exit' TERM; while :; do sleep 0.01; done`
	b.reconcile(b.sh("a", fmt.Sprintf(script, "a")), b.sh("b", fmt.Sprintf(script, "b"), "a"), b.sh("c", fmt.Sprintf(script, "c"), "b"))
	waitFor(t, "three starts", func() bool { return strings.Count(b.read("order"), "ready") == 3 })
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.ReplaceAll(b.read("order"), "ready\n", ""); got != "c\nb\na\n" {
		t.Errorf("order %q", got)
	}
	if err := b.Apply(t.Context(), "web", nil); err == nil {
		t.Error("a closed supervisor applies")
	}
}

func TestCloseEndsWhatEscaped(t *testing.T) {
	b := newBench(t)
	b.reconcile(b.sh("a", `(env -i PATH="$PATH" setsid sh -c 'echo $$ >escaped; sleep 100000' &); `+forever))
	escaped := b.number("escaped")
	if err := b.Close(t.Context()); err != nil || alive(escaped) {
		t.Errorf("%v; what left session, parent and environment lives: %v", err, alive(escaped))
	}
}

func TestEndOfContextHastensClose(t *testing.T) {
	b := newBench(t)
	spec := b.sh("a", stubborn)
	spec.StopTimeout = time.Hour
	b.reconcile(spec)
	away := b.number("away")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := b.Close(ctx); err != nil || time.Since(begin) > patience {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
	if alive(away) {
		t.Error("it lives on")
	}
}

func TestOnlyWhatChangedRestarts(t *testing.T) {
	b := newBench(t)
	specs := []service.Spec{b.sh("a", forever), b.sh("b", forever, "a"), b.sh("c", forever, "b"), b.sh("gone", forever, "c")}
	b.reconcile(specs...)
	before, _ := b.Observe(t.Context(), "web")
	b.apply(service.Change{Op: service.Start, Name: "a", Spec: specs[0]}) // it runs already
	specs[1].Digest = "new"
	specs[2].StopTimeout /= 2 // no restart
	changes := b.reconcile(specs[:3]...)
	if len(changes) != 3 || changes[0].Op != service.Unload || changes[1].Op != service.Restart || changes[2].Op != service.Update {
		t.Errorf("changes %v", changes)
	}
	after, _ := b.Observe(t.Context(), "web")
	if after["a"].PID != before["a"].PID || after["c"].PID != before["c"].PID {
		t.Error("others were disturbed")
	}
	if after["b"].PID == before["b"].PID || after["b"].Status != service.Running || after["b"].Digest != "new" || alive(before["b"].PID) {
		t.Errorf("b did not restart: %+v", after["b"])
	}
	if _, ok := after["gone"]; ok || alive(before["gone"].PID) {
		t.Error("gone is not gone")
	}
	if again := b.reconcile(specs[:3]...); len(again) > 0 {
		t.Errorf("a second apply does %v", again)
	}
}

func TestReloadBySignalKeepsThePID(t *testing.T) {
	b := newBench(t)
	spec := b.sh("a", `trap 'echo reloaded' HUP; echo ready; while :; do sleep 0.02; done`)
	spec.ReloadSig, spec.ReloadDigest = "HUP", "1"
	b.reconcile(spec)
	waitFor(t, "readiness", func() bool { return strings.Contains(b.log("a"), "ready") })
	pid := b.pid("a")
	spec.ReloadDigest = "2"
	if changes := b.reconcile(spec); len(changes) != 1 || changes[0].Op != service.Reload {
		t.Fatalf("changes %v", changes)
	}
	waitFor(t, "reload", func() bool { return strings.Contains(b.log("a"), "reloaded") })
	if b.pid("a") != pid {
		t.Error("it was restarted")
	}
	if again := b.reconcile(spec); len(again) > 0 {
		t.Errorf("a second apply does %v", again)
	}
}

func TestReloadByCommand(t *testing.T) {
	b := newBench(t)
	spec := b.sh("a", forever)
	spec.ReloadArgv, spec.ReloadDigest = []string{"/bin/sh", "-c", "echo reloading in $PWD; exit 4"}, "1"
	b.reconcile(spec)
	pid := b.pid("a")
	spec.ReloadDigest = "2"
	err := b.Apply(t.Context(), "web", []service.Change{{Op: service.Reload, Name: "a", Spec: spec}})
	if err == nil || !strings.Contains(err.Error(), `cannot reload "a"`) || !strings.Contains(err.Error(), "exit status 4") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(b.log("a"), "reloading in "+b.dir) {
		t.Errorf("log %q", b.log("a"))
	}
	if s := b.state("a"); s.PID != pid || s.ReloadDigest != "1" {
		t.Errorf("a failed reload counts: %+v", s)
	}
	spec.ReloadArgv[2] = "exit 0"
	if changes := b.reconcile(spec); len(changes) != 1 || changes[0].Op != service.Reload || b.pid("a") != pid {
		t.Errorf("changes %v", changes)
	}
}

func TestRunIsTriedUntilItSucceeds(t *testing.T) {
	b := newFake(t)
	exits, err := b.Exits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	spec := b.run("r", `echo x >>tries; [ $(wc -l <tries) -ge 4 ]`)
	b.reconcile(spec)
	for n, most := range []time.Duration{1, 2, 4} {
		most *= time.Second
		got := b.timer(n)
		if got > most || got < max(most*3/4, time.Second) {
			t.Errorf("delay %d is %v, want about %v", n, got, most)
		}
		b.clock.advance(got)
	}
	s := b.until("r", service.Done)
	if b.read("tries") != "x\nx\nx\nx\n" || s.Restarts != 3 || s.ExitCode != 0 {
		t.Errorf("tries %q, state %+v", b.read("tries"), s)
	}
	if changes := b.reconcile(spec); len(changes) > 0 {
		t.Errorf("a run that is done is run again: %v", changes)
	}
	spec.Digest = "new"
	if changes := b.reconcile(spec); len(changes) != 1 || changes[0].Op != service.Start {
		t.Errorf("a run that changed is not run again: %v", changes)
	}
	waitFor(t, "another run", func() bool { return strings.Count(b.read("tries"), "x") == 5 })
	b.until("r", service.Done)
	select {
	case x := <-exits:
		t.Errorf("a run is watched: %+v", x)
	default:
	}
}

func TestAfter(t *testing.T) {
	b := newBench(t)
	b.reconcile(
		b.sh("server", forever),
		b.run("setup", `while [ ! -e go ]; do sleep 0.01; done`, "server"),
		b.sh("client", forever, "setup"),
		b.sh("broken", forever, "absent"),
	)
	if s := b.state("setup"); s.Status != service.Running {
		t.Errorf("setup is %+v", s)
	}
	if s := b.state("client"); s.Status != service.Waiting || s.Digest == "" {
		t.Errorf("client is %+v", s)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b.until("setup", service.Done)
	b.until("client", service.Running)
	if b.state("broken").Status != service.Running {
		t.Error("what is not there is waited for")
	}
}

func TestProgramThatCannotStart(t *testing.T) {
	b := newFake(t)
	spec := b.sh("a", "")
	spec.Argv = []string{filepath.Join(b.dir, "program")}
	err := b.Apply(t.Context(), "web", []service.Change{{Op: service.Start, Name: "a", Spec: spec}})
	if err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("error %v", err)
	}
	if s := b.state("a"); s.Status != service.Failed || !strings.Contains(s.Message, "no such file") || s.Digest != spec.Digest {
		t.Errorf("state %+v", s)
	}
	if d := b.timer(0); d > time.Second || d < time.Second*3/4 {
		t.Errorf("first retry after %v", d)
	}
	if !strings.Contains(b.log("a"), "instar: cannot start") {
		t.Errorf("log %q", b.log("a"))
	}
	if err := os.WriteFile(spec.Argv[0], []byte("#!/bin/sh\n"+forever), 0o755); err != nil {
		t.Fatal(err)
	}
	b.clock.advance(time.Second)
	if s := b.until("a", service.Running); s.Message != "" || s.Restarts != 1 {
		t.Errorf("state %+v", s)
	}
}

func TestLimits(t *testing.T) {
	b := newBench(t, func(o *Options) { o.MemoryPeriod = 20 * time.Millisecond })
	spec := b.sh("files", "ulimit -n; ulimit -u 2>/dev/null || ulimit -p; exec sleep 100000")
	spec.Limits = plan.Limits{NoFile: 77, NProc: 12345, CPU: 0.5}
	b.reconcile(spec)
	waitFor(t, "output", func() bool { return b.log("files") == "77\n12345\n" })
	if texts := Unsupported(spec); len(texts) != 1 || !strings.Contains(texts[0], "cpu=0.5") {
		t.Errorf("unsupported: %q", texts)
	}
	exits, err := b.Exits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hungry := b.sh("hungry", `setsid sh -c 'x=$(head -c 30000000 /dev/zero | tr "\\0" x); sleep 100000' & wait`)
	hungry.Limits.Memory = 20 << 20
	b.reconcile(spec, hungry)
	x := <-exits
	if x.Name != "hungry" || !strings.Contains(x.Reason, "MiB of memory, may use 20.0 MiB") {
		t.Errorf("exit %+v", x)
	}
	waitFor(t, "restart", func() bool { return b.state("hungry").Restarts > 0 })
}

func TestOtherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	b := newBench(t)
	spec := b.sh("a", "id -u; exec sleep 100000")
	spec.Identity, spec.Dir = plan.Identity{User: "nobody", UID: 65534, GID: 65534}, "/"
	b.reconcile(spec)
	waitFor(t, "output", func() bool { return b.log("a") == "65534\n" })
	b.apply(service.Change{Op: service.Stop, Name: "a"})
}

func TestSlowReaderOfExitsBlocksNobody(t *testing.T) {
	b := newFake(t)
	if _, err := b.Exits(t.Context()); err != nil { // never read
		t.Fatal(err)
	}
	for range 3 * exitsKept {
		b.exits.publish(service.Exit{Name: "a"})
	}
	ctx, cancel := context.WithCancel(t.Context())
	exits, err := b.Exits(ctx)
	if err != nil {
		t.Fatal(err)
	}
	b.exits.publish(service.Exit{Name: "b"})
	if x := <-exits; x.Name != "b" {
		t.Errorf("exit %+v", x)
	}
	cancel()
	if _, open := <-exits; open {
		t.Error("the channel is not closed")
	}
}

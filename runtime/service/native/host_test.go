//go:build linux

package native

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"instar/runtime/service"
)

func TestHostInstall(t *testing.T) {
	h := newHost(t)
	specs := []service.Spec{h.sh("b", "echo b >>order; "+forever, "a", "once"), h.sh("a@x.y", forever), h.sh("a", "echo a >>order; "+forever), h.run("once", "echo once >>order", "a")}
	changes := h.reconcile(specs...)
	if len(changes) != 4 {
		t.Fatalf("changes: %s", show(changes))
	}
	h.until("once", service.Done)
	h.until("b", service.Running)
	h.within(5*time.Second, "order a once b", func() bool { return strings.Join(h.lines("order"), " ") == "a once b" })
	h.settled(specs...)
	for _, name := range []string{"a", "b", "a@x.y"} {
		h.pid(name)
		if got, want := h.property(name, "ControlGroup"), "/instar.slice/"+sliceName(h.instance)+"/"+h.unit(name); got != want {
			t.Errorf("%s is in %s, want %s", name, got, want)
		}
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", h.systemd.unitPath(h.unit(name))).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("systemd-analyze: %v\n%s", err, out)
		}
	}
	h.unload()
	if left := h.must("sh", "-c", "ls /etc/systemd/system /etc/systemd/system/*.wants "+h.systemd.recordDir()); strings.Contains(left, h.unit("a")) || strings.Contains(left, h.instance+".") {
		t.Errorf("left behind:\n%s", left)
	}
	if left := h.must("systemctl", "list-units", "--all", "--plain", "--no-legend", unitPrefix(h.instance)+"*"); left != "" {
		t.Errorf("still loaded:\n%s", left)
	}
	h.unload() // absent is fine
	if err := h.Apply(t.Context(), h.instance, []service.Change{{Op: service.Unload, Name: "never"}, {Op: service.Stop, Name: "neither"}}); err != nil {
		t.Error(err)
	}
}

func testUnchangedIsUntouched(t *testing.T, h *host) {
	specs := []service.Spec{h.sh("a", forever), h.sh("b", forever, "a"), h.run("r", "true")}
	h.reconcile(specs...)
	h.until("r", service.Done)
	before := h.states()
	info := func() string {
		return h.must("stat", "-c", "%n %i %y %z", h.definition("a"), h.definition("r"))
	}
	files, loads := info(), h.loads()
	h.settled(specs...)
	var changes []service.Change
	for _, s := range specs {
		changes = append(changes, service.Change{Op: service.Start, Name: s.Name, Spec: s})
	}
	if err := h.Apply(t.Context(), h.instance, changes); err != nil {
		t.Fatal(err)
	}
	after := h.states()
	for name := range before {
		if before[name].PID != after[name].PID || before[name].Restarts != after[name].Restarts || before[name].Since != after[name].Since {
			t.Errorf("%s was touched: %+v, then %+v", name, before[name], after[name])
		}
	}
	if info() != files {
		t.Error("units were written")
	}
	if h.loads() != loads {
		t.Error("systemd was told to reload")
	}
	if h.systemd == nil {
		return
	}
	h.must("systemctl", "daemon-reload") // can it fail?
	if h.loads() == loads {
		t.Error("this test does not notice a reload")
	}
}

func TestHostDrift(t *testing.T) {
	h := newHost(t)
	specs := []service.Spec{h.sh("edited", forever), h.sh("removed", forever), h.sh("disabled", forever), h.sh("forgotten", forever), h.sh("untouched", forever)}
	h.reconcile(specs...)
	before := h.states()
	edit := func(name string) {
		t.Helper()
		path := h.systemd.unitPath(h.unit(name))
		text := strings.Replace(h.read(path), "[Service]\n", "[Service]\nNice=5\n", 1)
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	edit("edited")
	for _, name := range []string{"removed", "forgotten"} {
		if err := os.Remove(h.systemd.unitPath(h.unit(name))); err != nil {
			t.Fatal(err)
		}
	}
	h.must("systemctl", "disable", h.unit("disabled")) // reloads
	os.Remove(h.systemd.wantsPath(h.unit("forgotten")))
	h.expect(h.reconcile(specs...), "update edited (definition changed), update removed (definition changed), update disabled (definition changed), update forgotten (definition changed)")
	h.settled(specs...)
	after := h.states()
	for _, s := range specs {
		if before[s.Name].PID != after[s.Name].PID {
			t.Errorf("%s was restarted", s.Name)
		}
		if got := h.property(s.Name, "UnitFileState"); got != "enabled" {
			t.Errorf("%s is %s", s.Name, got)
		}
	}
	if got := h.property("edited", "Nice"); got != "0" {
		t.Errorf("the edit is in force: Nice=%s", got)
	}

	edit("edited")
	h.must("systemctl", "daemon-reload")
	h.must("systemctl", "restart", h.unit("edited"))
	h.expect(h.reconcile(specs...), "restart edited (not known what it was started with)")
	h.settled(specs...)
}

// TestHostGone: what is not wanted goes, also when only systemd still knows it.
func TestHostGone(t *testing.T) {
	h := newHost(t)
	a, b := h.sh("a", forever), h.sh("b", forever)
	h.reconcile(a, b)
	pid := h.pid("b")
	h.must("rm", h.systemd.unitPath(h.unit("b")))
	h.must("systemctl", "daemon-reload")
	h.expect(h.reconcile(a), "unload b (no longer declared)")
	if syscall.Kill(pid, 0) == nil {
		t.Error("b runs")
	}
	if h.exists(h.systemd.wantsPath(h.unit("b"))) {
		t.Error("b is enabled")
	}
	h.settled(a)
}

func testKilledRunsAgainAtOnce(t *testing.T, h *host) {
	a, other := h.sh("a", forever), h.sh("other", forever)
	h.reconcile(a, other)
	pid, beside := h.pid("a"), h.pid("other")
	syscall.Kill(pid, syscall.SIGKILL)
	took := h.within(time.Second, "marker", func() bool { return h.exists(h.marker("a")) })
	back := h.within(time.Second, "another process", func() bool { s := h.state("a"); return s.Status == service.Running && s.PID != pid })
	t.Logf("marker after %v, running again after %v", took, took+back)
	if s := h.state("a"); s.Restarts != 1 {
		t.Errorf("restarts: %+v", s)
	}
	if h.pid("other") != beside {
		t.Error("another service was disturbed")
	}
	h.settled(a, other)
	exits, err := h.Exits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := func() service.Exit {
		for x := range exits {
			if x.Instance == h.instance { // and not of an earlier test
				return x
			}
		}
		return service.Exit{}
	}
	if x := next(); x.Name != "a" || x.Code != -1 || x.Reason != "signal: KILL" || time.Since(x.At) > time.Minute {
		t.Errorf("exit %+v", x)
	}
	h.within(time.Second, "marker gone", func() bool { return !h.exists(h.marker("a")) && !h.exists(h.marker("a")+takenSuffix) })
	if h.systemd != nil {
		h.must("systemctl", "kill", "--signal=TERM", h.unit("a")) // not a stop
	} else {
		syscall.Kill(h.pid("a"), syscall.SIGTERM)
	}
	begin := time.Now()
	x := next()
	if x.Name != "a" || x.Reason != "signal: TERM" {
		t.Errorf("exit %+v", x)
	}
	t.Logf("delivered %v after it was killed", time.Since(begin))
}

func testCrashLoop(t *testing.T, h *host) {
	a := h.sh("a", "date +%s%N >>times; exit 3")
	h.reconcile(a)
	h.within(20*time.Second, "five attempts", func() bool { return len(h.lines("times")) >= 5 })
	// Until a shim has noted the start, the state tells of the end before it.
	h.within(20*time.Second, "the fifth end", func() bool {
		s := h.state("a")
		return s.Status == service.Restarting && s.Restarts >= 4
	})
	var stamps []time.Duration
	for _, text := range h.lines("times") {
		var ns int64
		fmt.Sscan(text, &ns)
		stamps = append(stamps, time.Duration(ns))
	}
	for i, want := range []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second} {
		if gap := stamps[i+1] - stamps[i]; gap < want*3/4 || gap > want+time.Second {
			t.Errorf("attempt %d came after %v, want %v", i+2, gap, want)
		}
	}
	h.settled(a)
	if !h.exists(h.marker("a")) {
		t.Error("no marker")
	}
	// Another definition is not held back.
	b := h.sh("a", "echo yes >good; "+forever)
	b.Digest = "two"
	begin := time.Now()
	h.expect(h.reconcile(b), "restart a (definition changed)")
	h.within(time.Second, "start", func() bool { return len(h.lines("good")) == 1 })
	t.Logf("replaced in %v", time.Since(begin))
	h.settled(b)
}

func testRestartPolicy(t *testing.T, h *host) {
	var specs []service.Spec
	add := func(name, restart, script string) {
		s := h.sh(name, "echo x >>"+name+".times; "+script)
		s.Restart = restart
		specs = append(specs, s)
	}
	add("always-good", "always", "exit 0")
	add("failure-good", "on-failure", "exit 0")
	add("failure-bad", "on-failure", "exit 1")
	add("failure-term", "on-failure", "kill -TERM $$; sleep 1")
	add("no-good", "no", "exit 0")
	add("no-bad", "no", "exit 4")
	add("no-term", "no", "kill -TERM $$; sleep 1")
	h.reconcile(specs...)
	for _, c := range []struct {
		name  string
		again bool
		want  service.Status
		code  int
	}{
		{"always-good", true, "", 0}, {"failure-good", false, service.Stopped, 0}, {"failure-bad", true, "", 0}, {"failure-term", true, "", 0},
		{"no-good", false, service.Stopped, 0}, {"no-bad", false, service.Failed, 4}, {"no-term", false, service.Failed, -1},
	} {
		h.within(5*time.Second, "marker of "+c.name, func() bool { return h.exists(h.marker(c.name)) })
		if c.again {
			h.within(5*time.Second, c.name+" again", func() bool { return len(h.lines(c.name+".times")) >= 2 })
			continue
		}
		s := h.until(c.name, c.want)
		if !s.Ended || s.ExitCode != c.code {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
	h.settled(specs...)
	if got := len(h.lines("no-good.times")); got != 1 {
		t.Errorf("no-good ran %d times", got)
	}
	// What ended, and is stopped with its instance, starts with it again.
	specs[4].Restart = "always" // from its next start on
	h.expect(h.reconcile(specs...), "update no-good (definition changed)")
	h.settled(specs...)
	if s := h.state("no-good"); !s.Ended || s.Status != service.Stopped || len(h.lines("no-good.times")) != 1 {
		t.Errorf("an update disturbed what had ended: %+v", s)
	}
	if err := h.Apply(t.Context(), h.instance, []service.Change{{Op: service.Stop, Name: "no-bad"}}); err != nil {
		t.Fatal(err)
	}
	if s := h.state("no-bad"); s.Status != service.Stopped || s.Ended {
		t.Errorf("after a stop: %+v", s)
	}
	h.expect(h.reconcile(specs...), "start no-bad (not running)")
}

func testAskedForIsNoExit(t *testing.T, h *host) {
	// Ends with 0 on TERM, as a daemon that was stopped gracefully.
	a := h.sh("a", `trap 'exit 0' TERM; echo $$ >pid; while :; do sleep 0.02; done`)
	h.reconcile(a)
	ready := func() {
		h.within(5*time.Second, "readiness", func() bool { return len(h.lines("pid")) == 1 })
		os.Remove(filepath.Join(h.dir, "pid"))
	}
	ready()
	for _, verb := range []string{"restart", "stop", "start", "stop", "start", "stop all"} {
		h.admin(verb, "a")
		if verb == "start" || verb == "restart" {
			ready()
			continue
		}
		if s := h.state("a"); s.Status != service.Stopped || s.Ended {
			t.Errorf("after %s: %+v", verb, s)
		}
	}
	if !h.boots("a") {
		t.Error("a is not started with the machine any more")
	}
	h.expect(h.reconcile(a), "start a (not running)")
	ready()
	changed := a
	changed.Digest = "two"
	h.expect(h.reconcile(changed), "restart a (definition changed)")
	ready()
	if err := h.Apply(t.Context(), h.instance, []service.Change{{Op: service.Stop, Name: "a"}}); err != nil {
		t.Fatal(err)
	}
	if h.boots("a") {
		t.Error("a stopped service would start at boot")
	}
	if h.exists(h.marker("a")) {
		t.Errorf("a marker: %s", h.read(h.marker("a")))
	}
	h.reconcile(changed)
	ready()
	h.must("sh", "-c", "kill -TERM "+fmt.Sprint(h.pid("a"))) // not asked of the manager
	h.within(time.Second, "marker", func() bool { return h.exists(h.marker("a")) })
}

func testStubborn(t *testing.T, h *host) {
	a := h.sh("a", `trap "" TERM; (trap "" TERM; echo x >ready; while :; do sleep 0.1; done) & while :; do sleep 0.1; done`)
	a.StopTimeout = time.Second
	h.reconcile(a)
	h.within(5*time.Second, "readiness", func() bool { return len(h.lines("ready")) == 1 })
	begin := time.Now()
	if err := h.Apply(t.Context(), h.instance, []service.Change{{Op: service.Stop, Name: "a"}}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < a.StopTimeout || took > 8*time.Second {
		t.Errorf("stopped after %v", took)
	}
	if s := h.state("a"); s.Status != service.Stopped || s.Ended || s.PID != 0 {
		t.Errorf("state %+v", s)
	}
	if h.exists(h.marker("a")) {
		t.Error("a marker")
	}
}

func testReload(t *testing.T, h *host) {
	a := h.sh("signalled", `trap 'echo hup >>got' HUP; echo x >ready; while :; do sleep 0.02; done`)
	a.ReloadSig, a.ReloadDigest = "HUP", "1"
	b := h.sh("commanded", forever)
	b.ReloadArgv, b.ReloadDigest = []string{"/bin/sh", "-c", `echo "$1" >>got; pwd >>got`, "sh", `$a "b" %c`}, "1"
	c := h.sh("bad", forever)
	c.ReloadArgv, c.ReloadDigest = []string{"/bin/false"}, "1"
	h.reconcile(a, b, c)
	h.within(5*time.Second, "readiness", func() bool { return len(h.lines("ready")) == 1 })
	before := h.states()
	a.ReloadDigest, b.ReloadDigest = "2", "2"
	h.expect(h.reconcile(a, b, c), "reload signalled (files it reloads changed), reload commanded (files it reloads changed)")
	h.within(5*time.Second, "reload", func() bool { return strings.Contains(strings.Join(h.lines("got"), " "), "hup") })
	if got := strings.Join(h.lines("got"), " "); !strings.Contains(got, `$a "b" %c `+h.dir) {
		t.Errorf("the command left %q", got)
	}
	h.settled(a, b, c)
	c.ReloadDigest = "2"
	err := h.Apply(t.Context(), h.instance, service.Reconcile([]service.Spec{a, b, c}, h.states(), true))
	if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), `"`, ""), "cannot reload bad") {
		t.Errorf("error %v", err)
	}
	h.expect(service.Reconcile([]service.Spec{a, b, c}, h.states(), true), "reload bad (files it reloads changed)")
	for name, s := range h.states() {
		if s.PID != before[name].PID || h.exists(h.marker(name)) {
			t.Errorf("%s was disturbed", name)
		}
	}
	// No way to reload any more: it is only noted.
	c.ReloadArgv = nil
	h.expect(h.reconcile(a, b, c), "update bad (files it reloads changed)")
	h.settled(a, b, c)
}

func testOnlyWhatChangedRestarts(t *testing.T, h *host) {
	specs := []service.Spec{h.sh("a", forever), h.sh("b", forever, "a"), h.sh("c", forever, "b"), h.sh("gone", forever, "c"), h.run("r", "echo x >>runs")}
	h.reconcile(specs...)
	h.until("r", service.Done)
	before := h.states()
	specs = append(specs[:3], specs[4])
	specs[1].Digest = "two"
	specs[2].StopTimeout /= 2 // no restart
	specs[3].Digest = "two"
	h.expect(h.reconcile(specs...), "unload gone (no longer declared), restart b (definition changed), update c (definition changed), start r (definition changed)")
	h.within(5*time.Second, "run", func() bool { return len(h.lines("runs")) == 2 })
	h.until("r", service.Done)
	after := h.states()
	for _, name := range []string{"a", "c"} {
		if before[name].PID != after[name].PID {
			t.Errorf("%s was disturbed", name)
		}
	}
	if before["b"].PID == after["b"].PID || after["b"].Digest != "two" {
		t.Error("b was not restarted")
	}
	if _, there := after["gone"]; there || syscall.Kill(before["gone"].PID, 0) == nil {
		t.Error("gone is not gone")
	}
	if h.systemd != nil {
		if got := h.property("c", "TimeoutStopUSec"); got != "5s" {
			t.Errorf("c's new definition is not in force: %s", got)
		}
	}
	h.settled(specs...)
}

// testCrashBetweenWriteAndRestart: whatever an apply that was killed had
// done, the next one restarts the service, once.
func testCrashBetweenWriteAndRestart(t *testing.T, h *host) {
	for i, crash := range []struct {
		name string
		do   func(next service.Spec, path string, data []byte)
		want string
	}{
		{"before writing", func(service.Spec, string, []byte) {}, "restart a (definition changed)"},
		{"while writing", func(_ service.Spec, path string, data []byte) {
			os.WriteFile(h.pending(path), data[:len(data)/2], 0o600)
		}, "restart a (definition changed)"},
		{"empty", func(_ service.Spec, path string, _ []byte) { os.WriteFile(path, nil, 0o640) }, "restart a (definition changed)"},
		{"cut in the mark", func(_ service.Spec, path string, data []byte) { os.WriteFile(path, data[:20], 0o640) }, "restart a (definition changed)"},
		{"cut", func(_ service.Spec, path string, data []byte) { os.WriteFile(path, data[:len(data)/2], 0o640) }, "restart a (definition changed)"},
		{"written", func(_ service.Spec, path string, data []byte) { os.WriteFile(path, data, 0o640) }, "restart a (definition changed)"},
		{"told", func(next service.Spec, path string, data []byte) { h.told(next, path, data) }, "restart a (definition changed)"},
		{"told, then it was killed", func(next service.Spec, path string, data []byte) {
			h.told(next, path, data)
			pid := h.pid("a")
			syscall.Kill(pid, syscall.SIGKILL)
			h.within(5*time.Second, "restart", func() bool { s := h.state("a"); return s.Status == service.Running && s.PID != pid })
		}, ""},
	} {
		first := h.sh("a", forever)
		first.Digest = fmt.Sprint("first", i)
		h.reconcile(first)
		pid := h.pid("a")
		next := first
		next.Digest = fmt.Sprint("next", i)
		artifacts, err := h.Render(next)
		if err != nil {
			t.Fatal(err)
		}
		crash.do(next, artifacts[0].Path, artifacts[0].Data)
		if got := show(h.reconcile(next)); got != crash.want {
			t.Errorf("%s: %q, want %q", crash.name, got, crash.want)
		}
		if h.pid("a") == pid {
			t.Errorf("%s: not restarted", crash.name)
		}
		h.settled(next)
		if got := h.read(artifacts[0].Path); got != string(artifacts[0].Data) {
			t.Errorf("%s: the unit is not what is rendered", crash.name)
		}
		if h.exists(h.pending(artifacts[0].Path)) {
			t.Errorf("%s: a pending file is left", crash.name)
		}
	}
}

func testForeign(t *testing.T, h *host) {
	path := h.definition("a")
	text := "[Service]\nExecStart=/bin/sleep 1000\n"
	for _, plant := range []func(){
		func() { os.WriteFile(path, []byte(text), 0o644) },
		func() { os.Symlink("/dev/null", path) },
	} {
		os.Remove(path)
		plant()
		before := h.must("stat", "-c", "%i %y %F", path)
		var changes []service.Change
		for _, s := range []service.Spec{h.sh("b", forever), h.sh("a", forever)} {
			changes = append(changes, service.Change{Op: service.Start, Name: s.Name, Spec: s})
		}
		var foreign *ForeignError
		if err := h.Apply(t.Context(), h.instance, changes); !errors.As(err, &foreign) || foreign.Path != path {
			t.Errorf("error %v", err)
		}
		if states := h.states(); len(states) > 0 {
			t.Errorf("observed: %v", states)
		}
		if err := h.Apply(t.Context(), h.instance, []service.Change{{Op: service.Unload, Name: "a"}}); err != nil {
			t.Error(err)
		}
		if h.must("stat", "-c", "%i %y %F", path) != before {
			t.Error("the foreign unit was touched")
		}
	}
	os.Remove(path)
}

func testNoSuchProgram(t *testing.T, h *host) {
	program := filepath.Join(h.dir, "program")
	os.Remove(program)
	a, b := h.spec("a", []string{program}), h.sh("b", forever)
	no := h.spec("no", []string{program})
	no.Restart = "no"
	err := h.Apply(t.Context(), h.instance, service.Reconcile([]service.Spec{a, b, no}, h.states(), true))
	why, code := "exit status 203 (its program cannot be executed)", 203
	if h.systemd == nil {
		why, code = fmt.Sprintf("cannot start %q: stat %s: no such file or directory", program, program), -1
	}
	if err == nil || !strings.Contains(err.Error(), `cannot start "a": `+why) {
		t.Errorf("error %v", err)
	}
	h.pid("b")
	if h.systemd != nil {
		h.until("a", service.Restarting)
	}
	s := h.until("no", service.Failed)
	if s.ExitCode != code || s.Ended {
		t.Errorf("state %+v", s)
	}
	if got := show(service.Reconcile([]service.Spec{a, b, no}, h.states(), true)); !strings.HasSuffix(got, "start no (failed: "+why+")") {
		t.Errorf("next: %s", got)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+forever+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.until("a", service.Running) // by itself
	h.reconcile(a, b, no)
	h.settled(a, b, no)
}

//go:build linux

package native

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"instar/runtime/plan"
	"instar/runtime/process"
	"instar/runtime/service"
	"instar/runtime/service/shim"
)

// The tests called TestInit need root, and a machine where INSTAR_INIT, which is
// sysv or openrc, can start scripts: for sysv any one will do, and is left as it
// was. See .ci/inits.

// initState is where the state is that a reboot must not lose.
const initState = "/var/lib/instar-test/state"

// newInit returns an instance, which is unloaded at the end of the test.
func newInit(t *testing.T) *host {
	t.Helper()
	initPlatform(t)
	dir, err := os.MkdirTemp("/var/lib", "instar-test-") // where every user can go
	if err != nil {
		t.Fatal(err)
	}
	h := openInit(t, dir, fmt.Sprintf("t%06x", rand.N(1<<24)))
	t.Cleanup(func() {
		h.unload()
		if t.Failed() {
			t.Logf("%s", h.journal())
		}
		if left, _ := filepath.Glob("/etc/*/*" + h.instance + "*"); len(left) > 0 {
			t.Errorf("left %q", left)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return h
}

// initPlatform names the init under test; without one there is nothing to test.
func initPlatform(t *testing.T) string {
	t.Helper()
	platform := os.Getenv("INSTAR_INIT")
	if platform == "" {
		t.Skip("needs root, and a machine whose /etc/init.d may be written: make test-sysv, make test-openrc")
	}
	return platform
}

func openInit(t *testing.T, dir, instance string) *host {
	t.Helper()
	platform := initPlatform(t)
	syscall.Umask(0o027) // as instar's is
	h := &host{TB: t, stateDir: filepath.Join(dir, "state"), instance: instance, dir: filepath.Join(dir, instance)}
	for _, path := range []string{dir, h.dir} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		os.Chmod(path, 0o755)
	}
	m, err := New(platform, Options{StateDir: h.stateDir, Binary: h.program()})
	if err != nil {
		t.Fatal(err)
	}
	h.Manager, h.init = m, m.(*shimmed)
	return h
}

func TestInitShared(t *testing.T) {
	for _, b := range behaviours {
		t.Run(b.name, func(t *testing.T) { b.test(t, newInit(t)) })
	}
}

func (h *host) place(name string) shim.Place { return shim.At(h.stateDir, h.instance, name) }

func (h *host) status(name string) *shim.Status {
	h.Helper()
	s, err := h.place(name).Status()
	if err != nil || s == nil {
		h.Fatalf("status of %s: %v", name, err)
	}
	return s
}

func TestInitInstall(t *testing.T) {
	h := newInit(t)
	specs := []service.Spec{h.sh("b", "echo b >>order; "+forever, "a", "once"), h.sh("a@x.y", forever), h.sh("a", "echo a >>order; "+forever), h.run("once", "echo once >>order", "a")}
	if changes := h.reconcile(specs...); len(changes) != 4 {
		t.Fatalf("changes: %s", show(changes))
	}
	h.until("b", service.Running)
	h.within(5*time.Second, "order a once b", func() bool { return strings.Join(h.lines("order"), " ") == "a once b" })
	h.until("once", service.Done)
	h.settled(specs...)
	for _, s := range specs {
		if !h.boots(s.Name) {
			t.Errorf("%s is not started with the machine", s.Name)
		}
		out, err := h.script("status", s.Name)
		if err != nil || !s.Run && !strings.Contains(out, fmt.Sprintf("running, process %d", h.pid(s.Name))) {
			t.Errorf("status of %s: %v\n%s", s.Name, err, out)
		}
	}
	if info, err := os.Stat(h.definition("a")); err != nil || info.Mode().Perm() != scriptMode {
		t.Errorf("%v %v", info, err)
	}
	h.admin("stop", "a@x.y")
	if out, err := h.script("status", "a@x.y"); err == nil || !strings.Contains(out, "stopped") {
		t.Errorf("status of what was stopped: %v\n%s", err, out)
	}
	h.unload()
	if left, _ := filepath.Glob(filepath.Join(h.stateDir, "shim", "*")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	h.unload() // absent is fine
	if err := h.Apply(t.Context(), h.instance, []service.Change{{Op: service.Unload, Name: "never"}, {Op: service.Stop, Name: "neither"}}); err != nil {
		t.Error(err)
	}
}

func TestInitDrift(t *testing.T) {
	h := newInit(t)
	names := []string{"edited", "removed", "disabled", "forgotten", "unreadable", "plain", "untouched"}
	var specs []service.Spec
	for _, name := range names {
		specs = append(specs, h.sh(name, forever))
	}
	h.reconcile(specs...)
	before := h.states()
	append1 := func(path, text string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(f, text)
		f.Close()
	}
	disable := func(name string) {
		t.Helper()
		if err := h.init.init.disable(t.Context(), []string{ScriptName(h.instance, name)}); err != nil {
			t.Fatal(err)
		}
	}
	append1(h.definition("edited"), "# by hand\n")
	disable("disabled")
	disable("forgotten")
	for _, name := range []string{"removed", "forgotten"} {
		if err := os.Remove(h.definition(name)); err != nil {
			t.Fatal(err)
		}
	}
	os.Chmod(h.place("unreadable").SpecPath(), 0o644)
	os.Chmod(h.definition("plain"), 0o644)
	got := strings.Split(show(h.reconcile(specs...)), ", ")
	slices.Sort(got)
	want := []string{}
	for _, name := range names[:6] {
		want = append(want, "update "+name+" (definition changed)")
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	h.settled(specs...)
	after := h.states()
	for _, name := range names {
		if before[name].PID != after[name].PID {
			t.Errorf("%s was restarted", name)
		}
		if !h.boots(name) {
			t.Errorf("%s is not started with the machine", name)
		}
		if out, err := h.script("status", name); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	if info, err := os.Stat(h.place("unreadable").SpecPath()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}

	// What was edited before a start counts as started with who knows what.
	path := h.place("edited").SpecPath()
	text := strings.Replace(h.read(path), "sleep 100000", "sleep 10000", 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h.admin("restart", "edited")
	h.expect(h.reconcile(specs...), "restart edited (not known what it was started with)")
	h.settled(specs...)
}

// TestInitGone: what is not wanted goes, also when its script has.
func TestInitGone(t *testing.T) {
	h := newInit(t)
	a, b := h.sh("a", forever), h.sh("b", forever)
	h.reconcile(a, b)
	tree := h.status("b").Main
	h.must("rm", h.definition("b"))
	h.expect(h.reconcile(a), "unload b (no longer declared)")
	if tree.Alive() {
		t.Error("b runs")
	}
	if h.boots("b") || h.exists(string(h.place("b"))) {
		t.Error("b is not gone")
	}
	h.settled(a)
	// A script without anything else.
	h.reconcile(a, b)
	if err := shim.Stop(h.place("b")); err != nil {
		t.Fatal(err)
	}
	h.must("rm", "-r", string(h.place("b")))
	h.expect(h.reconcile(a), "unload b (no longer declared)")
	if h.exists(h.definition("b")) {
		t.Error("the script of b is there")
	}
}

// TestInitNobodyLeft: with its supervisor and what guards it killed, a service
// runs on; that is told like an exit, shows, and is repaired.
func TestInitNobodyLeft(t *testing.T) {
	h := newInit(t)
	a := h.sh("a", forever)
	h.reconcile(a)
	before := h.status("a")
	before.Guard.Signal(syscall.SIGKILL)
	before.Shim.Signal(syscall.SIGKILL)
	h.within(10*time.Second, "their end", func() bool { return !before.Shim.Alive() && !before.Guard.Alive() })
	if !before.Main.Alive() {
		t.Fatal("the service has ended as well: this test shows nothing")
	}
	exits, err := h.Exits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if x := <-exits; x.Instance != h.instance || x.Name != "a" || !strings.Contains(x.Reason, "supervisor was killed") {
		t.Errorf("exit %+v", x)
	}
	if out, err := h.script("status", "a"); err == nil {
		t.Errorf("its script says it is well: %s", out)
	}
	h.expect(h.reconcile(a), "start a (not running)")
	if before.Main.Alive() {
		t.Error("there are two of them")
	}
	h.pid("a")
	h.settled(a)
}

// TestInitUser: user, groups, umask and limits of a service are those that it
// was declared with, and its secrets reach it alone.
func TestInitUser(t *testing.T) {
	h := newInit(t)
	root := filepath.Join(h.dir, "the root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	const uid, gid = 65534, 65533
	os.Chmod(root, 0o750)
	os.Chown(root, uid, gid)
	id := plan.Identity{User: "nobody", UID: uid, GID: gid, Groups: []int{12, 20}, Home: root}
	a := h.spec("a", []string{h.program(), dumpMode, root + "/report"})
	a.Identity, a.Env, a.Dir = id, id.Environ(), root
	a.PrivateEnv = []string{"SECRET=hush-hush"}
	a.Limits = plan.Limits{NoFile: 123, NProc: 7700, Memory: 1 << 30, CPU: 1.5}
	h.must("chmod", "755", h.program(), filepath.Dir(h.program()))
	h.reconcile(a)
	got := h.dumped(root + "/report")
	slices.Sort(got.Groups)
	got.Env = unmarked(got.Env)
	want := report{Args: []string{}, Env: slices.Sorted(slices.Values(append(id.Environ(), a.PrivateEnv...))), Dir: root, UID: uid, GID: gid,
		Groups: got.Groups, Umask: 0o027, Privileged: true, Unwritable: got.Unwritable}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(got.Groups, 12) || !slices.Contains(got.Groups, 20) {
		t.Errorf("groups %v", got.Groups)
	}
	limits := h.read(fmt.Sprintf("/proc/%d/limits", h.pid("a")))
	for _, want := range []string{"Max open files            123 ", "Max processes             7700 "} {
		if !strings.Contains(limits, want) {
			t.Errorf("limits:\n%s", limits)
		}
	}
	for _, line := range []string{"/etc/init.d", fmt.Sprintf("/proc/%d/cmdline", h.status("a").Shim.PID), fmt.Sprintf("/proc/%d/environ", h.status("a").Guard.PID)} {
		if out, _ := h.command("grep", "-rl", "hush-hush", line); out != "" {
			t.Errorf("the secret is in %s", out)
		}
	}
	h.settled(a)
}

// unmarked returns an environment, sorted, without the mark of a shim.
func unmarked(env []string) []string {
	return slices.DeleteFunc(slices.Sorted(slices.Values(env)), func(pair string) bool { return strings.HasPrefix(pair, process.MarkVariable+"=") })
}

func TestInitLogs(t *testing.T) {
	h := newInit(t)
	h.reconcile(h.sh("a", "echo one; echo two >&2; "+forever))
	log := filepath.Join(h.stateDir, "instances", h.instance, "logs", "a.log")
	h.within(5*time.Second, "both lines", func() bool {
		data, _ := os.ReadFile(log)
		return strings.Contains(string(data), "one\n") && strings.Contains(string(data), "two\n")
	})
	if _, err := LogCommand(h.Manager, h.instance, nil, false); err == nil {
		t.Error("the manager claims to have logs")
	}
}

// TestInitTimer: the shim keeps the time.
func TestInitTimer(t *testing.T) {
	h := newInit(t)
	tick := h.run("tick", "echo x >>ticks")
	before := fmt.Sprintf("%d * * * *", time.Now().Add(30*time.Minute).Minute())
	tick.Restart, tick.Schedule = "no", before
	h.expect(h.reconcile(tick), "start tick (not armed)")
	s := h.until("tick", service.Waiting)
	if !s.Timer() || s.Next.IsZero() {
		t.Errorf("state %+v", s)
	}
	h.settled(tick)
	tick.Schedule, tick.Digest = "0 4 * * *", "two"
	h.expect(h.reconcile(tick), "reload tick (schedule was "+before+", is 0 4 * * *)")
	h.settled(tick)
	if s := h.state("tick"); s.Next.Hour() != 4 || s.Digest != "two" {
		t.Errorf("state %+v", s)
	}
	if err := h.Apply(t.Context(), h.instance, []service.Change{{Op: service.Stop, Name: "tick"}}); err != nil {
		t.Fatal(err)
	}
	if s := h.state("tick"); s.Status != service.Stopped {
		t.Errorf("state %+v", s)
	}
	h.expect(h.reconcile(tick), "start tick (not armed)")
}

// TestInitLocked: somebody else has OpenRC's lock of a service for a moment.
func TestInitLocked(t *testing.T) {
	h := newInit(t)
	o, ok := h.init.init.(*openrc)
	if !ok {
		t.Skip("only OpenRC has locks")
	}
	a := h.sh("a", forever)
	h.reconcile(a)
	lock, err := os.Create("/run/openrc/exclusive/" + ScriptName(h.instance, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	holder := exec.Command("sleep", "1000")
	holder.ExtraFiles = []*os.File{lock}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	lock.Close()
	h.write("rc-service", fmt.Sprintf("#!/bin/sh\n%s \"$@\" || { kill %d; exit 1; }\n", o.rcService, holder.Process.Pid))
	o.rcService = h.dir + "/rc-service"
	h.must("chmod", "755", o.rcService)
	a.Digest = "two"
	h.expect(h.reconcile(a), "restart a (definition changed)")
	if err := holder.Wait(); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("nothing was refused: this test shows nothing: %v", err)
	}
	h.settled(a)
}

// TestInitZReboot leaves what TestInitRebooted looks for.
func TestInitZReboot(t *testing.T) {
	if os.Getenv("INSTAR_INIT_BOOTED") == "" {
		t.Skip("needs a machine that is booted again afterwards: make test-openrc")
	}
	h := openInit(t, filepath.Dir(initState), "reboot")
	h.reconcile(rebooting(h)...)
	if err := h.Apply(t.Context(), h.instance, []service.Change{{Op: service.Stop, Name: "stopped"}, {Op: service.Stop, Name: "stopped-timer"}}); err != nil {
		t.Fatal(err)
	}
	h.until("run", service.Done)
	boot := h.status("a").Shim.Boot + h.must("cat", "/proc/1/stat")
	if err := os.WriteFile(h.dir+"/booted", []byte(boot), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestInitRebooted(t *testing.T) {
	if os.Getenv("INSTAR_INIT_BOOTED") != "again" {
		t.Skip("needs a machine that TestInitZReboot has prepared and that was booted again: make test-openrc")
	}
	h := openInit(t, filepath.Dir(initState), "reboot")
	t.Cleanup(h.unload)
	if h.read(h.dir+"/booted") == h.status("a").Shim.Boot+h.must("cat", "/proc/1/stat") {
		t.Fatal("it was not booted again")
	}
	h.until("a", service.Running)
	h.until("b", service.Running)
	h.until("private", service.Running)
	h.until("run", service.Done)
	h.within(20*time.Second, "the timer, armed", func() bool { // its shim waits before that, too
		s := h.state("timer")
		return s.Status == service.Waiting && s.Next.After(time.Now())
	})
	if len(h.lines("fired")) > 0 {
		t.Error("the timer was started")
	}
	if got := len(h.lines("ran")); got != 2 {
		t.Errorf("the run ran %d times", got)
	}
	for _, name := range []string{"stopped", "stopped-timer"} {
		if s := h.state(name); s.Status != service.Stopped {
			t.Errorf("what was stopped is %+v", s)
		}
	}
	specs := rebooting(h)
	h.expect(service.Reconcile(specs, h.states(), true), "start stopped (not running), start stopped-timer (not armed)")
	for _, spec := range specs {
		if h.exists(h.marker(spec.Name)) {
			t.Errorf("shutdown left a marker: %s", h.read(h.marker(spec.Name)))
		}
	}
}

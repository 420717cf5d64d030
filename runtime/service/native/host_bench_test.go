//go:build linux

package native

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"instar/runtime/plan"
	"instar/runtime/process"
	"instar/runtime/service"
	"instar/runtime/service/shim"
)

// The tests called TestHost and TestRebooted need a machine that systemd runs
// and that may be wrecked: .ci/hosts/run boots one and sets INSTAR_HOST there.

// report is what the program of these tests says about how it was started.
type report struct {
	Args, Env  []string
	Dir        string
	UID, GID   int
	Groups     []int
	Umask      int
	Privileged bool // may still gain privileges
	Unwritable []string
}

// dumpMode makes the test binary report to the file that follows, then sleep
// or, as dumpOnce, end.
const (
	dumpMode = "instar-dump"
	dumpOnce = "instar-dump-once"
)

func TestMain(m *testing.M) {
	process.Helper()
	if len(os.Args) > 2 && os.Args[1] == "supervise" { // this binary is the instar of its services
		code, _ := shim.Main(os.Args[2:])
		os.Exit(code)
	}
	if len(os.Args) > 2 && (os.Args[1] == dumpMode || os.Args[1] == dumpOnce) {
		dump(os.Args[2], os.Args[1] == dumpOnce)
		return
	}
	os.Exit(m.Run())
}

func dump(file string, once bool) {
	r := report{Args: os.Args[3:], Env: os.Environ(), UID: os.Getuid(), GID: os.Getgid()}
	r.Dir, _ = os.Getwd()
	r.Groups, _ = os.Getgroups()
	r.Umask = syscall.Umask(0)
	status, _ := os.ReadFile("/proc/self/status")
	r.Privileged = strings.Contains(string(status), "NoNewPrivs:\t0")
	for _, dir := range []string{filepath.Dir(file), "/tmp", "/var/lib/instar-open", "/usr/lib/instar-open"} {
		probe := filepath.Join(dir, fmt.Sprint("probe-", os.Getpid()))
		if err := os.WriteFile(probe, nil, 0o600); err != nil {
			r.Unwritable = append(r.Unwritable, dir)
		}
		os.Remove(probe)
	}
	data, _ := json.Marshal(r)
	if err := os.WriteFile(file+".new", data, 0o644); err != nil {
		fmt.Println(err)
		os.Exit(9)
	}
	os.Rename(file+".new", file)
	if !once {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		<-stop
	}
	// The race detector would sleep for a second first.
	syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
}

// host is one instance under test on a real systemd.
type host struct {
	testing.TB
	service.Manager
	systemd  *systemd // nil where it is not systemd, see host_init_test.go
	init     *shimmed // nil where it is
	stateDir string
	instance string
	dir      string // for the test's own files; anybody may look
}

const hostState = "/var/lib/instar-test/state"

// newHost returns an instance named after the test, which is unloaded at its
// end.
func newHost(t testing.TB) *host {
	t.Helper()
	if os.Getenv("INSTAR_HOST") != "1" {
		t.Skip("needs a machine that systemd runs and that may be wrecked: .ci/hosts/run")
	}
	h := openHost(t, strings.ToLower(regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(strings.TrimPrefix(t.Name(), "TestHost"), "-")))
	t.Cleanup(h.unload)
	h.unload()
	h.must("sh", "-c", "rm -rf "+h.dir+"/*") // of an earlier run
	return h
}

func openHost(t testing.TB, instance string) *host {
	t.Helper()
	syscall.Umask(0o027) // as instar's is
	if got := Detect(); got != "systemd" {
		t.Fatalf("detected %s", got)
	}
	h := &host{TB: t, stateDir: hostState, instance: strings.Trim(instance[:min(len(instance), 40)], "-")}
	h.dir = "/var/lib/instar-test/" + h.instance
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(h.dir, 0o755)
	m, err := New("systemd", Options{StateDir: hostState})
	if err != nil {
		t.Fatal(err)
	}
	h.Manager, h.systemd = m, m.(*systemd)
	return h
}

func (h *host) unload() {
	h.Helper()
	var changes []service.Change
	for name := range h.states() {
		changes = append(changes, service.Change{Op: service.Unload, Name: name})
	}
	if err := h.Apply(h.Context(), h.instance, changes); err != nil && h.Context().Err() == nil {
		h.Error(err)
	}
}

// Context is alive during cleanup as well.
func (h *host) Context() context.Context { return context.WithoutCancel(h.TB.Context()) }

// sh returns a service that a shell runs.
func (h *host) sh(name, script string, after ...string) service.Spec {
	return h.spec(name, []string{"/bin/sh", "-c", script}, after...)
}

const forever = "exec sleep 100000"

func (h *host) spec(name string, argv []string, after ...string) service.Spec {
	id := plan.Identity{User: "root", UID: -1, GID: -1, Home: h.dir}
	return service.Spec{Instance: h.instance, Name: name, Argv: argv, Env: id.Environ(), Dir: h.dir, Identity: id, Umask: 0o027,
		Restart: "always", After: after, StopSignal: "TERM", StopTimeout: 10 * time.Second, Digest: "one"}
}

func (h *host) run(name, script string, after ...string) service.Spec {
	s := h.sh(name, script, after...)
	s.Run, s.Restart = true, "on-failure"
	return s
}

func (h *host) states() map[string]service.State {
	h.Helper()
	states, err := h.Observe(h.Context(), h.instance)
	if err != nil {
		h.Fatal(err)
	}
	return states
}

// reconcile makes what runs be what is wanted, and returns what that took.
func (h *host) reconcile(specs ...service.Spec) []service.Change {
	h.Helper()
	changes := service.Reconcile(specs, h.states(), true)
	if err := h.Apply(h.Context(), h.instance, changes); err != nil {
		h.Fatal(err)
	}
	return changes
}

// settled fails unless nothing is left to do, and no service does that.
func (h *host) settled(specs ...service.Spec) {
	h.Helper()
	if changes := service.Reconcile(specs, h.states(), true); len(changes) > 0 {
		h.Errorf("a second apply would: %s", show(changes))
	}
}

func show(changes []service.Change) string {
	words := make([]string, len(changes))
	for i, c := range changes {
		words[i] = fmt.Sprintf("%s %s (%s)", c.Op, c.Name, c.Why)
	}
	return strings.Join(words, ", ")
}

// expect fails unless the changes are these, "start a (not running), ...".
func (h *host) expect(changes []service.Change, want string) {
	h.Helper()
	if got := show(changes); got != want {
		h.Errorf("changes: %s\nwant: %s", got, want)
	}
}

func (h *host) state(name string) service.State {
	h.Helper()
	s, ok := h.states()[name]
	if !ok {
		h.Fatalf("%s is not observed", name)
	}
	return s
}

// pid returns the process of a service that must be running.
func (h *host) pid(name string) int {
	h.Helper()
	s := h.state(name)
	if s.Status != service.Running || s.PID == 0 {
		h.Fatalf("%s does not run: %+v", name, s)
	}
	return s.PID
}

// within polls until ok holds, and returns how long that took.
func (h *host) within(most time.Duration, what string, ok func() bool) time.Duration {
	h.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > most {
			h.Fatalf("not within %v: %s\n%s", most, what, h.journal())
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(begin)
}

func (h *host) until(name string, want service.Status) service.State {
	h.Helper()
	var s service.State
	h.within(20*time.Second, fmt.Sprintf("%s %s", name, want), func() bool {
		s = h.states()[name]
		return s.Status == want
	})
	return s
}

func (h *host) journal() string {
	if h.systemd == nil {
		out, _ := exec.Command("sh", "-c", `cd "$1" && tail -v -n 30 *.log`, "sh", filepath.Join(h.stateDir, "instances", h.instance, "logs")).CombinedOutput()
		return string(out)
	}
	out, _ := exec.Command("journalctl", "-n", "30", "--no-pager", "-u", unitPrefix(h.instance)+"*").CombinedOutput()
	return string(out)
}

// must runs a command.
func (h *host) must(argv ...string) string {
	h.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		h.Fatalf("%q: %v\n%s", argv, err, out)
	}
	return strings.TrimSpace(string(out))
}

// command runs a command that may fail.
func (h *host) command(argv ...string) (string, error) {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	return string(out), err
}

func (h *host) unit(name string) string { return unitName(h.instance, name) }

func (h *host) property(name, property string) string {
	h.Helper()
	return h.must("systemctl", "show", "--value", "-p", property, "--", h.unit(name))
}

// loads changes whenever systemd reads all units again.
func (h *host) loads() string {
	h.Helper()
	if h.systemd == nil {
		return ""
	}
	got := h.must("systemctl", "show", "-p", "UnitsLoadTimestampMonotonic", "-p", "GeneratorsFinishTimestampMonotonic")
	if !strings.ContainsAny(got, "123456789") {
		h.Fatalf("systemd tells no time of its last reload: %q", got)
	}
	return got
}

func (h *host) marker(name string) string { return markerPath(h.stateDir, h.instance, name) }

func (h *host) exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (h *host) read(path string) string {
	h.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		h.Fatal(err)
	}
	return string(data)
}

// write writes one of the test's own files.
func (h *host) write(file, text string) {
	h.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, file), []byte(text), 0o644); err != nil {
		h.Fatal(err)
	}
}

func (h *host) lines(file string) []string {
	data, _ := os.ReadFile(filepath.Join(h.dir, file))
	return strings.Fields(string(data))
}

// dumped waits for what the program of a service reports.
func (h *host) dumped(file string) report {
	h.Helper()
	var r report
	h.within(20*time.Second, "report in "+file, func() bool {
		data, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(data, &r) == nil
	})
	return r
}

// program is this test binary.
func (h *host) program() string {
	h.Helper()
	path, err := os.Executable()
	if err != nil {
		h.Fatal(err)
	}
	return path
}

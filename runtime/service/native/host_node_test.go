//go:build linux

package native

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"instar/runtime/plan"
	"instar/runtime/service"
)

// testBatch: two hundred services in one go, against one by one.
func testBatch(t *testing.T, h *host) {
	const many, few = 200, 20
	specs := make([]service.Spec, many)
	for i := range specs {
		specs[i] = h.sh(fmt.Sprintf("s%d", i), forever)
	}
	begin := time.Now()
	h.reconcile(specs...)
	all := time.Since(begin)
	begin = time.Now()
	h.settled(specs...)
	idle := time.Since(begin)
	begin = time.Now()
	h.unload()
	gone := time.Since(begin)
	begin = time.Now()
	for i := range few {
		h.reconcile(specs[:i+1]...)
	}
	single := time.Since(begin) * many / few
	t.Logf("%d services: applied in %v, second apply %v, unloaded in %v; one by one it would be %v (%.0f times)", many, all, idle, gone, single, float64(single)/float64(all))
	if h.systemd != nil && all > single {
		t.Error("a batch is slower than one by one")
	}
}

// TestHostZReboot leaves what TestRebooted looks for.
func TestHostZReboot(t *testing.T) {
	newHost(t)
	h := openHost(t, "reboot") // not unloaded at the end
	h.reconcile(rebooting(h)...)
	if err := h.Apply(t.Context(), h.instance, []service.Change{{Op: service.Stop, Name: "stopped"}, {Op: service.Stop, Name: "stopped-timer"}}); err != nil {
		t.Fatal(err)
	}
	h.until("run", service.Done)
	if err := os.WriteFile(h.dir+"/before", []byte(fmt.Sprint(h.pid("a"))), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.dir+"/booted", []byte(bootID(h)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func rebooting(h *host) []service.Spec {
	private := h.sh("private", "test \"$SECRET\" = it\\'s && "+forever)
	private.PrivateEnv = []string{"SECRET=it's"}
	stubborn := h.sh("stubborn", `trap "" TERM; while :; do sleep 0.1; done`) // which a shutdown has to kill
	stubborn.StopTimeout = time.Second
	return []service.Spec{stubborn, h.sh("a", `trap 'exit 0' TERM; while :; do sleep 0.1; done`), h.sh("b", forever, "a"), h.run("run", "echo x >>ran"), h.sh("stopped", forever),
		private, h.cron("timer", "11 11 11 11 *", "echo x >>fired"), h.cron("stopped-timer", "@yearly", "true")}
}

// bootID tells one boot of the machine from another.
func bootID(h *host) string {
	return h.must("systemctl", "show", "-p", "UserspaceTimestampMonotonic")
}

func TestRebooted(t *testing.T) {
	if os.Getenv("INSTAR_HOST") != "rebooted" {
		t.Skip("needs a machine that TestHostZReboot has prepared and that was booted again: .ci/hosts/run")
	}
	h := openHost(t, "reboot")
	t.Cleanup(h.unload)
	if h.read(h.dir+"/booted") == bootID(h) {
		t.Fatal("it was not booted again")
	}
	h.until("run", service.Done)
	h.pid("a")
	h.pid("b")
	if got := len(h.lines("ran")); got != 2 {
		t.Errorf("the run ran %d times", got)
	}
	h.pid("private")
	if s := h.state("timer"); s.Status != service.Waiting || !s.Next.After(time.Now()) || !s.Last.IsZero() || len(h.lines("fired")) > 0 {
		t.Errorf("the timer is %+v", s)
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

// TestHostUserManager passes TestOwnManager as an ordinary user.
func TestHostUserManager(t *testing.T) {
	h := newHost(t)
	const user = "instar-own"
	h.must("useradd", "--create-home", user)
	t.Cleanup(func() {
		h.command("loginctl", "disable-linger", user)
		h.command("loginctl", "terminate-user", user)
		h.command("userdel", "--remove", "--force", user)
	})
	uid := h.must("id", "-u", user)
	run := func() (string, error) {
		return h.command("runuser", "-u", user, "--", "env", "-i", "PATH=/usr/bin:/bin", "HOME=/home/"+user, "USER="+user, "INSTAR_HOST=user",
			h.program(), "-test.v", "-test.run", "^TestOwnManager$")
	}
	if out, err := run(); err == nil || !strings.Contains(out, "the user's own systemd does not run") {
		t.Errorf("without a manager: %v\n%s", err, out)
	}
	if out, err := h.command("loginctl", "enable-linger", user); err != nil {
		t.Logf("%s: done by hand, since %s", err, out) // systemd 257 in this kind of machine
		h.must("sh", "-c", "mkdir -p /var/lib/systemd/linger && touch /var/lib/systemd/linger/"+user)
		h.must("systemctl", "start", "user@"+uid+".service")
	}
	h.within(20*time.Second, "the user's manager", func() bool { return h.exists("/run/user/" + uid + "/systemd/private") })
	out, err := run()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(out, "--- PASS: TestOwnManager") {
		t.Error(err)
	}
}

func TestOwnManager(t *testing.T) {
	if os.Getenv("INSTAR_HOST") != "user" {
		t.Skip("needs a user with a running service manager: .ci/hosts/run")
	}
	home, _ := os.UserHomeDir()
	h := &host{TB: t, instance: "mine", dir: home + "/my folder"}
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	state := home + "/state"
	m, err := New("systemd", Options{StateDir: state, User: true})
	if err != nil {
		t.Fatal(err)
	}
	h.Manager, h.systemd = m, m.(*systemd)
	os.Setenv("XDG_RUNTIME_DIR", h.systemd.runtimeDir) // for the systemctl of this test; the manager finds it
	t.Cleanup(h.unload)
	if got := Hint(m); got != "" {
		t.Errorf("hint %q although the user lingers", got)
	}
	a := h.spec("a", []string{h.program(), dumpMode, h.dir + "/report", `$HOME "x" %h`})
	a.ReloadSig, a.ReloadDigest = "URG", "1"
	b := h.sh("b", `trap 'exit 0' TERM; while :; do sleep 0.1; done`, "a")
	r := h.run("r", "echo x >>ran")
	b.Limits = plan.Limits{NoFile: 123, Memory: 64 << 20}
	job := h.cron("job", "11 11 11 11 *", `printf %s "$SECRET" >fired; echo >>fired`)
	job.PrivateEnv = []string{"SECRET=it's"}
	job.ThenService, job.ThenSignal = "a", "URG"
	h.reconcile(a, b, r, job)
	h.until("r", service.Done)
	h.settled(a, b, r, job)
	if next := h.state("job").Next; next.Month() != 11 {
		t.Errorf("next %v", next)
	}
	h.must("systemctl", "--user", "start", h.unit("job"))
	if text := h.read(h.dir + "/fired"); text != "it's\n" {
		t.Errorf("the timer left %q", text)
	}
	if s := h.state("job"); s.Status != service.Waiting || time.Since(s.Last) > time.Minute {
		t.Errorf("fired: %+v", s)
	}
	h.expect(h.reconcile(a, b, r), "unload job (no longer declared)")
	for property, want := range map[string]string{"LimitNOFILE": "123", "MemoryMax": fmt.Sprint(64 << 20), "UMask": "0027"} {
		if got := h.must("systemctl", "--user", "show", "--value", "-p", property, h.unit("b")); got != want {
			t.Errorf("%s is %s, want %s", property, got, want)
		}
	}
	got := h.dumped(h.dir + "/report")
	if strings.Join(got.Args, "|") != `$HOME "x" %h` || len(got.Env) != len(a.Env) || got.Dir != h.dir || got.Umask != 0o027 {
		t.Errorf("started with %+v\nwant %q", got, a.Env)
	}
	pid, other := h.pid("a"), h.pid("b")
	a.ReloadDigest = "2"
	h.expect(h.reconcile(a, b, r), "reload a (files it reloads changed)")
	h.settled(a, b, r)
	if h.pid("a") != pid {
		t.Error("a was restarted")
	}
	h.must("systemctl", "--user", "restart", h.unit("b"))
	if h.exists(markerPath(state, h.instance, "b")) || h.pid("b") == other {
		t.Error("a restart that was asked for left a marker, or was none")
	}
	syscall.Kill(pid, syscall.SIGKILL)
	h.within(2*time.Second, "marker", func() bool { return h.exists(markerPath(state, h.instance, "a")) })
	h.within(2*time.Second, "restart", func() bool { s := h.state("a"); return s.Status == service.Running && s.PID != pid })
	h.settled(a, b, r)
	if got := h.must("systemctl", "--user", "is-enabled", h.unit("a")); got != "enabled" {
		t.Errorf("a is %s", got)
	}
	bad := h.sh("bad", forever)
	bad.Identity.UID = 0
	if _, err := h.Render(bad); err == nil {
		t.Error("another user's service is rendered")
	}
}

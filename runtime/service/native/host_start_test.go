//go:build linux

package native

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"instar/runtime/plan"
	"instar/runtime/service"
	"pgregory.net/rapid"
)

// nasty draws texts of all that quoting has to survive.
func nasty(t *rapid.T, label string, without string) string {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{`"`, `'`, `\`, `$`, `%`, "%n", "$HOME", "${HOME}", "$$", "%%", `\x41`, `\\`, " ", "  ", "\n", "\t", "\r", ";", " ; ", "#", "-", "+", "@", "!", "|", ":", "=", "~", "*",
			"\x01", "\x1b", "\x7f", "\u0085", "\u00a0", "\u2028", "é", "日本", "🙂", "[Service]", "\nExecStart=/bin/false\n", "\\\n", "`id`", "$(id)", "{}"}),
		rapid.StringN(1, 4, -1),
	)
	text := strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, label), "")
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(without+"\x00", r) {
			return -1
		}
		return r
	}, text)
}

// nastyRun draws a run whose program, folder, arguments and variables are hard
// to quote, all of it below dir.
func nastyRun(h *host, dir string) *rapid.Generator[service.Spec] {
	return rapid.Custom(func(t *rapid.T) service.Spec {
		spec := h.run(filepath.Base(dir), "")
		spec.Dir = filepath.Join(dir, "d"+nasty(t, "folder", "/"))
		spec.Argv = []string{filepath.Join(dir, "p"+nasty(t, "program", "/")), dumpOnce, dir + "/report"}
		for range rapid.IntRange(0, 4).Draw(t, "arguments") {
			spec.Argv = append(spec.Argv, nasty(t, "argument", ""))
		}
		names := []string{"X", "_y", "IFS", "PS4", "ENV", "HOME", "PATH", "LD_LIBRARY_PATH", "CDPATH"}
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 3, rapid.ID).Draw(t, "variables") {
			pair := name + "=" + nasty(t, "value", "")
			if rapid.Bool().Draw(t, "secret") {
				spec.PrivateEnv = append(spec.PrivateEnv, pair)
			} else {
				spec.Env = append(spec.Env, pair)
			}
		}
		return spec
	})
}

// merged drops what is set once more later.
func merged(env []string) []string {
	last := map[string]string{}
	for _, pair := range env {
		name, _, _ := strings.Cut(pair, "=")
		last[name] = pair
	}
	return slices.Collect(maps.Values(last))
}

// testRoundTrip: whatever the arguments, the variables, the folder and the
// program's path, they arrive as they are.
func testRoundTrip(t *testing.T, h *host) {
	const many = 150
	seed := int(time.Now().UnixNano() % 1e9)
	t.Logf("%d units, seed %d", many, seed)
	var specs []service.Spec
	for i := range many {
		spec := nastyRun(h, filepath.Join(h.dir, fmt.Sprint("r", i))).Example(seed + i)
		if err := os.MkdirAll(spec.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(h.program(), spec.Argv[0]); err != nil {
			t.Fatal(err)
		}
		specs = append(specs, spec)
	}
	h.reconcile(specs...)
	h.within(time.Minute, "all done", func() bool {
		for _, s := range h.states() {
			if s.Status != service.Done {
				return false
			}
		}
		return true
	})
	for i, spec := range specs {
		got := h.dumped(filepath.Join(h.dir, spec.Name, "report"))
		want := report{Args: append([]string{}, spec.Argv[3:]...), Env: merged(append(slices.Clone(spec.Env), spec.PrivateEnv...)), Dir: spec.Dir}
		got = report{Args: got.Args, Env: got.Env, Dir: got.Dir}
		got.Env = unmarked(got.Env)
		slices.Sort(want.Env)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("seed %d: %q\n%s\n%s", seed+i, spec.Argv, diff, h.read(h.definition(spec.Name)))
		}
	}
	h.settled(specs...)
}

func TestHostUserIsConfined(t *testing.T) {
	h := newHost(t)
	for _, dir := range []string{"/var/lib/instar-open", "/usr/lib/instar-open"} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		os.Chmod(dir, 0o777)
	}
	id := h.somebody("instar-plain")
	root, uid, gid := id.Home, id.UID, id.GID
	id.Groups = []int{12, 20}
	a := h.spec("a", []string{h.program(), dumpMode, root + "/report"})
	a.Identity, a.Env, a.Dir = id, id.Environ(), root
	a.Limits = plan.Limits{NoFile: 123, NProc: 77, Memory: 100 << 20, CPU: 1.5}
	other := h.spec("own-variables", []string{h.program(), dumpMode, root + "/report2"})
	other.Identity, other.Dir = id, root
	other.Env = append(id.Environ(), "LD_PRELOAD=/nowhere.so", "A=b c")
	asRoot := h.spec("root", []string{h.program(), dumpMode, root + "/report3"})
	h.reconcile(a, other, asRoot)
	got := h.dumped(root + "/report")
	slices.Sort(got.Env)
	slices.Sort(got.Groups)
	want := report{Args: []string{}, Env: slices.Sorted(slices.Values(a.Env)), Dir: root, UID: uid, GID: gid, Groups: got.Groups, Umask: 0o027,
		Unwritable: []string{"/var/lib/instar-open", "/usr/lib/instar-open"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(got.Groups, 12) || !slices.Contains(got.Groups, 20) {
		t.Errorf("groups %v", got.Groups)
	}
	got = h.dumped(root + "/report2")
	if want := append(id.Environ(), "LD_PRELOAD=/nowhere.so", "A=b c"); !cmp.Equal(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got.Env))) {
		t.Errorf("environment %q", got.Env)
	}
	if env := h.property("own-variables", "Environment"); env != "" {
		t.Errorf("root's scripts get %s", env)
	}
	if got := h.dumped(root + "/report3"); got.UID != 0 || !got.Privileged || len(got.Unwritable) > 0 {
		t.Errorf("root's: %+v", got)
	}
	for property, want := range map[string]string{"LimitNOFILE": "123", "LimitNPROC": "77", "MemoryMax": fmt.Sprint(100 << 20), "CPUQuotaPerSecUSec": "1.500000s",
		"KillMode": "control-group", "UMask": "0027", "StartLimitIntervalUSec": "0"} {
		if got := h.property("a", property); got != want {
			t.Errorf("%s is %s, want %s", property, got, want)
		}
	}
	h.settled(a, other, asRoot)
}

// TestHostNothingPrivateIsShown: what explains a restart tells of files that
// only root may read.
func TestHostNothingPrivateIsShown(t *testing.T) {
	h := newHost(t)
	a := h.sh("a", forever)
	a.Inputs = map[string]string{"etc/my.cnf": "digest-of-a-secret"}
	h.reconcile(a)
	if got := h.state("a").Inputs["etc/my.cnf"]; got != "digest-of-a-secret" {
		t.Errorf("inputs are not remembered: %q", got)
	}
	if shown := h.must("systemctl", "show", "--all", "--", h.unit("a")); strings.Contains(shown, "digest-of-a-secret") || !strings.Contains(shown, "sleep 100000") {
		t.Error("systemctl shows it")
	}
	out, err := h.command("runuser", "-u", "nobody", "--", "cat", h.systemd.unitPath(h.unit("a")))
	if err == nil || strings.Contains(out, "digest") {
		t.Errorf("anybody can read it: %s", out)
	}
	for _, dir := range []string{h.systemd.recordDir(), exitsDir(hostState)} {
		if out, err := h.command("runuser", "-u", "nobody", "--", "ls", dir); err == nil {
			t.Errorf("anybody can list %s: %s", dir, out)
		}
	}
	a.Inputs = map[string]string{"etc/my.cnf": "other"}
	a.Digest = "two"
	h.expect(h.reconcile(a), "restart a (etc/my.cnf changed)")
}

func testRuns(t *testing.T, h *host) {
	r := h.run("r", `echo x >>tries; test $(wc -l <tries) -ge 3`)
	after := h.sh("after", "echo after >>order; "+forever, "r")
	later := h.run("later", "echo later >>order", "r")
	last := h.sh("last", forever, "after")
	beside := h.sh("beside", forever)
	specs := []service.Spec{r, after, later, last, beside}
	begin := time.Now()
	h.reconcile(specs...)
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("apply waited for the run: %v", took)
	} else {
		t.Logf("apply took %v", took)
	}
	h.pid("beside")
	for _, name := range []string{"after", "later", "last"} {
		if s := h.state(name); s.Status != service.Waiting && len(h.lines("tries")) < 3 {
			t.Errorf("%s is %s", name, s.Status)
		}
	}
	h.settled(specs...)
	sawRestarting := false
	h.within(20*time.Second, "success", func() bool {
		s := h.state("r")
		sawRestarting = sawRestarting || s.Status == service.Restarting
		return s.Status == service.Done
	})
	if !sawRestarting {
		t.Error("a failing run was never seen to be restarting")
	}
	h.until("last", service.Running)
	h.until("later", service.Done)
	if got := len(h.lines("order")); got != 2 {
		t.Errorf("order %v", h.lines("order"))
	}
	if h.exists(h.marker("r")) {
		t.Error("a run left a marker")
	}
	h.settled(specs...)
	specs[0].Digest = "two"
	h.expect(h.reconcile(specs...), "start r (definition changed)")
	h.within(5*time.Second, "another try", func() bool { return len(h.lines("tries")) == 4 })
	h.until("r", service.Done)
	h.settled(specs...)
}

// testHeldByAFailingService: what comes after a service that does not come
// up waits for it, and can be stopped.
func testHeldByAFailingService(t *testing.T, h *host) {
	a, b, c := h.sh("a", "exit 1"), h.sh("b", forever, "a"), h.sh("c", forever, "b")
	h.reconcile(a)
	h.until("a", service.Restarting)
	begin := time.Now()
	h.reconcile(a, b, c)
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("apply took %v", took)
	}
	begin = time.Now()
	if err := h.Apply(t.Context(), h.instance, []service.Change{{Op: service.Stop, Name: "c"}, {Op: service.Stop, Name: "b"}, {Op: service.Stop, Name: "a"}}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("stop took %v", took)
	}
	for name, s := range h.states() {
		if s.Status != service.Stopped || s.Ended {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// testInstancesAreApart: an instance whose name begins with another's is
// neither seen nor stopped with it.
func testInstancesAreApart(t *testing.T, h *host) {
	longer := h.another(h.instance + "-app")
	t.Cleanup(longer.unload)
	h.reconcile(h.sh("a", forever), h.sh("app-a", forever))
	longer.reconcile(longer.sh("a", forever))
	pid := longer.pid("a")
	if got := len(h.states()); got != 2 {
		t.Errorf("%d services observed", got)
	}
	if got := len(longer.states()); got != 1 {
		t.Errorf("%d services observed", got)
	}
	h.admin("stop all", "a")
	h.unload()
	if longer.pid("a") != pid {
		t.Error("the other instance was disturbed")
	}
	long := strings.Repeat("@", 50) + "x"
	specs := []service.Spec{longer.sh("a"+long, forever), longer.sh("b"+long, forever)}
	longer.reconcile(specs...)
	longer.settled(specs...)
	longer.pid("a" + long)
	for _, s := range longer.states() {
		if got := len(filepath.Base(longer.definition(s.Name))); got > maxUnitName {
			t.Errorf("a name of %d bytes", got)
		}
	}
}

// TestHostSlice: an instance has a slice of its own as long as it has units, and
// what somebody else has put there stays.
func TestHostSlice(t *testing.T) {
	h := newHost(t)
	slice := sliceName(h.instance)
	active := func() string { return h.must("systemctl", "show", "--value", "-p", "ActiveState", slice) }
	a := h.sh("a", forever)
	h.reconcile(a, h.cron("job", nightly(), "true"))
	if got := h.must("systemctl", "status", "--no-pager", slice); !strings.Contains(got, h.unit("a")) || active() != "active" {
		t.Errorf("status: %s", got)
	}
	h.reconcile(a)
	if active() != "active" {
		t.Error("the slice went with one of its units")
	}
	h.unload()
	if left := h.must("systemctl", "list-units", "--all", "--plain", "--no-legend", slice); left != "" {
		t.Errorf("left: %s", left)
	}
	h.must("systemd-run", "--unit=instar-test-foreign", "--slice="+slice, "sleep", "1000")
	t.Cleanup(func() { h.command("systemctl", "stop", "instar-test-foreign") })
	h.reconcile(a)
	h.unload()
	if got := h.must("systemctl", "show", "--value", "-p", "ActiveState", "instar-test-foreign.service"); got != "active" {
		t.Errorf("somebody else's service is %s", got)
	}
}

func TestHostLogs(t *testing.T) {
	h := newHost(t)
	token := fmt.Sprint("said ", time.Now().UnixNano())
	h.reconcile(h.sh("a", "echo one "+token+"; "+forever), h.sh("b", "echo two "+token+" >&2; "+forever))
	logs := func(names ...string) string {
		argv, err := LogCommand(h.Manager, h.instance, names, false)
		if err != nil {
			t.Fatal(err)
		}
		return h.must(argv...)
	}
	h.within(5*time.Second, "both lines", func() bool { return strings.Count(logs(), token) == 2 })
	if got := logs("b"); strings.Count(got, token) != 1 || !strings.Contains(got, "b[") || !strings.Contains(got, ": two "+token) {
		t.Errorf("b's: %s", got)
	}
}

// TestHostStoppedWhileStarting: what is stopped before it has come up did not
// end by itself, although its start is a job, too.
func TestHostStoppedWhileStarting(t *testing.T) {
	h := newHost(t)
	a := h.sh("a", forever)
	h.reconcile(a)
	dropIn := "/run/systemd/system/" + h.unit("a") + ".d"
	if err := os.MkdirAll(dropIn, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dropIn) })
	if err := os.WriteFile(dropIn+"/never-up.conf", []byte("[Service]\nType=notify\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.must("systemctl", "daemon-reload")
	for range 2 {
		before := h.property("a", "MainPID")
		h.must("systemctl", "restart", "--no-block", h.unit("a"))
		h.within(20*time.Second, "a start that does not end", func() bool {
			pid := h.property("a", "MainPID")
			return pid != "0" && pid != before && h.property("a", "SubState") == "start"
		})
	}
	h.must("systemctl", "stop", h.unit("a"))
	if text := h.read(h.systemd.record(h.instance, "a")); !strings.HasSuffix(text, "Q\n") || h.exists(h.marker("a")) {
		t.Errorf("it counts as having ended by itself: %s", text)
	}
}

//go:build linux

package shim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"instar/runtime/plan"
	"instar/runtime/process"
	"instar/runtime/service"
	"instar/runtime/service/supervise"
)

// TestMain makes this binary be the instar that serves.
func TestMain(m *testing.M) {
	process.Helper()
	if len(os.Args) > 2 && os.Args[1] == "supervise" {
		code, _ := Main(os.Args[2:])
		os.Exit(code)
	}
	os.Exit(m.Run())
}

const forever = "exec sleep 100000"

// bench is one instance under test.
type bench struct {
	*testing.T
	dir string
}

func newBench(t *testing.T) *bench {
	b := &bench{t, t.TempDir()}
	t.Cleanup(func() {
		names, _ := Names(b.dir, "web")
		for _, name := range names {
			if err := Stop(b.at(name)); err != nil {
				t.Errorf("stop %s: %v", name, err)
			}
		}
	})
	return b
}

func (b *bench) at(name string) Place { return At(b.dir, "web", name) }

func (b *bench) spec(name, script string) service.Spec {
	id := plan.Identity{User: "me", UID: -1, GID: -1, Home: b.dir}
	return service.Spec{Instance: "web", Name: name, Argv: []string{"/bin/sh", "-c", script}, Env: id.Environ(), Dir: b.dir, Identity: id,
		Umask: 0o027, Restart: "always", StopSignal: "TERM", StopTimeout: 5 * time.Second, Digest: "one"}
}

func (b *bench) marker(name string) string { return filepath.Join(b.dir, "exits", "web."+name+".json") }

func (b *bench) write(spec service.Spec) Place {
	b.Helper()
	p := b.at(spec.Name)
	f := File{Spec: spec, StateDir: b.dir, LogDir: filepath.Join(b.dir, "logs")}
	if !spec.Run {
		f.Marker = b.marker(spec.Name)
	}
	if _, err := p.Write(f); err != nil {
		b.Fatal(err)
	}
	return p
}

func (b *bench) tryStart(spec service.Spec) (Place, error) {
	b.Helper()
	p := b.write(spec)
	binary, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	return p, Start(p, binary)
}

func (b *bench) start(spec service.Spec) Place {
	b.Helper()
	p, err := b.tryStart(spec)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func (b *bench) status(p Place) *Status {
	b.Helper()
	s, err := p.Status()
	if err != nil {
		b.Fatal(err)
	}
	if s == nil {
		s = &Status{}
	}
	return s
}

func (b *bench) within(most time.Duration, what string, ok func() bool) time.Duration {
	b.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > most {
			names, _ := Names(b.dir, "web")
			for _, name := range names {
				s, _ := json.Marshal(b.status(b.at(name)))
				log, _ := os.ReadFile(supervise.LogFile(filepath.Join(b.dir, "logs"), name))
				b.Logf("%s: %s\n%s", name, s, log)
			}
			b.Fatalf("not within %v: %s", most, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(begin)
}

func (b *bench) running(p Place) int {
	b.Helper()
	s := b.status(p)
	if s.State.Status != service.Running || s.State.PID == 0 || !s.Main.Alive() {
		b.Fatalf("%s does not run: %+v", p, s)
	}
	return s.State.PID
}

func (b *bench) lines(name string) []string {
	data, _ := os.ReadFile(filepath.Join(b.dir, name))
	return strings.Fields(string(data))
}

func (b *bench) exists(path string) bool { return exists(path) }

// soon is how long is waited for what must come, on a busy machine too.
const soon = time.Minute

func TestKilledServiceRunsAgain(t *testing.T) {
	b := newBench(t)
	p := b.start(b.spec("a", "echo said; "+forever))
	pid := b.running(p)
	begin := time.Now()
	syscall.Kill(pid, syscall.SIGKILL)
	back := b.within(soon, "another process", func() bool { s := b.status(p); return s.State.PID != pid && s.State.PID != 0 })
	b.within(soon, "marker", func() bool { return b.exists(b.marker("a")) })
	t.Logf("runs again after %v, marker after %v", back, time.Since(begin))
	var m Marker
	data, _ := os.ReadFile(b.marker("a"))
	if err := json.Unmarshal(data, &m); err != nil || m != (Marker{Instance: "web", Service: "a", Code: "killed", Status: "KILL"}) {
		t.Errorf("marker %s: %v", data, err)
	}
	if s := b.status(p); s.State.Restarts != 1 || s.State.Digest != "one" {
		t.Errorf("state %+v", s.State)
	}
	b.within(soon, "log", func() bool { return len(b.lines("logs/a.log")) >= 2 })
	if binary, _ := os.Executable(); Start(p, binary) != nil {
		t.Error("starting what runs is an error")
	}
	if s := b.status(p); s.State.Restarts != 1 {
		t.Error("starting what runs disturbed it")
	}
}

func TestStopLeavesNothing(t *testing.T) {
	b := newBench(t)
	p := b.start(b.spec("a", `trap 'exit 0' TERM; setsid sleep 100000 & echo $! >child; while :; do sleep 0.02; done`))
	b.within(soon, "child", func() bool { return len(b.lines("child")) == 1 })
	var child int
	fmt.Sscan(b.lines("child")[0], &child)
	tree, err := process.Of(child)
	if err != nil {
		t.Fatal(err)
	}
	before := b.status(p)
	if err := Stop(p); err != nil {
		t.Fatal(err)
	}
	b.within(soon, "the guard's end", func() bool { return !before.Guard.Alive() })
	if before.Shim.Alive() || before.Main.Alive() || tree.Alive() {
		t.Errorf("something lives: %v %v %v", before.Shim.Alive(), before.Main.Alive(), tree.Alive())
	}
	if b.exists(b.marker("a")) {
		t.Error("a stop left a marker")
	}
	if s := b.status(p); s.State.Status != service.Stopped || s.Serving() {
		t.Errorf("status %+v", s)
	}
	if err := Stop(p); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := Stop(b.at("never")); err != nil {
		t.Errorf("what never was: %v", err)
	}
}

// TestShutdownLeavesNoMarker: when a machine goes down, the service may hear of
// it before its shim does.
func TestShutdownLeavesNoMarker(t *testing.T) {
	b := newBench(t)
	for late := true; late; {
		os.Remove(b.marker("a"))
		p := b.start(b.spec("a", forever))
		s := b.status(p)
		pid, begin := b.running(p), time.Now()
		syscall.Kill(pid, syscall.SIGTERM)
		s.Shim.Signal(syscall.SIGTERM)
		late = time.Since(begin) > markerDelay/2 // the machine is busy: once more
		b.within(soon, "its end", func() bool { return !s.Shim.Alive() && !s.Guard.Alive() })
	}
	if b.exists(b.marker("a")) {
		t.Error("a marker")
	}
}

// TestKilledShim: the guard brings another one, which ends what is left before
// it starts the service anew, and tells of it.
func TestKilledShim(t *testing.T) {
	b := newBench(t)
	p := b.start(b.spec("a", "setsid sleep 100000 & echo $! >>child; echo $$ >>starts; "+forever))
	b.within(soon, "child", func() bool { return len(b.lines("child")) == 1 })
	var child int
	fmt.Sscan(b.lines("child")[0], &child)
	left, err := process.Of(child)
	if err != nil {
		t.Fatal(err)
	}
	before := b.status(p)
	before.Shim.Signal(syscall.SIGKILL)
	took := b.within(soon, "another shim", func() bool { s := b.status(p); return s.Shim != before.Shim && s.State.PID != 0 })
	t.Logf("%v", took)
	if before.Main.Alive() || left.Alive() {
		t.Error("what the killed shim left lives on")
	}
	b.within(soon, "marker", func() bool { return b.exists(b.marker("a")) })
	if data, _ := os.ReadFile(b.marker("a")); !strings.Contains(string(data), lostReason) {
		t.Errorf("marker %s", data)
	}
	if s := b.status(p); s.State.Restarts != 1 {
		t.Errorf("restarts %d", s.State.Restarts)
	}
}

// TestKilledShimAndGuard: nobody supervises the service any more. That shows,
// and a start or a stop ends what is left.
func TestKilledShimAndGuard(t *testing.T) {
	b := newBench(t)
	for _, stop := range []bool{false, true} {
		p := b.start(b.spec("a", forever))
		before := b.status(p)
		before.Guard.Signal(syscall.SIGKILL)
		before.Shim.Signal(syscall.SIGKILL)
		b.within(soon, "their end", func() bool { return !before.Guard.Alive() && !before.Shim.Alive() })
		if lost, coming := b.status(p).Lost(p); !lost || coming {
			t.Errorf("lost %v, coming %v", lost, coming)
		}
		if !before.Main.Alive() {
			t.Fatal("the service ended as well: this test shows nothing")
		}
		if stop {
			if err := Stop(p); err != nil {
				t.Fatal(err)
			}
		} else {
			b.start(b.spec("a", forever))
			b.running(p)
		}
		if before.Main.Alive() {
			t.Error("the service of the killed shim lives on")
		}
	}
}

func TestRunIsDone(t *testing.T) {
	b := newBench(t)
	spec := b.spec("r", `echo x >>tries; test $(wc -l <tries) -ge 2`)
	spec.Run, spec.Restart = true, "on-failure"
	p := b.start(spec)
	b.within(soon, "success", func() bool { return b.status(p).State.Status == service.Done })
	s := b.status(p)
	b.within(soon, "the shim's end", func() bool { return !s.Shim.Alive() && !s.Guard.Alive() })
	if s := b.status(p); !s.Final() || s.State.Digest != "one" || s.Serving() {
		t.Errorf("status %+v", s)
	}
	if len(b.lines("tries")) != 2 {
		t.Errorf("%d tries", len(b.lines("tries")))
	}
}

// TestRunLeavesADaemon: what a run that succeeded started in the background
// goes on until the run is stopped.
func TestRunLeavesADaemon(t *testing.T) {
	b := newBench(t)
	spec := b.spec("r", `setsid sleep 100000 & echo $! >child`)
	spec.Run, spec.Restart = true, "on-failure"
	p := b.start(spec)
	b.within(soon, "success", func() bool { return b.status(p).State.Status == service.Done })
	var child int
	fmt.Sscan(b.lines("child")[0], &child)
	tree, err := process.Of(child)
	if err != nil || !tree.Alive() {
		t.Fatalf("the daemon: %v", err)
	}
	if !b.status(p).Serving() {
		t.Error("nobody is there to end it")
	}
	if err := Stop(p); err != nil || tree.Alive() {
		t.Errorf("after the stop: %v, alive %v", err, tree.Alive())
	}
}

func TestRestartPolicy(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		name, restart, script string
		again                 bool
		want                  service.Status
		code                  int
	}{
		{"always-good", "always", "exit 0", true, "", 0},
		{"failure-good", "on-failure", "exit 0", false, service.Stopped, 0},
		{"failure-bad", "on-failure", "exit 1", true, "", 0},
		{"no-bad", "no", "exit 4", false, service.Failed, 4},
	} {
		spec := b.spec(c.name, "echo x >>"+c.name+".times; "+c.script)
		spec.Restart = c.restart
		p := b.start(spec)
		b.within(soon, "marker of "+c.name, func() bool { return b.exists(b.marker(c.name)) })
		if c.again {
			b.within(soon, c.name+" again", func() bool { return len(b.lines(c.name+".times")) >= 2 })
			continue
		}
		b.within(soon, "end of "+c.name, func() bool { return b.status(p).Final() })
		if s := b.status(p).State; s.Status != c.want || s.ExitCode != c.code || !s.Ended {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

func TestNoSuchProgram(t *testing.T) {
	b := newBench(t)
	program := filepath.Join(b.dir, "program")
	spec := b.spec("a", "")
	spec.Argv = []string{program}
	p, err := b.tryStart(spec)
	if err == nil || !strings.Contains(err.Error(), program) || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("error %v", err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+forever+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.within(soon, "start by itself", func() bool { return b.status(p).State.Status == service.Running })
	no := b.spec("no", "")
	no.Argv, no.Restart = []string{program + "-not"}, "no"
	p, err = b.tryStart(no)
	if err == nil {
		t.Error("no error")
	}
	b.within(soon, "the shim's end", func() bool { return b.status(p).Final() })
	if s := b.status(p).State; s.Status != service.Failed || s.Ended {
		t.Errorf("state %+v", s)
	}
}

func TestReloadAndAdopt(t *testing.T) {
	b := newBench(t)
	spec := b.spec("a", `trap 'echo hup >>got' HUP; echo x >ready; while :; do sleep 0.02; done`)
	spec.ReloadSig, spec.ReloadDigest = "HUP", "1"
	p := b.start(spec)
	b.within(soon, "readiness", func() bool { return len(b.lines("ready")) == 1 })
	pid := b.running(p)
	spec.ReloadDigest = "2"
	b.write(spec)
	if err := Tell(p, Reload); err != nil {
		t.Fatal(err)
	}
	b.within(soon, "reload", func() bool { return len(b.lines("got")) == 1 })
	if s := b.status(p).State; s.ReloadDigest != "2" || s.PID != pid {
		t.Errorf("state %+v", s)
	}
	spec.Restart, spec.ReloadDigest = "no", "3"
	b.write(spec)
	if err := Tell(p, Adopt); err != nil {
		t.Fatal(err)
	}
	if s := b.status(p).State; s.ReloadDigest != "3" || s.PID != pid || s.Definition != spec.Definition() {
		t.Errorf("state %+v", s)
	}
	if len(b.lines("got")) != 1 {
		t.Error("it was told to reload")
	}
	spec.ReloadSig, spec.ReloadArgv, spec.ReloadDigest = "", []string{"/bin/sh", "-c", "exit 7"}, "4"
	b.write(spec)
	if err := Tell(p, Reload); err == nil || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("error %v", err)
	}
	if s := b.status(p).State; s.ReloadDigest != "3" || s.PID != pid {
		t.Errorf("state %+v", s)
	}
}

func TestAfter(t *testing.T) {
	b := newBench(t)
	first := b.spec("first", `test -e go && echo first >>order`)
	first.Run, first.Restart = true, "on-failure"
	b.start(first)
	second := b.spec("second", "echo second >>order; "+forever)
	second.After = []string{"first", "nobody"}
	p := b.start(second)
	if s := b.status(p).State; s.Status != service.Waiting || s.PID != 0 {
		t.Errorf("state %+v", s)
	}
	third := b.spec("third", forever)
	third.After = []string{"second"}
	third.Digest = "old"
	q := b.start(third)
	third.Digest = "new" // while it waits
	b.write(third)
	if err := Tell(q, Adopt); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.within(soon, "all", func() bool { return b.status(q).State.Status == service.Running })
	if got := strings.Join(b.lines("order"), " "); got != "first second" {
		t.Errorf("order %s", got)
	}
	if s := b.status(q).State; s.Digest != "new" {
		t.Errorf("state %+v", s)
	}
	// What waits can be stopped.
	if err := Stop(b.at("first")); err != nil {
		t.Fatal(err)
	}
	first.Argv[2] = "exit 1"
	b.start(first)
	Stop(q)
	third.After = []string{"first"}
	b.start(third)
	begin := time.Now()
	if err := Stop(q); err != nil || time.Since(begin) > soon {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

// TestAsItStands: whatever the bytes, they arrive.
func TestAsItStands(t *testing.T) {
	b := newBench(t)
	spec := b.spec("a", "")
	nasty := []string{"", " ", "$(id)", "`id`", "%n", `\x41`, "a\nb", "\xff\xfe", `"'`, "日本", "*", "-n"}
	spec.Dir = filepath.Join(b.dir, "d $(id) \xff")
	if err := os.Mkdir(spec.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(spec.Dir, "p `id` \xfe\n.sh")
	text := `#!/bin/sh
for a; do printf '%s\0' "$a"; done >args.new
printf '%s\0' "$V" "$S" "$PWD" >env.new
mv env.new env; mv args.new args; echo said hush-hush; exec sleep 100000
`
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	spec.Argv = append([]string{script}, nasty...)
	spec.Env = append(spec.Env, "V=\xff $(id)\n")
	spec.PrivateEnv = []string{"S=hush-hush"}
	p := b.start(spec)
	args := filepath.Join(spec.Dir, "args")
	b.within(soon, "report", func() bool { return b.exists(args) })
	data, _ := os.ReadFile(args)
	if want := strings.Join(nasty, "\x00") + "\x00"; string(data) != want {
		t.Errorf("arguments %q\nwant %q", data, want)
	}
	data, _ = os.ReadFile(filepath.Join(spec.Dir, "env"))
	if want := "\xff $(id)\n\x00hush-hush\x00" + spec.Dir + "\x00"; string(data) != want {
		t.Errorf("environment %q\nwant %q", data, want)
	}
	log := supervise.LogFile(filepath.Join(b.dir, "logs"), "a")
	b.within(soon, "log", func() bool { data, _ := os.ReadFile(log); return strings.Contains(string(data), "said ********") })
	for _, path := range []string{p.SpecPath(), p.statusPath(), log} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	if changed, err := p.Write(File{Spec: spec, StateDir: b.dir, LogDir: filepath.Join(b.dir, "logs"), Marker: b.marker("a")}); changed || err != nil {
		t.Errorf("the same again: %v %v", changed, err)
	}
}

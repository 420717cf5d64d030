//go:build linux

package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"instar/runtime/plan"
)

func TestMain(m *testing.M) {
	Helper()
	if os.Getenv("PROCESS_TEST_START") != "" { // see TestLeftovers
		startAndDie()
	}
	goleak.VerifyTestMain(m)
}

// own is the identity of whoever runs the test.
var own = plan.Identity{UID: -1}

// sh returns a Spec for a shell script.
func sh(script string) Spec {
	return Spec{Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=" + plan.DefaultPath}, Identity: own}
}

// patience is how long is waited for what must come, on a busy machine too.
const patience = time.Minute

// waitFor polls until ok holds.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting: %s", what)
		}
	}
}

// alive reports whether pid runs; a zombie does not.
func alive(pid int) bool {
	e, err := readEntry(pid)
	return err == nil && !e.dead
}

// pidIn waits for a number in a file.
func pidIn(t testing.TB, path string) int {
	t.Helper()
	pid := 0
	waitFor(t, path, func() bool {
		data, _ := os.ReadFile(path)
		n, err := strconv.Atoi(strings.TrimSpace(string(data)))
		pid = n
		return err == nil && strings.HasSuffix(string(data), "\n")
	})
	return pid
}

func TestEnvironmentIsExact(t *testing.T) {
	var out bytes.Buffer
	odd := "A=sp ace \"q\" $x \\ %\nü"
	spec := Spec{Argv: []string{"/usr/bin/env", "-0"}, Env: []string{odd, "B=first", "B="}, Identity: own, Stdout: &out,
		Mark: Mark("/state", "service", "web", "nginx")}
	if _, err := Run(t.Context(), spec, syscall.SIGTERM, time.Second); err != nil {
		t.Fatal(err)
	}
	want := odd + "\x00B=\x00" + MarkVariable + "=" + spec.Mark + "\x00"
	if out.String() != want {
		t.Errorf("environment %q, want %q", out.String(), want)
	}
}

func TestRunReportsHowItEnded(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"exit 0", "exit status 0"},
		{"exit 3", "exit status 3"},
		{"kill -9 $$", "signal: KILL"},
	} {
		exit, err := Run(t.Context(), sh(c.script), syscall.SIGTERM, time.Second)
		if err != nil || exit.String() != c.want || exit.Ok() != (c.script == "exit 0") {
			t.Errorf("%s: %v, %v; want %s", c.script, exit, err, c.want)
		}
	}
}

// tree starts a program with three offspring that ignore TERM: a child of its
// session, one that left it, and one that left it, its parent and its
// environment. It returns the PIDs of all.
func startTree(t *testing.T, mark string) (*Process, []int) {
	t.Helper()
	dir := t.TempDir()
	spec := sh(`trap '' TERM
sh -c 'trap "" TERM; echo $$ >a; while :; do sleep 0.1; done' &
setsid sh -c 'trap "" TERM; (sh -c "trap \"\" TERM; echo \$\$ >b; while :; do sleep 0.1; done" &) ; exit' &
setsid env -i PATH="$PATH" sh -c 'trap "" TERM; echo $$ >c; while :; do sleep 0.1; done' &
while :; do sleep 0.1; done`)
	spec.Dir, spec.Mark = dir, mark
	p, err := Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	pids := []int{p.PID()}
	for _, name := range []string{"a", "b", "c"} {
		pids = append(pids, pidIn(t, filepath.Join(dir, name)))
	}
	return p, pids
}

func TestEndKillsATreeThatIgnoresTERM(t *testing.T) {
	for _, adopt := range []bool{false, true} {
		t.Run(fmt.Sprintf("adopt=%v", adopt), func(t *testing.T) {
			if adopt {
				release, err := Adopt()
				if err != nil {
					t.Fatal(err)
				}
				defer release()
			}
			p, pids := startTree(t, Mark(t.TempDir(), "service", "i", "n"))
			begin := time.Now()
			if err := p.End(t.Context(), syscall.SIGTERM, 200*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin); took < 200*time.Millisecond || took > patience {
				t.Errorf("End took %v", took)
			}
			for i, pid := range pids {
				if alive(pid) {
					t.Errorf("process %d (%d) lives on", i, pid)
				}
			}
			if exit := p.Wait(); exit.Signal != "KILL" {
				t.Errorf("ended by %v", exit)
			}
		})
	}
}

func TestEndIsPolite(t *testing.T) {
	spec := sh(`trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done`)
	var out syncBuffer
	spec.Stdout = &out
	p, err := Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "ready", func() bool { return strings.Contains(out.String(), "ready") })
	if err := p.End(t.Context(), syscall.SIGTERM, time.Hour); err != nil {
		t.Fatal(err)
	}
	if exit := p.Wait(); exit.Code != 7 || !strings.Contains(out.String(), "bye") {
		t.Errorf("%v, %q", exit, out.String())
	}
}

func TestEndOfContextKillsAtOnce(t *testing.T) {
	p, pids := startTree(t, Mark(t.TempDir(), "service", "i", "n"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := p.End(ctx, syscall.SIGTERM, time.Hour); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > patience || alive(pids[3]) {
		t.Errorf("took %v, last one lives: %v", took, alive(pids[3]))
	}
	p.Wait()
}

func TestStoppedProcessIsEnded(t *testing.T) {
	p, err := Start(sh("kill -STOP $$; sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := p.End(t.Context(), syscall.SIGTERM, time.Hour); err != nil || time.Since(begin) > patience {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
	p.Wait()
	if p, err = Start(sh("kill -STOP $$; sleep 1000")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "its stop", func() bool {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
		return strings.Contains(string(stat), ") T ")
	})
	begin = time.Now() // one by one, as a later instar does
	if err := p.Tree().End(t.Context(), syscall.SIGTERM, time.Hour); err != nil || time.Since(begin) > patience {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
	p.Wait()
}

func TestRunTimesOut(t *testing.T) {
	dir := t.TempDir()
	spec := sh("setsid sleep 1000 & echo $! >pid; wait")
	spec.Dir, spec.Mark = dir, Mark(dir, "command", "i", "n")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		pidIn(t, filepath.Join(dir, "pid"))
		cancel()
	}()
	exit, err := Run(ctx, spec, syscall.SIGTERM, time.Second)
	if err == nil || exit.Ok() {
		t.Errorf("%v, %v", exit, err)
	}
	if alive(pidIn(t, filepath.Join(dir, "pid"))) {
		t.Error("its child lives on")
	}
}

// startAndDie is what TestLeftovers runs in another process.
func startAndDie() {
	spec := sh("setsid sleep 1000 & sleep 1000")
	spec.Mark = os.Getenv("PROCESS_TEST_START")
	p, err := Start(spec)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// marked counts the processes whose mark begins with prefix.
func marked(prefix string) int {
	environments, _ := filepath.Glob("/proc/[0-9]*/environ")
	n := 0
	for _, path := range environments {
		if env, err := os.ReadFile(path); err == nil && bytes.Contains(env, []byte("="+prefix)) {
			n++
		}
	}
	return n
}

func TestLeftovers(t *testing.T) {
	base := t.TempDir()
	start := func(instance string) int {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{"PROCESS_TEST_START=" + Mark(base, "service", instance, "s")}
		out, _ := cmd.Output() // it kills itself
		pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
		if err != nil {
			t.Fatalf("%q", out)
		}
		return pid
	}
	// All three of each must be there, or there is less to end.
	web, other := start("web"), start("web2")
	for _, instance := range []string{"web", "web2"} {
		prefix := MarkPrefix(base, "service", instance)
		waitFor(t, "the shell and both of its children", func() bool { return marked(prefix) == 3 })
	}
	if n, err := Leftovers(t.Context(), MarkPrefix(base, "service", "web"), syscall.SIGTERM, time.Second); err != nil || n < 2 {
		t.Errorf("ended %d, %v", n, err)
	}
	if alive(web) {
		t.Error("a leftover lives on")
	}
	if !alive(other) {
		t.Error("another instance's process was ended")
	}
	if n, err := Leftovers(t.Context(), MarkPrefix(base, "service", "web2"), syscall.SIGTERM, time.Second); err != nil || n < 2 {
		t.Errorf("ended %d, %v", n, err)
	}
}

func TestTreeOfAnotherProcessIsSpared(t *testing.T) {
	p, err := Start(sh("sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "start", func() bool { return alive(p.PID()) })
	for name, tree := range map[string]Tree{
		"other start": {PID: p.PID(), Start: p.Tree().Start - 1, Boot: p.Tree().Boot},
		"other boot":  {PID: p.PID(), Start: p.Tree().Start, Boot: "x"},
		"other mark":  {Mark: "x", Boot: p.Tree().Boot},
	} {
		if err := tree.End(t.Context(), syscall.SIGKILL, 0); err != nil || !alive(p.PID()) {
			t.Fatalf("%s: %v, alive %v", name, err, alive(p.PID()))
		}
	}
	if err := p.Tree().End(t.Context(), syscall.SIGTERM, time.Second); err != nil || alive(p.PID()) {
		t.Errorf("its own tree: %v", err)
	}
	p.Wait()
}

func TestIdentityAndLimits(t *testing.T) {
	spec := sh("id -u; id -g; id -G; ulimit -n; umask")
	var out bytes.Buffer
	spec.Stdout, spec.Stderr, spec.Dir = &out, &out, "/"
	want := fmt.Sprintf("%d\n%d\n", os.Getuid(), os.Getgid())
	if os.Getuid() == 0 {
		spec.Identity = plan.Identity{User: "nobody", UID: 65534, GID: 65534, Groups: []int{12, 34}}
		want = "65534\n65534\n65534 12 34\n"
	}
	for _, nofile := range []int64{0, 123} {
		out.Reset()
		spec.NoFile = nofile
		if exit, err := Run(t.Context(), spec, syscall.SIGTERM, time.Second); err != nil || !exit.Ok() {
			t.Fatal(exit, err, out.String())
		}
		if !strings.HasPrefix(out.String(), want) || strings.Contains(out.String(), "\n123\n") != (nofile == 123) {
			t.Errorf("nofile %d: got %q", nofile, out.String())
		}
	}
	if os.Getuid() != 0 {
		spec.Identity = plan.Identity{User: "root", UID: 0}
		if _, err := Start(spec); err == nil || !strings.Contains(err.Error(), "only root") {
			t.Error(err)
		}
	}
}

func TestErrorsNameWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		name string
		spec Spec
		want string
	}{
		{"missing", Spec{Argv: []string{dir + "/none"}}, "no such file"},
		{"mode", Spec{Argv: []string{write("m", "#!/bin/sh\n", 0o644)}}, "not executable (mode 0644)"},
		{"folder", Spec{Argv: []string{dir}}, "it is a folder"},
		{"interpreter", Spec{Argv: []string{write("i", "#!/no/such -x\n", 0o755)}}, `its interpreter "/no/such"`},
		{"cwd", Spec{Argv: []string{"/bin/sh"}, Dir: dir + "/none"}, "working folder"},
		{"format", Spec{Argv: []string{write("f", "hello\n", 0o755)}}, "neither a program"},
		{"relative", Spec{Argv: []string{"sh"}}, "absolute"},
		{"none", Spec{}, "no program"},
		{"NUL", Spec{Argv: []string{"/bin/sh", "a\x00b"}}, "NUL"},
	} {
		c.spec.Identity = own
		if _, err := Start(c.spec); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestIgnoredSignalsAreNotInherited(t *testing.T) {
	if os.Getenv("PROCESS_TEST_IGNORED") != "" {
		var out bytes.Buffer
		spec := sh("grep SigIgn /proc/self/status")
		spec.Stdout = &out
		Run(t.Context(), spec, syscall.SIGTERM, time.Second)
		t.Logf("inner: %s", out.String())
		return
	}
	cmd := exec.Command("/bin/sh", "-c", `trap '' INT HUP; exec "$0" -test.run='^TestIgnoredSignalsAreNotInherited$' -test.v`, os.Args[0])
	cmd.Env = append(os.Environ(), "PROCESS_TEST_IGNORED=1")
	out, err := cmd.CombinedOutput()
	const hupAndInt = 1<<(syscall.SIGHUP-1) | 1<<(syscall.SIGINT-1)
	_, after, found := strings.Cut(string(out), "SigIgn:\t")
	ignored, parseErr := strconv.ParseUint(after[:min(16, len(after))], 16, 64)
	if err != nil || !found || parseErr != nil || ignored&hupAndInt != 0 {
		t.Errorf("%v, %v\n%s", err, parseErr, out)
	}
}

func TestNoDescriptorLeaks(t *testing.T) {
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	var out bytes.Buffer
	once := func() {
		spec := sh("echo x")
		spec.Stdin, spec.Stdout = []byte("abc"), &out
		if _, err := Run(t.Context(), spec, syscall.SIGTERM, time.Second); err != nil {
			t.Fatal(err)
		}
		if _, err := Start(Spec{Argv: []string{"/no/such"}, Identity: own, Stdout: &out, Stdin: []byte("x")}); err == nil {
			t.Fatal("started what does not exist")
		}
	}
	once()
	before := count()
	for range 50 {
		once()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestSignalNames(t *testing.T) {
	for name, want := range map[string]syscall.Signal{
		"TERM": 15, "SIGTERM": 15, "usr1": 10, "9": 9, "RTMIN+4": 38, "RTMAX-1": 63, "RTMIN": 34, "WINCH": 28,
	} {
		if got, err := ParseSignal(name); err != nil || got != want {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "0", "65", "TREM", "RTMIN+99", "RTMIN-1", "-1"} {
		if got, err := ParseSignal(name); err == nil {
			t.Errorf("%q is %d", name, got)
		}
	}
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if got, err := ParseSignal(SignalName(sig)); err != nil || got != sig {
			t.Errorf("%d: %q: %d, %v", sig, SignalName(sig), got, err)
		}
	}
}

func TestParseStatWithOddNames(t *testing.T) {
	e, err := parseStat(7, "7 (a) R (b) S 1 2 3 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 999 1000 5 18446744073709551615\n")
	if err != nil || e.ppid != 1 || e.pgid != 2 || e.sid != 3 || e.start != 999 || e.rss != 5*pageSize || e.dead {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := parseStat(7, "7 (a) S 1"); err == nil {
		t.Error("a short line is accepted")
	}
}

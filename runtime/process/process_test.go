//go:build linux

package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// waitFor polls until ok holds.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
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

func TestStdinAndOutput(t *testing.T) {
	in := bytes.Repeat([]byte("0123456789abcdef"), 20_000) // more than a pipe holds
	var out, errs bytes.Buffer
	spec := sh("cat; echo done >&2")
	spec.Stdin, spec.Stdout, spec.Stderr = in, &out, &errs
	if exit, err := Run(t.Context(), spec, syscall.SIGTERM, time.Second); err != nil || !exit.Ok() {
		t.Fatal(exit, err)
	}
	if !bytes.Equal(out.Bytes(), in) || errs.String() != "done\n" {
		t.Errorf("stdout %d bytes of %d, stderr %q", out.Len(), len(in), errs.String())
	}
	out.Reset()
	spec = sh("echo a; echo b >&2; echo c; cat")
	spec.Stdout, spec.Stderr = &out, &out
	if _, err := Run(t.Context(), spec, syscall.SIGTERM, time.Second); err != nil || out.String() != "a\nb\nc\n" {
		t.Errorf("one writer for both got %q, %v", out.String(), err)
	}
	spec = sh("exit 0")
	spec.Stdin = in // nobody reads it
	if exit, err := Run(t.Context(), spec, syscall.SIGTERM, time.Second); err != nil || !exit.Ok() {
		t.Error(exit, err)
	}
}

func TestGrandchildHoldingThePipeDoesNotBlockWait(t *testing.T) {
	var out bytes.Buffer
	spec := sh("exec 3<&0; setsid sleep 1000 & echo $!")
	spec.Stdin = bytes.Repeat([]byte("x"), 1<<20) // which nobody reads, but it holds that pipe too
	spec.Stdout, spec.Mark = &out, Mark(t.TempDir(), "command", "i", "n")
	p, err := Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	p.Wait()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("Wait took %v", took)
	}
	if err := p.End(t.Context(), syscall.SIGTERM, time.Second); err != nil {
		t.Error(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(out.String()))
	if pid == 0 || alive(pid) {
		t.Errorf("grandchild %d lives on", pid)
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
			if took := time.Since(begin); took < 200*time.Millisecond || took > 5*time.Second {
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
	if err := p.End(t.Context(), syscall.SIGTERM, time.Minute); err != nil {
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
	if took := time.Since(begin); took > 5*time.Second || alive(pids[3]) {
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
	if err := p.End(t.Context(), syscall.SIGTERM, 30*time.Second); err != nil || time.Since(begin) > 10*time.Second {
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
	if err := p.Tree().End(t.Context(), syscall.SIGTERM, 30*time.Second); err != nil || time.Since(begin) > 10*time.Second {
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

func TestAdoptReapsOrphansAndNotOthersChildren(t *testing.T) {
	release, err := Adopt()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	dir := t.TempDir()
	cmd := exec.Command("/bin/sh", "-c", "exit 5")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	spec := sh("(setsid sh -c 'echo $$ >pid; sleep 0.2' &)")
	spec.Dir = dir
	if _, err := Run(t.Context(), spec, syscall.SIGTERM, time.Second); err != nil {
		t.Fatal(err)
	}
	orphan := pidIn(t, filepath.Join(dir, "pid"))
	if e, err := readEntry(orphan); err != nil || e.ppid != os.Getpid() {
		t.Errorf("the orphan is not ours: %+v, %v", e, err)
	}
	time.Sleep(4 * sweepPeriod) // as if os/exec took its time
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("os/exec lost its child: %v", err)
	}
	waitFor(t, "orphan reaped", func() bool { _, err := os.Stat(fmt.Sprintf("/proc/%d", orphan)); return err != nil })
}

func TestPlainChildrenAreNotAdopted(t *testing.T) {
	release, err := Adopt()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	plain := exec.Command("/bin/sleep", "1000")
	if err := plain.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := Start(sh("exit 0"))
	if err != nil {
		t.Fatal(err)
	}
	p.Wait()
	if !p.Alone() {
		t.Error("what os/exec started counts as left behind")
	}
	e, err := readEntry(plain.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	(&entry{pid: e.pid, start: e.start + 1}).signal(kill) // as if the PID had been reused
	Strays()
	plain.Process.Signal(syscall.SIGTERM)
	if err := plain.Wait(); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("another process was killed: %v", err)
	}
}

func TestStraysAreEnded(t *testing.T) {
	release, err := Adopt()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	dir := t.TempDir()
	spec := sh("(env -i setsid sh -c 'sleep 1000 & echo $$ >pid; wait' &)")
	spec.Dir, spec.Mark = dir, "m"
	p, err := Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	p.Wait()
	pid := pidIn(t, filepath.Join(dir, "pid"))
	waitFor(t, "adoption", func() bool { e, err := readEntry(pid); return err == nil && e.ppid == os.Getpid() })
	if p.Alone() {
		t.Error("Alone although something is left")
	}
	if n := Strays(); n != 2 {
		t.Errorf("%d strays, want the shell and its child", n)
	}
	if alive(pid) {
		t.Error("it lives on")
	}
}

// TestDyingParentsHideNothing plays a look at our children during which a parent
// dies: what it leaves is in the next one only.
func TestDyingParentsHideNothing(t *testing.T) {
	shell := func(dead bool) *entry { return &entry{pid: 7, start: 1, dead: dead} }
	child := func(dead bool) *entry { return &entry{pid: 8, start: 2, dead: dead} }
	for name, c := range map[string]struct {
		looks [][]*entry
		pids  []int
		ok    bool
	}{
		"nothing":         {[][]*entry{{}}, nil, true},
		"unknown":         {[][]*entry{nil}, nil, false},
		"alive":           {[][]*entry{{shell(false), child(true)}}, []int{7}, true},
		"dead":            {[][]*entry{{shell(true)}, {shell(true)}}, nil, true},
		"left by a death": {[][]*entry{{shell(true)}, {shell(true), child(false)}}, []int{8}, true},
		"left by two":     {[][]*entry{{shell(true)}, {shell(true), child(true)}, {{pid: 9}}}, []int{9}, true},
		"the same number": {[][]*entry{{shell(true)}, {{pid: 7, start: 5, dead: true}}, {child(false)}}, []int{8}, true},
	} {
		n := 0
		found, ok := living(func() []*entry { n++; return c.looks[n-1] })
		var pids []int
		for _, e := range found {
			pids = append(pids, e.pid)
		}
		if !slices.Equal(pids, c.pids) || ok != c.ok || n != len(c.looks) {
			t.Errorf("%s: %v, %v after %d looks; want %v, %v after %d", name, pids, ok, n, c.pids, c.ok, len(c.looks))
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

// syncBuffer is a buffer that may be read while a process writes.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

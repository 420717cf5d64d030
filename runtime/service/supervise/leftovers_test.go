//go:build linux

package supervise

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"instar/runtime/plan"
	"instar/runtime/process"
	"instar/runtime/service"
)

// superviseForEver is a supervisor in a process of its own, to be killed.
func superviseForEver(dir string) {
	s, err := New(Options{MarkBase: dir, LogDir: func(i string) string { return filepath.Join(dir, "logs", i) }})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	spec := func(name string, argv ...string) service.Change {
		return service.Change{Op: service.Start, Name: name, Spec: service.Spec{
			Name: name, Argv: argv, Dir: dir, Identity: plan.Identity{UID: -1}, StopSignal: "TERM", StopTimeout: patience,
			Env: []string{"PATH=" + plan.DefaultPath},
		}}
	}
	titled := spec("titled", "/proc/self/exe")
	titled.Spec.Env = append(titled.Spec.Env, "SUPERVISE_TEST_TITLE=1")
	for instance, changes := range map[string][]service.Change{
		"web": {spec("a", "/bin/sh", "-c", `exec >err 2>&1; trap 'echo bye >bye; exit' TERM; echo >ready; setsid sleep 100000 & while :; do sleep 0.01; done`), titled},
		// Its name begins with the other's, so their marks must not be mixed up.
		"web2": {spec("a", "/bin/sleep", "100000")},
	} {
		if err := s.Apply(context.Background(), instance, changes); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	pids := []int{}
	for _, key := range [][2]string{{"web", "a"}, {"web", "titled"}, {"web2", "a"}} {
		states, _ := s.Observe(context.Background(), key[0])
		pids = append(pids, states[key[1]].PID)
	}
	fmt.Println(pids[0], pids[1], pids[2])
	select {}
}

// overwriteEnvironment does what nginx and PostgreSQL do to show a title: it
// writes over the memory where the kernel shows the environment.
func overwriteEnvironment() {
	var start, end int64
	stat, err := os.ReadFile("/proc/self/stat")
	if err == nil {
		fields := strings.Fields(string(stat[strings.LastIndex(string(stat), ") "):]))
		_, err = fmt.Sscan(fields[50-2]+" "+fields[51-2], &start, &end) // see proc_pid_stat(5)
	}
	memory, oerr := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err == nil && oerr == nil {
		_, err = memory.WriteAt(bytes.Repeat([]byte("x"), int(end-start)), start)
	}
	if err != nil || oerr != nil {
		fmt.Println(err, oerr)
		os.Exit(1)
	}
	time.Sleep(time.Hour)
}

func TestLeftoversOfAKilledSupervisor(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"SUPERVISE_TEST_DIR=" + dir}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var a, titled, other int
	line, _ := bufio.NewReader(out).ReadString('\n')
	if _, err := fmt.Sscan(line, &a, &titled, &other); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	hidden := func() bool {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", titled))
		return err == nil && len(data) > 0 && !strings.Contains(string(data), "INSTAR")
	}
	waitFor(t, "the title", hidden)
	waitFor(t, "readiness", func() bool {
		_, err := os.Stat(filepath.Join(dir, "ready"))
		return err == nil && len(marked(t, dir)) >= 3
	})
	cmd.Process.Kill()
	cmd.Wait()
	for _, pid := range []int{a, titled, other} {
		if !alive(pid) {
			t.Fatalf("process %d did not outlive its supervisor", pid)
		}
	}

	b := newBench(t, func(o *Options) {
		o.MarkBase = dir
		o.LogDir = func(i string) string { return filepath.Join(dir, "logs", i) }
	})
	b.reconcile(b.sh("a", forever))
	if alive(a) || alive(titled) {
		t.Errorf("leftovers live on: %v %v", alive(a), alive(titled))
	}
	if _, err := os.Stat(filepath.Join(dir, "bye")); err != nil {
		t.Errorf("the leftover was not asked to end: %v", err)
	}
	if !alive(other) {
		t.Error("another instance was disturbed")
	}
	if err := b.Apply(t.Context(), "web2", nil); err != nil || alive(other) {
		t.Errorf("the other instance's leftover: %v", err)
	}
	if left := marked(t, dir); len(left) != 1 { // the new a
		t.Errorf("marked processes: %v", left)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(recordsFile(filepath.Join(dir, "logs", "web"))); err == nil {
		t.Error("records outlive a clean end")
	}
}

func TestRecordsStaySmall(t *testing.T) {
	var r records
	path := filepath.Join(t.TempDir(), "records")
	if err := r.begin(path); err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		r.add(record{Name: fmt.Sprint(i % 3)})
	}
	data, err := os.ReadFile(path)
	if n := strings.Count(string(data), "\n"); err != nil || n > 1013 || n < 3 || len(readRecords(path)) != 3 {
		t.Errorf("%d lines, %v", n, err)
	}
	r.close(true)
	if _, err := os.Stat(path); err == nil {
		t.Error("not removed")
	}
}

func descriptors(t testing.TB) int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestNoDescriptorLeaks(t *testing.T) {
	b := newBench(t)
	specs := func(n int) (specs []service.Spec) {
		for i := range 20 {
			s := b.sh(fmt.Sprint("s", i), "echo hello; "+forever)
			s.Digest = fmt.Sprint(n)
			specs = append(specs, s)
		}
		return specs
	}
	b.reconcile(specs(0)...)
	b.reconcile(specs(1)...)
	before := descriptors(t)
	for n := range 4 {
		b.reconcile(specs(n + 2)...)
		for i := range 20 {
			pid := b.pid(fmt.Sprint("s", i))
			syscall.Kill(pid, syscall.SIGKILL)
			waitFor(t, "restart", func() bool { s := b.state(fmt.Sprint("s", i)); return s.Status == service.Running && s.PID != pid })
		}
	}
	waitFor(t, fmt.Sprintf("%d descriptors again", before), func() bool { return descriptors(t) <= before+2 })
	b.reconcile()
	waitFor(t, "no more than a few descriptors", func() bool { return descriptors(t) <= before-60+2 })
}

func TestTwoHundredServices(t *testing.T) {
	b := newBench(t)
	var specs []service.Spec
	for i := range 200 {
		s := b.sh(fmt.Sprint("s", i), "")
		s.Argv = []string{"/bin/sleep", "100000"}
		if i > 0 && i%10 == 0 {
			s.After = []string{fmt.Sprint("s", i-1)}
		}
		specs = append(specs, s)
	}
	begin := time.Now()
	b.reconcile(specs...)
	up := time.Since(begin)
	states, _ := b.Observe(t.Context(), "web")
	for name, s := range states {
		if s.Status != service.Running {
			t.Errorf("%s is %+v", name, s)
		}
	}
	begin = time.Now()
	if again := b.reconcile(specs...); len(again) > 0 {
		t.Errorf("a second apply does %d things", len(again))
	}
	same := time.Since(begin)
	begin = time.Now()
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	down := time.Since(begin)
	t.Logf("200 services: up in %v, looked at in %v, down in %v", up, same, down)
}

// One look at all processes serves each instance that nobody else has served since
// before it, and none that somebody may have served after it.
func TestOneLookForManyInstances(t *testing.T) {
	alone := map[string]time.Time{}
	b := newBench(t, func(o *Options) { o.Alone = func(i string) time.Time { return alone[i] } })
	leave := func(instance string) *process.Process {
		t.Helper()
		p, err := process.Start(process.Spec{Argv: []string{"/bin/sleep", "100000"}, Dir: b.dir, Identity: plan.Identity{UID: -1},
			Mark: process.Mark(b.dir, markKind, instance, "a")})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	ends := func(instance string, p *process.Process) {
		t.Helper()
		if err := b.Apply(t.Context(), instance, nil); err != nil || alive(p.PID()) {
			t.Errorf("what was left of %s: %v", instance, err)
		}
	}
	one, two := leave("one"), leave("two")
	alone["one"], alone["two"], alone["three"] = time.Now(), time.Now(), time.Now()
	ends("one", one)
	late := leave("three") // nobody may do that
	if err := b.Apply(t.Context(), "three", nil); err != nil || !alive(late.PID()) {
		t.Errorf("there was another look: %v", err)
	}
	ends("two", two)
	four := leave("four")
	alone["four"] = time.Now()
	ends("four", four)
	unknown := leave("unknown")
	ends("unknown", unknown)
	if err := late.End(t.Context(), syscall.SIGKILL, 0); err != nil {
		t.Error(err)
	}
}

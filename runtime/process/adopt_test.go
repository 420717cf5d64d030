//go:build linux

package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

func TestAdoptReapsOrphans(t *testing.T) {
	release, err := Adopt()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	dir := t.TempDir()
	spec := sh("(setsid sh -c 'echo $$ >pid; while [ ! -e go ]; do sleep 0.01; done' &)")
	spec.Dir = dir
	if _, err := Run(t.Context(), spec, syscall.SIGTERM, time.Second); err != nil {
		t.Fatal(err)
	}
	orphan := pidIn(t, filepath.Join(dir, "pid"))
	if e, err := readEntry(orphan); err != nil || e.ppid != os.Getpid() {
		t.Errorf("the orphan is not ours: %+v, %v", e, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "orphan reaped", func() bool { _, err := os.Stat(fmt.Sprintf("/proc/%d", orphan)); return err != nil })
}

// What was started by other means is reaped only when nobody has waited for it for
// a while.
func TestSweepLeavesOthersChildren(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "exit 5")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	waitFor(t, "its end", func() bool { return !alive(pid) })
	first := sweep(nil)
	since, seen := first[pid]
	if again := sweep(map[int]time.Time{pid: time.Now()}); !seen || again[pid].Before(since) {
		t.Errorf("seen: %v, then %v", first, again)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("os/exec lost its child: %v", err)
	}
	other := exec.Command("/bin/true")
	other.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	pid = other.Process.Pid
	waitFor(t, "its end", func() bool { return !alive(pid) })
	if left := sweep(map[int]time.Time{pid: time.Now().Add(-zombieTime)}); len(left) != 0 {
		t.Errorf("not reaped: %v", left)
	}
	if err := other.Wait(); err == nil {
		t.Error("there was something to wait for")
	}
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

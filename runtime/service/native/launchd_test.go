//go:build linux

package native

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"instar/runtime/service"
	"instar/runtime/service/shim"
)

// paperLaunchd does what launchd is asked for, with processes of ours: jobs run
// from when they are loaded, and again a moment after they ended badly.
type paperLaunchd struct {
	t        testing.TB
	mu       sync.Mutex
	jobs     map[string]*paperJob // by target
	disabled map[string]bool
}

type paperJob struct {
	cmd   *exec.Cmd
	gone  bool          // unloaded
	ended chan struct{} // closed when nothing is started any more
}

func (l *paperLaunchd) launchctl(_ context.Context, args ...string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch verb := args[0]; verb {
	case "print-disabled":
		text := "disabled services = {\n"
		for target, is := range l.disabled {
			state := map[bool]string{true: "disabled", false: "enabled"}[is]
			text += fmt.Sprintf("\t\t%q => %s\n", filepath.Base(target), state)
		}
		return text + "}\n", nil
	case "enable", "disable":
		l.disabled[args[1]] = verb == "disable"
		return "", nil
	case "print":
		if l.jobs[args[1]] == nil {
			return "", fmt.Errorf("could not find service %s", args[1])
		}
		return "", nil
	case "bootout":
		job := l.jobs[args[1]]
		if job == nil {
			return "", fmt.Errorf("no such process: %s", args[1])
		}
		delete(l.jobs, args[1])
		job.gone = true
		job.cmd.Process.Signal(syscall.SIGTERM)
		l.mu.Unlock()
		<-job.ended
		l.mu.Lock()
		return "", nil
	case "bootstrap":
		var jobs [1]struct {
			Label            string
			ProgramArguments []string
		}
		if err := readPlists(&jobs, args[2]); err != nil {
			return "", err
		}
		job := jobs[0]
		target := args[1] + "/" + job.Label
		if l.jobs[target] != nil || l.disabled[target] {
			return "", fmt.Errorf("bootstrap failed: 5: %s", target)
		}
		running := &paperJob{ended: make(chan struct{})}
		l.jobs[target] = running
		running.cmd = exec.Command(job.ProgramArguments[0], job.ProgramArguments[1:]...)
		if err := running.cmd.Start(); err != nil {
			return "", err
		}
		go l.keep(running)
		return "", nil
	}
	return "", fmt.Errorf("unexpected: %q", args)
}

// keep starts a job again until it ends well, or is unloaded.
func (l *paperLaunchd) keep(job *paperJob) {
	defer close(job.ended)
	for job.cmd.Wait() != nil {
		l.mu.Lock()
		if job.gone {
			l.mu.Unlock()
			return
		}
		job.cmd = exec.Command(job.cmd.Path, job.cmd.Args[1:]...)
		err := job.cmd.Start()
		l.mu.Unlock()
		if err != nil {
			l.t.Error(err)
			return
		}
	}
}

// readPlists reads property lists by another one's parser.
func readPlists(into any, paths ...string) error {
	const script = "import json, plistlib, sys; print(json.dumps([plistlib.load(open(p, 'rb')) for p in sys.argv[1:]]))"
	out, err := exec.Command("python3", append([]string{"-c", script}, paths...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%q: %w: %s", paths, err, out)
	}
	return json.Unmarshal(out, into)
}

func needsPlistlib(t testing.TB) {
	t.Helper()
	if err := exec.Command("python3", "-c", "import plistlib").Run(); err != nil {
		t.Skipf("needs python3 with plistlib: %v", err)
	}
}

// onPaperLaunchd returns a backend for jobs in a folder of the test's own.
func onPaperLaunchd(t testing.TB, stateDir, binary string) (*shimmed, *paperLaunchd) {
	paper := &paperLaunchd{t: t, jobs: map[string]*paperJob{}, disabled: map[string]bool{}}
	return &shimmed{init: &launchd{dir: t.TempDir(), domain: "system", launchctl: paper.launchctl}, stateDir: stateDir, binary: binary}, paper
}

func TestLaunchdJob(t *testing.T) {
	m, _ := onPaperLaunchd(t, "/var/lib/instar", "/usr/local/bin/instar")
	artifacts, err := m.Render(sample())
	if err != nil || len(artifacts) != 1 || artifacts[0].Mode != 0o644 || filepath.Base(artifacts[0].Path) != "instar-my_2dweb-front_401.plist" {
		t.Fatalf("%+v, %v", artifacts, err)
	}
	golden := filepath.Join("testdata", "launchd.plist")
	if *updateGolden {
		if err := os.WriteFile(golden, artifacts[0].Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(artifacts[0].Data)); diff != "" {
		t.Errorf("%s (-update rewrites it):\n%s", golden, diff)
	}
	needsPlistlib(t)
	var jobs [1]map[string]any
	if err := readPlists(&jobs, golden); err != nil {
		t.Fatal(err)
	}
	job := jobs[0]
	spec := shim.At("/var/lib/instar", sample().Instance, sample().Name).SpecPath()
	if args := job["ProgramArguments"]; fmt.Sprint(args) != fmt.Sprint([]string{"/usr/local/bin/instar", "supervise", spec}) {
		t.Errorf("it starts %v", args)
	}
	if job["Label"] != "instar-my_2dweb-front_401" || job["RunAtLoad"] != true || fmt.Sprint(job["KeepAlive"]) != "map[SuccessfulExit:false]" {
		t.Errorf("the job is %v", job)
	}
}

// Whatever stands in paths, the job says it, and it is found there again.
func TestLaunchdPaths(t *testing.T) {
	needsPlistlib(t)
	part := rapid.StringOfN(rapid.RuneFrom([]rune("ab <>&\"'-]\\$`é€😀")), 1, 12, -1)
	l := &launchd{dir: "/jobs", domain: "system"}
	var files []string
	var wants [][]string
	for i := range 200 {
		m := &shimmed{init: l, stateDir: "/" + part.Example(2*i), binary: "/" + part.Example(2*i+1)}
		sc := m.script(service.Spec{Instance: "web", Name: "a--b"})
		data := m.render(sc)
		file := filepath.Join(t.TempDir(), "job.plist")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		files, wants = append(files, file), append(wants, []string{m.binary, "supervise", sc.spec})
		if spec, ok := l.specOf(strings.TrimPrefix(string(data), l.head())); !ok || spec != sc.spec {
			t.Fatalf("found %q, want %q", spec, sc.spec)
		}
	}
	var jobs []struct{ ProgramArguments []string }
	if err := readPlists(&jobs, files...); err != nil {
		t.Fatal(err)
	}
	for i, want := range wants {
		if got := jobs[i].ProgramArguments; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestLaunchdLabels(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"Web", "web", "_57eb", "_web", "w_eb", "WEB", "_5f", "__", "a@B", "A@b"} {
		l := label(ScriptName("i", name))
		if l != strings.ToLower(l) || seen[l] != "" {
			t.Errorf("%q is %q, as is %q", name, l, seen[l])
		}
		seen[l] = name
	}
}

func TestLaunchdLife(t *testing.T) {
	needsPlistlib(t)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m, paper := onPaperLaunchd(t, t.TempDir(), binary)
	h := &host{TB: t, Manager: m, init: m, instance: "web", stateDir: m.stateDir, dir: t.TempDir()}
	t.Cleanup(h.unload)
	specs := []service.Spec{h.sh("A", forever), h.sh("a", forever, "A")}
	if changes := h.reconcile(specs...); len(changes) != 2 {
		t.Fatalf("changes: %s", show(changes))
	}
	h.until("a", service.Running)
	h.settled(specs...)
	jobs, err := m.init.store().list("")
	if err != nil || len(jobs) != 2 {
		t.Fatalf("jobs %q, %v", jobs, err)
	}

	// A shim that is killed is started again by launchd, and tells of it.
	s := h.status("a")
	syscall.Kill(s.Shim.PID, syscall.SIGKILL)
	h.within(time.Minute, "another shim", func() bool {
		now, err := h.place("a").Status()
		return err == nil && now.Serving() && now.Shim.PID != s.Shim.PID && now.State.Status == service.Running
	})
	marker := markerPath(m.stateDir, "web", "a")
	h.within(time.Minute, "the marker of an exit", func() bool { _, err := os.Stat(marker); return err == nil })

	// One that was edited is put back.
	path := m.init.store().path(ScriptName("web", "a"))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(whole, []byte("<true/>"), []byte("<false/>"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	pid := h.pid("a")
	h.reconcile(specs...)
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, whole) || h.pid("a") != pid {
		t.Errorf("after an edit by hand: %v, process %d, then %d\n%s", err, pid, h.pid("a"), now)
	}

	// Stopped, it is not loaded, and not started with the machine.
	if err := m.Apply(t.Context(), "web", []service.Change{{Op: service.Stop, Name: "a"}}); err != nil {
		t.Fatal(err)
	}
	target := "system/" + label(ScriptName("web", "a"))
	if paper.jobs[target] != nil || !paper.disabled[target] {
		t.Errorf("stopped: loaded %v, disabled %v", paper.jobs[target] != nil, paper.disabled[target])
	}
	h.unload()
	if jobs, err := m.init.store().list(""); err != nil || len(jobs) != 0 || len(paper.jobs) != 0 {
		t.Errorf("left: %q, %v, loaded %d", jobs, err, len(paper.jobs))
	}
}

//go:build linux

package shim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"instar/runtime/service"
)

func TestFileThatOthersMade(t *testing.T) {
	b := newBench(t)
	p := b.write(b.spec("a", forever))
	os.Chmod(p.SpecPath(), 0o644)
	if _, err := p.Read(); err == nil || !strings.Contains(err.Error(), "others have access") {
		t.Errorf("error %v", err)
	}
	if changed, err := p.Write(File{Spec: b.spec("a", forever), StateDir: b.dir, LogDir: filepath.Join(b.dir, "logs"), Marker: b.marker("a")}); err != nil || !changed {
		t.Errorf("not put right: %v", err)
	}
	f, err := p.Read()
	if err != nil || !f.Intact {
		t.Fatalf("%+v %v", f, err)
	}
	data, _ := os.ReadFile(p.SpecPath())
	os.WriteFile(p.SpecPath(), []byte(strings.Replace(string(data), "sleep 100000", "sleep 1000", 1)), 0o600)
	if f, err = p.Read(); err != nil || f.Intact {
		t.Errorf("an edit is not seen: %v", err)
	}
	binary, _ := os.Executable()
	if err := Start(p, binary); err != nil {
		t.Fatal(err)
	}
	if s := b.status(p).State; s.Digest != "" || s.Status != service.Running {
		t.Errorf("it counts as started with what it was not: %+v", s)
	}
}

func TestTimer(t *testing.T) {
	b := newBench(t)
	spec := b.spec("tick", "echo x >>ticks")
	spec.Run, spec.Restart, spec.Schedule = true, "no", fmt.Sprintf("%d * * * *", time.Now().Add(30*time.Minute).Minute())
	p := b.start(spec)
	s := b.status(p)
	if s.State.Status != service.Waiting || s.State.Next.Before(time.Now()) || s.State.Next.After(time.Now().Add(time.Hour)) || s.State.Schedule != spec.Schedule {
		t.Errorf("state %+v", s.State)
	}
	spec.Schedule, spec.Digest = "0 0 1 1 *", "two"
	b.write(spec)
	if err := Tell(p, Reload); err != nil {
		t.Fatal(err)
	}
	if s := b.status(p); s.State.Schedule != spec.Schedule || s.State.Digest != "two" || !s.Serving() {
		t.Errorf("state %+v", s.State)
	}
	told := b.start(b.spec("told", `trap 'echo usr1 >>got' USR1; echo x >ready; while :; do sleep 0.02; done`))
	b.within(soon, "readiness", func() bool { return len(b.lines("ready")) == 1 })
	if err := signalMain(told, "USR1"); err != nil {
		t.Fatal(err)
	}
	b.within(soon, "signal", func() bool { return len(b.lines("got")) == 1 })
	if err := Stop(told); err != nil {
		t.Fatal(err)
	}
	if err := signalMain(told, "USR1"); err != nil {
		t.Errorf("what does not run needs no signal: %v", err)
	}
}

// TestRemovedPlace: a shim whose folder was removed ends with its service, at
// the latest when another one takes its place.
func TestRemovedPlace(t *testing.T) {
	b := newBench(t)
	p := b.start(b.spec("a", forever))
	before := b.status(p)
	if err := os.RemoveAll(string(p)); err != nil {
		t.Fatal(err)
	}
	b.start(b.spec("a", forever))
	b.within(soon, "the end of the first one", func() bool { return !before.Shim.Alive() && !before.Guard.Alive() && !before.Main.Alive() })
	b.within(soon, "the second one", func() bool { s := b.status(p); return s.State.Status == service.Running && s.Main.Alive() })
	if b.status(p).Shim == before.Shim {
		t.Error("it is the same")
	}
}

// TestMissingBinary: a guard does not try for ever what is not there any more.
func TestMissingBinary(t *testing.T) {
	b := newBench(t)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(b.dir, "instar")
	if err := os.Link(binary, link); err != nil {
		data, errRead := os.ReadFile(binary)
		if err := errors.Join(errRead, os.WriteFile(link, data, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	p := b.write(b.spec("a", forever))
	if err := Start(p, link); err != nil {
		t.Fatal(err)
	}
	before := b.status(p)
	os.Remove(link)
	before.Shim.Signal(syscall.SIGKILL)
	b.within(soon, "the guard's end", func() bool { return !before.Guard.Alive() })
	if lost, coming := b.status(p).Lost(p); !lost || coming {
		t.Errorf("lost %v, coming %v", lost, coming)
	}
}

// TestStartedByAService: what a service starts by instar is not its own, and
// stays when it ends.
func TestStartedByAService(t *testing.T) {
	b := newBench(t)
	inner := b.write(b.spec("inner", forever))
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	outer := b.spec("outer", "")
	outer.Argv = []string{binary, "supervise", "--start", inner.SpecPath()}
	outer.Run, outer.Restart = true, "on-failure"
	p := b.start(outer)
	b.within(soon, "the end of the outer shim", func() bool { s := b.status(p); return s.Final() && !s.Shim.Alive() })
	if b.status(p).State.Status != service.Done {
		t.Errorf("outer: %+v", b.status(p).State)
	}
	s := b.status(inner)
	b.running(inner)
	if !s.Shim.Alive() || !s.Guard.Alive() || s.State.Restarts != 0 {
		t.Errorf("inner: %+v", s)
	}
}

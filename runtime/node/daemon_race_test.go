package node

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"instar/runtime/control"
	"instar/runtime/request"
	"instar/runtime/service"
	"instar/runtime/state"
)

func (f *farm) settings(name string) *state.Settings {
	return &state.Settings{Profile: filepath.Join(f.dir, "profiles", name), Root: filepath.Join(f.dir, "roots", name), Release: "/usr"}
}

// stopped waits until an instance is, and its request says so.
func (f *farm) stopped(name string) {
	f.t.Helper()
	f.until("stopped", func() bool {
		r, _, err := request.Read(f.home, name)
		return err == nil && r.State == state.Stopped && f.service(name, "a") == service.Stopped && Pending(f.home, name) == nil
	})
}

// A request that was written a moment ago is not lost to an apply that comes
// before the node has noticed it.
func TestDaemonUnnoticedRequest(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "service a")
	f.request("web", "started")
	f.run()
	f.settled("web")
	f.request("web", "stopped")
	f.do("web", control.Action{Verb: "apply", Settings: f.settings("web")})
	f.stopped("web")
}

// Nor is one that comes while the apply is at work.
func TestDaemonRequestWhileApplying(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "service a")
	f.request("web", "started")
	f.run()
	f.settled("web")
	f.profile("web", "wait", "service a")
	done := make(chan struct{})
	n := f.count("web")
	go func() {
		defer close(done)
		f.do("web", control.Action{Verb: "apply", Settings: f.settings("web")})
	}()
	f.until("evaluated", func() bool { return f.count("web") > n })
	f.request("web", "stopped")
	close(f.hanging)
	<-done
	f.stopped("web")
}

// A look at a request that the daemon is writing itself finds no change: nothing is
// processed for it.
func TestDaemonLooksWhileWriting(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "service a")
	f.request("web", "started")
	f.run()
	f.settled("web")
	k, n := f.find("web"), f.count("web")
	var over atomic.Bool
	var looking sync.WaitGroup
	looking.Go(func() {
		for !over.Load() {
			f.look("web")
		}
	})
	for i := range 200 {
		s := f.settings("web")
		s.Wait = time.Duration(i+1) * time.Second
		if err := k.rewrite(request.Of("web", *s, state.Started)); err != nil {
			t.Error(err)
		}
	}
	over.Store(true)
	looking.Wait()
	f.do("web", control.Action{Verb: "apply"})
	if got := f.count("web") - n; got != 1 {
		t.Errorf("processed %d times, want once", got)
	}
}

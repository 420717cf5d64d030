package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"instar/runtime/control"
	"instar/runtime/request"
	"instar/runtime/service"
	"instar/runtime/state"
)

// The source is followed where others cannot write it.
func TestDaemonFollowsATrustedSource(t *testing.T) {
	f := newFarm(t)
	f.trust = trustedHere(t, f)
	f.profile("web", "service a")
	f.request("web", "started")
	f.run()
	f.runs("web", "a")
	f.settled("web")
	f.profile("web", "service b")
	f.runs("web", "b")
	f.until("told", func() bool { got := f.whys("web"); return got[len(got)-1] == "profile changed" })
}

// It is not followed where others can write a file, a folder, or the way to it.
func TestDaemonDoesNotFollowAnUntrustedSource(t *testing.T) {
	for what, spoil := range map[string]func(dir string) error{
		"file":   func(dir string) error { return os.Chmod(filepath.Join(dir, "instance.star"), 0o666) },
		"folder": func(dir string) error { return os.Chmod(dir, 0o777) },
		"way":    func(dir string) error { return os.Chmod(filepath.Dir(dir), 0o775) },
		"other": func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "lib.star"), nil, 0o600), os.Chmod(filepath.Join(dir, "lib.star"), 0o622))
		},
	} {
		t.Run(what, func(t *testing.T) {
			f := newFarm(t)
			f.trust = trustedHere(t, f)
			dir := f.profile("web", "service a")
			f.check(spoil(dir))
			f.request("web", "started")
			f.run()
			f.runs("web", "a")
			f.settled("web")
			f.profile("web", "service b")
			f.scan()
			f.do("web", control.Action{Verb: "bang", Reason: "look again"})
			if f.service("web", "b") != "" || f.service("web", "a") != service.Running {
				t.Errorf("it runs what anybody could have written")
			}
			// Without a copy, it says what is wrong.
			f.check(os.RemoveAll(f.home.Instance("web").Path("profile")))
			f.do("web", control.Action{Verb: "bang", Reason: "and again"})
			if got := f.problem("web"); !strings.Contains(got, "no copy of the profile") || !strings.Contains(got, "writable by others") {
				t.Errorf("problem: %s", got)
			}
		})
	}
}

// One bang until the next success, and the name of another instance or service
// that merely contains it is not touched.
func TestDaemonBangs(t *testing.T) {
	f := newFarm(t)
	for _, name := range []string{"part1", "part1a"} {
		f.profile(name, "service a")
		f.request(name, "started")
	}
	f.run()
	f.settled("part1")
	f.settled("part1a")
	n, other := f.count("part1"), f.count("part1a")
	f.manager.exits <- service.Exit{Instance: "part1", Name: "a", Reason: "exit status 0", At: time.Now()}
	f.until("processed", func() bool { return f.count("part1") == n+1 })
	f.until("told", func() bool {
		whys := f.whys("part1")
		return whys[len(whys)-1] == "bang: service a ended: exit status 0"
	})
	st, err := f.home.Instance("part1").Load()
	f.check(err)
	if st.LastBang == nil || !strings.Contains(st.LastBang.Reason, "exit status 0") {
		t.Errorf("last bang: %+v", st.LastBang)
	}
	if f.count("part1a") != other {
		t.Error("the other was processed")
	}
	f.manager.exits <- service.Exit{Instance: "stranger", Name: "a"}
}

// A storm of exits costs one processing per step of the back-off, however many
// there are; calm, or a change of inputs, ends the pauses.
func TestDaemonStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShare(nil, "web")
		ctx, cancel := context.WithCancel(t.Context())
		exits, err := s.Exits(ctx)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		var came []time.Duration
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range exits {
				came = append(came, time.Since(begin).Round(time.Second))
			}
		}()
		for range 6000 { // a minute
			s.exit(service.Exit{Instance: "web", Name: "a"})
			time.Sleep(10 * time.Millisecond)
		}
		want := []time.Duration{0, 1 * time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second, 31 * time.Second}
		time.Sleep(time.Hour) // the last one is delivered, and calm ends the pauses
		s.exit(service.Exit{})
		synctest.Wait()
		cancel()
		<-done
		want = append(want, 63*time.Second, time.Minute+time.Hour)
		if !slices.Equal(came, want) {
			t.Errorf("delivered at %v\nwant         %v", came, want)
		}
	})
}

func TestDaemonDestroyed(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "service a", "once")
	f.request("web", "started")
	f.run()
	f.runs("web", "a")
	f.settled("web")
	f.request("web", "destroyed")
	f.until("unloaded", func() bool { return f.service("web", "a") == "" })
	f.settled("web")
	if _, err := f.disk("web").Stat("data"); err != nil {
		t.Errorf("its data is gone: %v", err)
	}
	// Destroyed, it rests, also after a restart; requested again, it is back.
	f.retire()
	n := f.count("web")
	f.run()
	f.scan()
	if f.count("web") != n {
		t.Error("what is destroyed is processed")
	}
	f.request("web", "started")
	f.runs("web", "a")
	f.settled("web")
	f.do("web", control.Action{Verb: "destroy", Purge: true})
	f.until("forgotten", func() bool { return len(f.Instances()) == 0 })
	if names, _ := request.Names(f.home); len(names) > 0 || f.home.Instance("web").Exists() {
		t.Errorf("left: %v", names)
	}
	if _, err := f.disk("web").Stat("data"); err == nil {
		t.Error("its data is there")
	}
}

// The retention is stored once, never shortened, and outlives the daemon.
func TestDaemonRetention(t *testing.T) {
	t.Run("same", func(t *testing.T) { testRetention(t, false) })
	t.Run("next", func(t *testing.T) { testRetention(t, true) })
}

// testRetention destroys; with again set, the next daemon sees that the time has
// passed.
func testRetention(t *testing.T, again bool) {
	f := newFarm(t)
	f.profile("web", "once")
	f.request("web", "started")
	f.run()
	f.settled("web")
	f.do("web", control.Action{Verb: "destroy", Retention: "1h"})
	until := Retained(f.home, "web")
	if d := time.Until(until); d < time.Hour-patience || d > time.Hour {
		t.Fatalf("kept for %v", d)
	}
	r := f.do("web", control.Action{Verb: "destroy", Purge: true})
	if r.Error == nil || !strings.Contains(r.Error.Message, "is kept until") {
		t.Errorf("purged before its time: %+v", r.Error)
	}
	f.request("web", "destroyed", func(r *request.Request) { r.Retention, r.Purge = "1ms", true })
	f.settled("web")
	if got := Retained(f.home, "web"); !got.Equal(until) {
		t.Errorf("kept until %v, was %v", got, until)
	}
	if _, err := f.disk("web").Stat("data"); err != nil {
		t.Errorf("its data is gone: %v", err)
	}
	f.profile("brief", "once")
	f.request("brief", "started")
	f.settled("brief")
	begin := time.Now()
	f.do("brief", control.Action{Verb: "destroy", Retention: "1500ms"})
	if again {
		f.retire()
		f.run()
	}
	f.until("purged", func() bool { return !f.home.Instance("brief").Exists() })
	if time.Since(begin) < 1500*time.Millisecond {
		t.Error("too early")
	}
}

// An apply that fails for the first time leaves nothing that is tried again, and
// one that fails later leaves what was good.
func TestDaemonApplies(t *testing.T) {
	f := newFarm(t)
	f.run()
	dir := f.profile("web", "fail")
	settings := &state.Settings{Profile: dir, Root: filepath.Join(f.dir, "roots", "web"), Release: "/usr"}
	if r := f.do("web", control.Action{Verb: "apply", Settings: settings}); r.Error == nil {
		t.Fatal("no error")
	}
	f.until("not served", func() bool { return len(f.Instances()) == 0 })
	if names, _ := request.Names(f.home); len(names) > 0 {
		t.Errorf("requests: %v", names)
	}
	f.profile("web", "service a")
	if r := f.do("web", control.Action{Verb: "apply", Settings: settings}); r.Error != nil || len(r.Changes) != 1 {
		t.Fatalf("%+v", r)
	}
	f.runs("web", "a")
	if Pending(f.home, "web") != nil {
		t.Error("the request is not fulfilled")
	}
	f.profile("web", "fail")
	if r := f.do("web", control.Action{Verb: "apply", Settings: settings}); r.Error == nil {
		t.Fatal("no error")
	}
	if r := f.do("web", control.Action{Verb: "bang", Reason: "again"}); r.Error != nil {
		t.Errorf("the copy that was good is not run: %v", r.Error)
	}
}

// What takes the place of a daemon that was killed continues what it did.
func TestDaemonKilled(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "service a")
	f.request("web", "started")
	f.run()
	f.settled("web")
	f.retire()
	f.check(os.WriteFile(f.home.Instance("web").Path(memoFile), []byte(`{"format_ver`), 0o600))
	f.check(os.WriteFile(f.home.Instance("web").Path("history.jsonl"), []byte(`{"cut`), 0o600))
	f.check(os.WriteFile(request.Path(f.home, "web")+".tmp", []byte(`{"cut`), 0o600))
	f.check(os.MkdirAll(f.home.Instance("web").Path("profile", "new-123"), 0o700))
	f.run()
	f.settled("web")
	f.runs("web", "a")
}

// Whoever takes the request's file away takes the instance from the node, and
// its services run on.
func TestDaemonRequestTakenAway(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "service a")
	f.request("web", "started")
	f.run()
	f.settled("web")
	f.check(request.Remove(f.home, "web"))
	f.until("not served", func() bool { return len(f.Instances()) == 0 })
	f.runs("web", "a")
	f.request("web", "started")
	f.until("served again", func() bool { return len(f.Instances()) == 1 })
}

// A forced processing that fails does not leave the instance up to date: it is
// tried again.
func TestDaemonForcedFailure(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "service a")
	f.request("web", "started")
	f.run()
	f.settled("web")
	f.set(true)
	if r := f.do("web", control.Action{Verb: "bang", Reason: "forced"}); r.Error == nil {
		t.Fatal("no error")
	}
	n := f.count("web")
	f.set(false)
	f.until("tried again", func() bool { return f.count("web") > n && f.problem("web") == "" })
	if got := f.service("web", "a"); got != service.Running {
		t.Errorf("a is %s", got)
	}
}

func (f *farm) set(broken bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = broken
}

// Processing again and again leaves no open file behind.
func TestDaemonNoDescriptorLeak(t *testing.T) {
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	f := newFarm(t)
	f.profile("web", "service a")
	f.request("web", "started")
	f.run()
	f.settled("web")
	f.do("web", control.Action{Verb: "bang"})
	before := open()
	for i := range 100 {
		f.do("web", control.Action{Verb: "bang"})
		f.do("web", control.Action{Verb: "apply", Settings: &state.Settings{Profile: filepath.Join(f.dir, "profiles", "web"),
			Root: filepath.Join(f.dir, "roots", "web"), Wait: time.Duration(i)}})
	}
	if after := open(); after > before+5 {
		t.Errorf("%d files were open, and now %d", before, after)
	}
}

// A defect that one instance comes upon is told, and ends no other.
func TestDaemonDefect(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "panic")
	f.profile("good", "service a")
	f.request("web", "started")
	f.request("good", "started")
	f.run()
	f.runs("good", "a")
	f.until("told", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return slices.ContainsFunc(f.logs, func(l string) bool { return strings.HasPrefix(l, "web: a defect of instar: ouch") })
	})
	f.profile("web", "service a")
	f.request("web", "started", func(r *request.Request) { r.Wait = "1s" })
	f.runs("web", "a")
}

// Many come and go at once.
func TestDaemonMany(t *testing.T) {
	f := newFarm(t)
	const many = 100
	for i := range many {
		name := fmt.Sprintf("i%d", i)
		f.profile(name, "service a")
		f.request(name, "started")
	}
	f.run()
	for i := range many {
		f.settled(fmt.Sprintf("i%d", i))
	}
}

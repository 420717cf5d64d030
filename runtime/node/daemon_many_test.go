package node

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/fsnotify/fsnotify"

	"instar/runtime/control"
	"instar/runtime/request"
)

// Of hundreds of instances, some are broken in each of the ways that there are:
// all others are served, each broken one is named, and those that are mended are
// served, too.
func TestDaemonManySomeBroken(t *testing.T) {
	f := newFarm(t)
	const many = 300
	names := make([]string, many)
	want := map[string]string{} // what is said of those that are broken
	for i := range names {
		name := fmt.Sprintf("i%03d", i)
		names[i] = name
		f.profile(name, "service a")
		switch i % 30 {
		case 3:
			f.profile(name, "fail")
			want[name] = "broken profile"
		case 7:
			f.check(os.RemoveAll(f.profile(name)))
			want[name] = "cannot find the profile"
		case 11, 12:
			f.check(f.home.Instance(name).Make())
			f.check(os.WriteFile(f.home.Instance(name).Path("state.json"), []byte(`{"format_version":1,"ins`), 0o600))
			want[name] = "cannot read state"
		case 19:
			f.profile(name, "panic")
			want[name] = ""
		}
		f.request(name, "started", func(r *request.Request) {
			if i%30 == 23 {
				r.User, want[name] = "nobody-at-all", "no such user"
			}
		})
		if i%30 == 27 {
			f.check(os.WriteFile(request.Path(f.home, name), []byte("{"), 0o600))
			want[name] = "no JSON"
		}
	}
	f.profile("i000", "hang")
	f.request("i000", "started")
	want["i000"] = ""
	f.run()
	said := func(name string) string {
		if _, err := f.Status(context.Background(), name, false); err != nil {
			return err.Error()
		}
		return f.problem(name)
	}
	for _, name := range names {
		if text, broken := want[name]; broken {
			f.until(name+" is reported", func() bool { return strings.Contains(said(name), text) })
			continue
		}
		f.settled(name)
		f.runs(name, "a")
		if p := said(name); p != "" {
			t.Errorf("%s: %s", name, p)
		}
	}
	if len(f.Instances()) != many {
		t.Errorf("%d instances are known", len(f.Instances()))
	}
	for i, name := range names {
		switch i % 30 {
		case 5: // one that works, and is stopped
			f.request(name, "stopped")
		case 3, 7, 27:
			f.profile(name, "service a")
			f.request(name, "started")
		case 11:
			f.check(os.Remove(f.home.Instance(name).Path("state.json")))
			f.do(name, control.Action{Verb: "bang", Reason: "look"})
		default:
			continue
		}
		f.settled(name)
		f.until(name+" is well", func() bool { return said(name) == "" })
	}
}

// Hundreds wait for their turn: what somebody asks for comes first.
func TestDaemonAskedComesFirst(t *testing.T) {
	f := newFarm(t)
	f.parallel = 1
	f.profile("a", "wait")
	f.request("a", "started")
	f.run()
	f.until("a is at work", func() bool { return f.count("a") == 1 })
	names := []string{"b", "c", "d", "e", "f"}
	for _, name := range names {
		f.profile(name, "service a")
		f.request(name, "started")
		f.until(name+" waits", func() bool {
			k := f.find(name)
			if k == nil {
				return false
			}
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.waiter != nil
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.do("f", control.Action{Verb: "apply"})
	}()
	f.until("f is asked", func() bool { return f.find("f").running().isAsked() })
	close(f.hanging)
	<-done
	for _, name := range names {
		f.settled(name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if at := slices.Index(f.order, "f"); at != 1 {
		t.Errorf("evaluated in the order %q", f.order)
	}
}

// Where the system has nothing left to watch files with, the node serves all the
// same, says what that means, and finds changes when it looks at all.
func TestDaemonWithoutWatches(t *testing.T) {
	defer func(real func() (*fsnotify.Watcher, error)) { newWatcher = real }(newWatcher)
	newWatcher = func() (*fsnotify.Watcher, error) { return nil, os.NewSyscallError("inotify_init", syscall.EMFILE) }
	f := newFarm(t)
	f.profile("a", "service a")
	f.request("a", "started")
	f.run()
	f.settled("a")
	f.mu.Lock()
	if said := strings.Join(f.logs, "\n"); strings.Count(said, "cannot watch") != 1 || !strings.Contains(said, "once a minute") {
		t.Errorf("it says:\n%s", said)
	}
	f.mu.Unlock()
	f.profile("b", "service b")
	f.request("b", "started")
	f.request("a", "stopped")
	f.scan() // nothing else goes on
	f.settled("a")
	f.settled("b")
	f.retire()
}

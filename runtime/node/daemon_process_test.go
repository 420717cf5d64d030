package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"instar/runtime/control"
	"instar/runtime/request"
	"instar/runtime/service"
)

func TestDaemonFirstStart(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "service a")
	f.request("web", "started")
	f.run()
	f.runs("web", "a")
	f.settled("web")
	f.until("told", func() bool { return slices.Equal(f.whys("web"), []string{"requested"}) })
}

func TestDaemonNothingToDo(t *testing.T) {
	f := newFarm(t)
	f.run()
	f.retire()
	entries, err := os.ReadDir(f.dir)
	f.check(err)
	if len(entries) != 1 || entries[0].Name() != "state" {
		t.Errorf("it made %v", entries)
	}
	if _, err := os.Lstat(filepath.Join(string(f.home), "instances")); !os.IsNotExist(err) {
		t.Errorf("instances: %v", err)
	}
}

// A request is noticed, and not only found by a scan.
func TestDaemonNoticesRequests(t *testing.T) {
	f := newFarm(t)
	f.run()
	f.profile("web", "service a")
	f.request("web", "started")
	f.runs("web", "a")
}

func TestDaemonStartedToStoppedToStarted(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "service a")
	f.request("web", "started")
	f.run()
	f.runs("web", "a")
	f.request("web", "stopped")
	f.until("stopped", func() bool { return f.service("web", "a") == service.Stopped })
	f.settled("web")
	f.request("web", "started")
	f.runs("web", "a")
}

// Stopped although the profile is broken, and so after a restart of the daemon.
func TestDaemonStopsABrokenProfile(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "service a")
	f.request("web", "started")
	f.run()
	f.runs("web", "a")
	f.profile("web", "fail")
	f.request("web", "stopped")
	f.until("stopped", func() bool { return f.service("web", "a") == service.Stopped })
	f.retire()
	f.run()
	f.until("failed", func() bool { return f.problem("web") != "" })
	if got := f.service("web", "a"); got != service.Stopped {
		t.Errorf("a is %s", got)
	}
}

// A profile that fails leaves alone what runs, and says why, masked.
func TestDaemonStartedThenFailingProfile(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "service a")
	f.request("web", "started")
	f.run()
	f.runs("web", "a")
	f.settled("web")
	changes := len(f.manager.Changes("web"))
	f.profile("web", "fail")
	f.request("web", "started", func(r *request.Request) { r.Wait = "1s" })
	f.until("reported", func() bool { return strings.Contains(f.problem("web"), "broken profile") })
	if strings.Contains(f.problem("web"), "topsecret") {
		t.Errorf("a secret is told: %s", f.problem("web"))
	}
	if got := len(f.manager.Changes("web")); got != changes || f.service("web", "a") != service.Running {
		t.Errorf("services were touched: %v", f.manager.Changes("web"))
	}
	n := f.count("web")
	f.until("tried again", func() bool { return f.count("web") > n })
	// A change of inputs ends the pause.
	f.profile("web", "service a")
	f.request("web", "started", func(r *request.Request) { r.Wait = "2s" })
	f.settled("web")
	f.until("well again", func() bool { return f.problem("web") == "" })
}

// One fails, one lacks its profile, one has a request that cannot be meant, one
// hangs, one is processed by somebody else: the others serve, and each is named.
func TestDaemonOneFailingInstanceLeavesTheOthers(t *testing.T) {
	f := newFarm(t)
	f.parallel = 1
	f.profile("bad", "fail")
	f.profile("hung", "hang")
	f.profile("good", "service a")
	f.profile("user", "service a")
	for _, name := range []string{"bad", "hung", "gone", "good"} {
		f.request(name, "started")
	}
	f.request("user", "started", func(r *request.Request) { r.User = "nobody-at-all" })
	f.check(os.WriteFile(request.Path(f.home, "junk"), []byte(`{"format_version":1,"instance":"junk","stat":"started"}`), 0o600))
	f.run()
	f.runs("good", "a")
	for name, want := range map[string]string{"bad": "broken profile", "gone": "profile", "user": "no such user", "junk": `unknown field "stat"`} {
		f.until(name+" is reported", func() bool { return strings.Contains(f.problem(name), want) })
	}
	if f.problem("good") != "" {
		t.Errorf("good: %s", f.problem("good"))
	}
}

// Requests that cannot be meant are told, and a good one mends that.
func TestDaemonRequestErrors(t *testing.T) {
	f := newFarm(t)
	f.run()
	write := func(text string) {
		f.t.Helper()
		f.check(os.WriteFile(request.Path(f.home, "web")+".tmp", []byte(text), 0o600))
		f.check(os.Rename(request.Path(f.home, "web")+".tmp", request.Path(f.home, "web")))
	}
	for text, want := range map[string]string{
		``:                                    "no JSON",
		`[]`:                                  "no JSON object but a JSON array",
		`{"format_version":2}`:                "format_version is 2",
		`{"format_version":1}{}`:              "no JSON",
		`{"format_version":1,"instance":"x"}`: `instance is "x"`,
		`{"format_version":1,"instance":"web","state":"up"}`:                                                      `state is "up"`,
		`{"format_version":1,"instance":"web","stat":"stopped"}`:                                                  `unknown field "stat"`,
		`{"format_version":1,"instance":"web","state":true}`:                                                      "state cannot be a JSON bool",
		`{"format_version":1,"instance":"web","params":[1]}`:                                                      "params cannot be a JSON array",
		`{"format_version":1,"instance":"web"}`:                                                                   "profile is missing",
		`{"format_version":1,"instance":"web","state":"started"}`:                                                 "profile is missing",
		`{"format_version":1,"instance":"web","state":"started","profile":"web"}`:                                 "absolute path",
		`{"format_version":1,"instance":"web","state":"started","profile":"/a","root":"/a/../b"}`:                 "absolute path",
		`{"format_version":1,"instance":"web","state":"started","profile":"/a","purge":true}`:                     "purge",
		`{"format_version":1,"instance":"web","state":"destroyed","profile":"/a","retention":"soon"}`:             "retention is",
		`{"format_version":1,"instance":"web","state":"started","profile":"/a","wait":"x"}`:                       "wait is",
		`{"format_version":1,"instance":"web","state":"started","profile":"/a","params":{"a":1},"set":{"a":"1"}}`: `"a" stands in`,
	} {
		write(text)
		f.until(text, func() bool { return strings.Contains(f.problem("web"), want) })
	}
	f.check(os.Chmod(request.Path(f.home, "web"), 0o666))
	f.scanNow()
	f.until("writable by others", func() bool { return strings.Contains(f.problem("web"), "writable by others") })
	f.check(os.Remove(request.Path(f.home, "web")))
	f.profile("web", "service a")
	f.request("web", "started")
	f.runs("web", "a")
	f.until("no problem", func() bool { return f.problem("web") == "" })
}

func (f *farm) scanNow() { f.look("web") }

// A repeated identical request changes nothing; what an operator did since stays.
func TestDaemonSameRequestSameInstance(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "service a")
	f.request("web", "started")
	f.run()
	f.settled("web")
	f.request("web", "started")
	f.look("web") // at the latest now it is noticed
	f.until("what is submitted is done", func() bool {
		k := f.find("web")
		k.mu.Lock()
		defer k.mu.Unlock()
		return !k.submitting
	})
	f.do("web", control.Action{Verb: "stop"})
	f.settled("web")
	f.retire() // what has begun has ended
	want := []string{"requested", "asked: stop", "boot"}
	if got := f.whys("web"); !slices.Equal(got, want[:2]) {
		t.Errorf("it was processed: %q", got)
	}
	f.run()
	f.until("boot", func() bool { return slices.Equal(f.whys("web"), want) })
	if got := f.service("web", "a"); got != service.Stopped {
		t.Errorf("a is %s", got)
	}
}

// "Different", never "newer": an older copy of the profile is one that differs.
func TestDaemonOlderButDifferent(t *testing.T) {
	f := newFarm(t)
	f.trust = trustedHere(t, f)
	dir := f.profile("web", "service a")
	f.request("web", "started")
	f.run()
	f.runs("web", "a")
	f.settled("web")
	f.profile("web", "service b")
	old := time.Now().Add(-1000 * time.Hour)
	f.check(os.Chtimes(filepath.Join(dir, "instance.star"), old, old))
	f.runs("web", "b")
}

// Another copy of the profile is processed although the request is the same, and
// although it was stored while the earlier one was being evaluated.
func TestDaemonAnotherProfileOfTheSameRequest(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "wait", "service a")
	f.request("web", "started")
	f.run()
	f.until("evaluated", func() bool { return f.count("web") > 0 })
	f.profile("web", "service bb")
	f.request("web", "started")
	close(f.hanging)
	f.runs("web", "bb")
	f.profile("web", "service ccc")
	f.request("web", "started")
	f.runs("web", "ccc")
}

// What never succeeded has a history, too.
func TestDaemonHistoryOfFailures(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "fail")
	f.request("web", "started")
	f.run()
	f.until("failed", func() bool { return f.problem("web") != "" })
	f.until("told", func() bool { return len(f.whys("web")) > 0 })
	if why := f.whys("web")[0]; why != "requested" {
		t.Errorf("why: %q", why)
	}
}

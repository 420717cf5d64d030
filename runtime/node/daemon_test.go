package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/afero"

	"instar/runtime/control"
	"instar/runtime/engine"
	"instar/runtime/fsys"
	"instar/runtime/history"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/request"
	"instar/runtime/secret"
	"instar/runtime/service"
	"instar/runtime/state"
)

// farm is a state folder with a daemon, its manager and its profiles. A profile
// is a text of lines: "service NAME", "once" (data), "fail", "hang".
type farm struct {
	t       *testing.T
	home    state.Home
	dir     string
	manager *fakeManager
	retire  func()
	*Daemon

	mu        sync.Mutex
	evaluated map[string]int // how often, by instance
	disks     map[string]*fsys.Overlay
	logs      []string
	hanging   chan struct{} // closed at the end
	trust     request.Trust
	parallel  int
}

// fakeManager records, and has exits.
type fakeManager struct {
	service.Recorder
	exits chan service.Exit
}

func (m *fakeManager) Platform() string { return "fake" }
func (m *fakeManager) Exits(ctx context.Context) (<-chan service.Exit, error) {
	out := make(chan service.Exit)
	go func() {
		defer close(out)
		for {
			select {
			case x := <-m.exits:
				select {
				case out <- x:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func newFarm(t *testing.T) *farm {
	t.Helper()
	dir := t.TempDir()
	return &farm{t: t, dir: dir, home: state.Home(filepath.Join(dir, "state")), manager: &fakeManager{exits: make(chan service.Exit, 10000)},
		evaluated: map[string]int{}, disks: map[string]*fsys.Overlay{}, hanging: make(chan struct{}), trust: request.Trust{UID: -7}}
}

// run starts the daemon; the returned function ends it.
func (f *farm) run() {
	f.t.Helper()
	f.Daemon = NewDaemon(DaemonOptions{
		Home: f.home, Subject: f.subject, Trust: f.trust, Parallel: f.parallel,
		Manager: func(setting string) (service.Manager, error) {
			if setting == "none" {
				return nil, nil
			}
			return f.manager, nil
		},
		Settings: func(r *request.Request) (state.Settings, error) {
			s := r.Settings()
			if s.Root == "" {
				s.Root = filepath.Join(f.dir, "roots", r.Instance)
			}
			if s.User == "nobody-at-all" {
				return s, errors.New("no such user")
			}
			return s, nil
		},
		Merge: func(_, _, changed state.Settings) state.Settings { return changed },
		Log: func(name, text string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.logs = append(f.logs, name+": "+text)
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- f.Run(ctx, func() { close(ready) }) }()
	var once sync.Once
	f.retire = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					f.t.Errorf("the daemon: %v", err)
				}
			case <-time.After(10 * time.Second):
				f.t.Error("the daemon has not ended in ten seconds")
			}
		})
	}
	f.t.Cleanup(f.retire)
	select {
	case <-ready:
	case err := <-done:
		f.t.Fatalf("the daemon: %v", err)
	}
}

func (f *farm) subject(name string) Subject {
	folder := f.home.Instance(name)
	return Subject{
		Options: Options{
			Name: name, Lock: folder.Lock, Load: folder.Load, Save: folder.Save, Mask: secret.New([]string{"topsecret"}),
			Status: func(st *state.State, _ bool) (*report.Status, error) {
				return &report.Status{Instance: name, State: st.Requested}, nil
			},
			Exit: func(_ *report.Report, err error) int {
				if err != nil {
					return 1
				}
				return 0
			},
		},
		Build: func(s state.Settings, profile string, m service.Manager, _ control.Action) (*engine.Engine, func(), error) {
			e := &engine.Engine{Name: name, Settings: s, Disk: farmDisk{f.disk(name)}, Store: folder, Manager: m, Mask: secret.New([]string{"topsecret"}),
				Commands: engine.Pretend{Dir: folder.Path("commands")},
				Identity: plan.Identity{UID: -1, GID: -1, Home: s.Root},
				Evaluate: func(ctx context.Context, _ *state.State, _ plan.View) (*plan.Plan, error) {
					return f.evaluate(ctx, name, profile)
				}}
			return e, func() {}, nil
		},
		Alone: func() (func(), error) { return func() {}, nil },
	}
}

type farmDisk struct{ *fsys.Overlay }

func (d farmDisk) Peek() (afero.Fs, error) { return d.Overlay, nil }
func (d farmDisk) Open() (afero.Fs, error) { return d.Overlay, nil }
func (d farmDisk) Remove() error           { return nil }

func (f *farm) disk(name string) *fsys.Overlay {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.disks[name] == nil {
		f.disks[name] = fsys.NewOverlay(nil).NoFollow()
	}
	return f.disks[name]
}

func (f *farm) evaluate(ctx context.Context, name, profile string) (*plan.Plan, error) {
	f.mu.Lock()
	f.evaluated[name]++
	f.mu.Unlock()
	data, err := os.ReadFile(filepath.Join(profile, "instance.star"))
	if err != nil {
		return nil, err
	}
	var services []string
	once := false
	for line := range strings.Lines(string(data)) {
		switch word, rest, _ := strings.Cut(strings.TrimSpace(line), " "); word {
		case "service":
			services = append(services, rest)
		case "once":
			once = true
		case "fail":
			return nil, errors.New("broken profile, topsecret")
		case "hang":
			select {
			case <-f.hanging:
			case <-ctx.Done():
			}
			return nil, context.Cause(ctx)
		}
	}
	p := planOf(services...)
	if once {
		p.Resources = append(p.Resources, &plan.File{Meta: plan.Meta{Path: "data", Mode: 0o600, UID: -1, GID: -1, Once: true}})
	}
	return p, nil
}

// profile writes a profile's source.
func (f *farm) profile(name string, lines ...string) string {
	f.t.Helper()
	dir := filepath.Join(f.dir, "profiles", name)
	f.check(os.MkdirAll(dir, 0o755))
	f.check(os.WriteFile(filepath.Join(dir, "instance.star"), []byte(strings.Join(lines, "\n")), 0o644))
	return dir
}

// request asks for an instance, as `instar request` does: with a stored copy.
func (f *farm) request(name, requested string, change ...func(*request.Request)) {
	f.t.Helper()
	dir := filepath.Join(f.dir, "profiles", name)
	if _, err := os.Stat(dir); err == nil {
		f.check(f.home.Instance(name).Make())
		_, err := request.Store(f.home.Instance(name), dir)
		f.check(err)
	}
	r := &request.Request{FormatVersion: 1, Instance: name, Profile: dir, Root: filepath.Join(f.dir, "roots", name), State: requested}
	for _, c := range change {
		c(r)
	}
	_, err := request.Write(f.home, r)
	f.check(err)
}

func (f *farm) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *farm) count(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.evaluated[name]
}

// service is what a service of an instance does.
func (f *farm) service(instance, name string) service.Status {
	have, err := f.manager.Observe(context.Background(), instance)
	f.check(err)
	return have[name].Status
}

// until polls until ok.
func (f *farm) until(what string, ok func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.t.Fatalf("%s: not so after 15 s\n%s", what, strings.Join(f.logs, "\n"))
		}
	}
}

func (f *farm) runs(instance, name string) {
	f.t.Helper()
	f.until(instance+"/"+name+" runs", func() bool { return f.service(instance, name) == service.Running })
}

// settled waits until the request of an instance is fulfilled.
func (f *farm) settled(name string) {
	f.t.Helper()
	f.until(name+" is as requested", func() bool { return Pending(f.home, name) == nil })
}

func (f *farm) problem(name string) string {
	s, err := f.Status(context.Background(), name, false)
	if err != nil || s.Error == nil {
		return ""
	}
	return s.Error.Message
}

func (f *farm) do(name string, action control.Action) *report.Report {
	r, _ := f.Act(context.Background(), name, action, nil)
	return r
}

func (f *farm) whys(name string) []string {
	lines, err := history.Read(f.home.Instance(name), -1)
	f.check(err)
	var whys []string
	for _, l := range lines {
		whys = append(whys, l.Why)
	}
	return whys
}

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

// A request is noticed within a second.
func TestDaemonNoticesRequests(t *testing.T) {
	f := newFarm(t)
	f.run()
	f.profile("web", "service a")
	begin := time.Now()
	f.request("web", "started")
	f.runs("web", "a")
	if d := time.Since(begin); d > time.Second {
		t.Errorf("it took %v", d)
	}
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
		`[]`:                                  "no JSON object",
		`{"format_version":2}`:                "format_version is 2",
		`{"format_version":1}{}`:              "no JSON",
		`{"format_version":1,"instance":"x"}`: `instance is "x"`,
		`{"format_version":1,"instance":"web","state":"up"}`:                                                      `state is "up"`,
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
	n := f.count("web")
	f.request("web", "started")
	time.Sleep(3 * settleTime)
	if f.count("web") != n {
		t.Error("it was processed again")
	}
	f.do("web", control.Action{Verb: "stop"})
	f.settled("web")
	f.retire()
	f.run()
	f.until("boot", func() bool { return f.count("web") > n+1 })
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

// trustedHere has the farm in a folder that only whoever runs the test can
// write, as far as the machine has one.
func trustedHere(t *testing.T, f *farm) request.Trust {
	t.Helper()
	home, err := os.UserHomeDir()
	if err != nil {
		t.Skip(err)
	}
	if err := request.Mine().Way(home); err != nil {
		t.Skipf("needs a home that only its owner can write: %v", err)
	}
	f.dir, err = os.MkdirTemp(home, ".instar-test-")
	f.check(err)
	dir := f.dir
	t.Cleanup(func() { os.RemoveAll(dir) })
	f.home = state.Home(filepath.Join(f.dir, "state"))
	return request.Mine()
}

// The source is followed, within a second, where others cannot write it.
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
	f.do("web", control.Action{Verb: "destroy", Retention: "1500ms"})
	until := Retained(f.home, "web")
	if d := time.Until(until); d < 0 || d > 1500*time.Millisecond {
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
	if again {
		f.retire()
		f.run()
	}
	f.until("purged", func() bool { return !f.home.Instance("web").Exists() })
	if time.Now().Before(until) {
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

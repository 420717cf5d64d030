package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
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
// is a text of lines: "service NAME", "once" (data), "fail", "hang",
// "wait" (until hanging is closed).
type farm struct {
	t       *testing.T
	home    state.Home
	dir     string
	manager *fakeManager
	retire  func()
	*Daemon

	mu        sync.Mutex
	evaluated map[string]int // how often, by instance
	order     []string       // in which they were
	disks     map[string]*fsys.Overlay
	logs      []string
	broken    bool          // all evaluations fail
	hanging   chan struct{} // closed at the end
	trust     request.Trust
	parallel  int
	late      bool // it cannot wait for everything when it ends
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
	if err := os.Chmod(dir, 0o777); err != nil { // profiles there are followed by nobody, whatever the machine's /tmp is
		t.Fatal(err)
	}
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
	if !f.late {
		f.endTime = patience // however busy the machine is
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- f.Run(ctx, func() { close(ready) }) }()
	var once sync.Once
	f.retire = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if (err != nil) != f.late {
					f.t.Errorf("the daemon: %v", err)
				}
			case <-time.After(2 * patience):
				f.t.Error("the daemon does not end")
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
	f.order = append(f.order, name)
	broken := f.broken
	f.mu.Unlock()
	if broken {
		return nil, errors.New("something else is broken")
	}
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
		case "panic":
			panic("ouch")
		case "fail":
			return nil, errors.New("broken profile, topsecret")
		case "wait":
			<-f.hanging
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
	f.check(request.Ask(f.home, r))
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

// patience is how long is waited for what must come, on a busy machine too. It is
// shorter than a scan's period: what comes was noticed.
const patience = scanPeriod - 10*time.Second

// until polls until ok.
func (f *farm) until(what string, ok func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.t.Fatalf("%s: not so after %v\n%s", what, patience, strings.Join(f.logs, "\n"))
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

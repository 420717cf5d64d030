package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/afero"

	"instar/runtime/control"
	"instar/runtime/engine"
	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/secret"
	"instar/runtime/service"
	"instar/runtime/state"
)

// bench is an instance that is served, with a profile, a manager and promises
// that tests replace. Its time is that of a synctest bubble.
type bench struct {
	t testing.TB
	*Instance
	overlay *fsys.Overlay
	root    string
	exits   chan service.Exit
	stop    func()
	begin   time.Time

	mu        sync.Mutex
	store     *state.Memory
	locked    bool
	manager   service.Recorder
	evaluated []time.Duration // since begin
	evaluate  func() (*plan.Plan, error)
	promises  func(ctx context.Context) []report.Promise
	events    []string
	ran       chan struct{} // closed when Run has returned
}

// newBench serves an instance with services a and b.
func newBench(t testing.TB, options ...func(*Options)) *bench {
	t.Helper()
	store, err := state.NewMemory(state.New("web"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, overlay: fsys.NewOverlay(nil).NoFollow(), root: t.TempDir(), store: store,
		exits: make(chan service.Exit), begin: time.Now(), ran: make(chan struct{})}
	b.evaluate = func() (*plan.Plan, error) { return planOf("a", "b"), nil }
	o := Options{
		Name:   "web",
		Engine: b.engine,
		Lock:   b.lock, Load: b.load, Save: b.save,
		Manager: b,
		Mask:    secret.New([]string{"topsecret"}),
		Status: func(st *state.State, _ bool) (*report.Status, error) {
			return &report.Status{Instance: st.Instance, State: st.Requested}, nil
		},
		Exit: func(_ *report.Report, err error) int {
			var unkept *engine.UnkeptError
			switch {
			case errors.As(err, &unkept):
				return 2
			case err != nil:
				return 1
			}
			return 0
		},
		Sink: b.sink,
	}
	for _, change := range options {
		change(&o)
	}
	b.Instance = New(o)
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = func() {
		cancel()
		<-b.ran
	}
	t.Cleanup(b.stop)
	go func() {
		defer close(b.ran)
		err := b.Run(ctx, &control.Action{Verb: "start"}, func(_ *report.Report, err error) bool { return err == nil || exitUnkept(err) })
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	return b
}

func exitUnkept(err error) bool {
	var unkept *engine.UnkeptError
	return errors.As(err, &unkept)
}

func planOf(services ...string) *plan.Plan {
	p := &plan.Plan{Values: map[string]plan.Value{}, Published: map[string]any{"url": "x:topsecret", "id": 1}}
	for _, name := range services {
		p.Services = append(p.Services, plan.Service{Name: name, Script: "etc/services/" + name, Restart: "always",
			StopSignal: "TERM", StopTimeout: time.Second, Exec: plan.Exec{Argv: []string{"/bin/" + name}, Dir: "/"}})
	}
	return p
}

func (b *bench) engine(action control.Action) (*engine.Engine, func(), error) {
	e := &engine.Engine{
		Name: "web", Settings: state.Settings{Root: b.root, Profile: "/p", Release: "/usr"},
		Identity: plan.Identity{User: "web", UID: -1, GID: -1, Home: b.root},
		Disk:     b, Store: b, Manager: b, Commands: engine.Pretend{Dir: filepath.Join(b.root, "commands")}, Mask: secret.New([]string{"topsecret"}), Wait: time.Hour, Reveal: action.Reveal,
		Evaluate: func(context.Context, *state.State, plan.View) (*plan.Plan, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.evaluated = append(b.evaluated, time.Since(b.begin).Round(time.Millisecond))
			return b.evaluate()
		},
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if check := b.promises; check != nil {
		e.Promises = func(ctx context.Context, _ []plan.Promise, _ *secret.Masker, _ time.Duration, _ func(report.Promise)) []report.Promise {
			return check(ctx)
		}
	}
	return e, func() {}, nil
}

// bench is the disk, the store, the lock and the manager.
func (b *bench) Peek() (afero.Fs, error) { return b.overlay, nil }
func (b *bench) Open() (afero.Fs, error) { return b.overlay, nil }

func (b *bench) Load() (*state.State, error) { return b.load() }
func (b *bench) Save(st *state.State) error  { return b.save(st) }
func (b *bench) Remove() error               { return nil }

func (b *bench) load() (*state.State, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.store.Load()
}

func (b *bench) save(st *state.State) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.store.Save(st)
}

func (b *bench) lock() (func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.locked {
		return nil, state.ErrLocked
	}
	b.locked = true
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.locked = false
	}, nil
}

func (b *bench) Platform() string                                   { return "test" }
func (b *bench) Render(service.Spec) ([]service.Artifact, error)    { return nil, nil }
func (b *bench) Exits(context.Context) (<-chan service.Exit, error) { return b.leaving(), nil }
func (b *bench) Observe(ctx context.Context, instance string) (map[string]service.State, error) {
	return b.manager.Observe(ctx, instance)
}
func (b *bench) Apply(ctx context.Context, instance string, changes []service.Change) error {
	return b.manager.Apply(ctx, instance, changes)
}

// leaving closes the exits when Run is over.
func (b *bench) leaving() <-chan service.Exit {
	out := make(chan service.Exit)
	go func() {
		defer close(out)
		for {
			select {
			case x := <-b.exits:
				select {
				case out <- x:
				case <-b.gone:
					return
				}
			case <-b.gone:
				return
			}
		}
	}()
	return out
}

func (b *bench) sink(ev report.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := ev.Kind + " " + ev.Name + ev.Text
	if ev.Change != nil {
		text += ev.Change.Op + " " + ev.Change.Name
	}
	if ev.Report != nil {
		text += fmt.Sprint(ev.Report.Published["url"])
		if ev.Report.Error != nil {
			text += " " + ev.Report.Error.Message
		}
		for _, p := range ev.Report.Promises {
			if !p.OK {
				text += " fails " + p.Name
			}
		}
	}
	b.events = append(b.events, text)
}

// set replaces what evaluations give.
func (b *bench) set(evaluate func() (*plan.Plan, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.evaluate = evaluate
}

func (b *bench) check(promises func(ctx context.Context) []report.Promise) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.promises = promises
}

func fails() (*plan.Plan, error) { return nil, errors.New("broken profile") }
func works() (*plan.Plan, error) { return planOf("a", "b"), nil }

// count returns how many evaluations there were.
func (b *bench) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.evaluated)
}

// told counts the events that contain a text.
func (b *bench) told(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, ev := range b.events {
		if strings.Contains(ev, text) {
			n++
		}
	}
	return n
}

func (b *bench) expect(what string, got, want int) {
	b.t.Helper()
	if got != want {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.t.Errorf("%s: %d, want %d; evaluations at %v\n%s", what, got, want, b.evaluated, strings.Join(b.events, "\n"))
	}
}

// exit has a service end.
func (b *bench) exit(name string) {
	b.exits <- service.Exit{Instance: "web", Name: name, Code: 0, Reason: "exit status 0", At: time.Now()}
	synctest.Wait()
}

func (b *bench) do(action control.Action) (*report.Report, int) {
	return b.Act(context.Background(), "web", action, nil)
}

func (b *bench) status(name string) service.Status {
	have, err := b.manager.Observe(context.Background(), "web")
	if err != nil {
		b.t.Fatal(err)
	}
	return have[name].Status
}

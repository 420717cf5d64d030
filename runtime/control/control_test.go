package control

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"instar/runtime/report"
	"instar/runtime/service"
	"instar/runtime/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake serves one instance called web.
type fake struct {
	got    chan Action
	events chan report.Event
	hold   chan struct{} // Act waits for it when it is not nil
}

func (f *fake) Status(_ context.Context, name string, reveal bool) (*report.Status, error) {
	if name != "web" {
		return nil, &UnknownError{name}
	}
	st := &report.Status{FormatVersion: 1, Instance: name, State: "started", Published: map[string]any{"url": "masked"}}
	if reveal {
		st.Published["url"] = "clear"
	}
	return st, nil
}

func (f *fake) Services(context.Context, string) (map[string]service.State, error) {
	return map[string]service.State{"alpha": {Name: "alpha", Digest: "d", PID: 7}}, nil
}

func (f *fake) Act(ctx context.Context, name string, a Action, sink report.Sink) (*report.Report, int) {
	sink(report.Event{Kind: "warning", Text: "first"})
	if f.hold != nil {
		<-f.hold
	}
	if ctx.Err() != nil {
		return &report.Report{Instance: "interrupted"}, 1
	}
	f.got <- a
	return &report.Report{Instance: name, Summary: report.Summary{Restarted: 1}}, 2
}

func (f *fake) Events(ctx context.Context, name string) (<-chan report.Event, error) {
	if name != "web" {
		return nil, &UnknownError{name}
	}
	return f.events, nil
}

func (f *fake) Instances() []string { return []string{"web"} }

// serve runs a server for the test and returns a client of it.
func serve(t *testing.T, socket string, s Server) *Client {
	t.Helper()
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, s, time.Minute) }()
	c, err := Dial(ctx, socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := os.Lstat(socket); !os.IsNotExist(err) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return c
}

func newFake() *fake {
	return &fake{got: make(chan Action, 1), events: make(chan report.Event, 8)}
}

func TestStatus(t *testing.T) {
	c := serve(t, filepath.Join(t.TempDir(), "s"), newFake())
	for reveal, want := range map[bool]string{false: "masked", true: "clear"} {
		st, err := c.Status(context.Background(), "web", reveal)
		if err != nil || st.Published["url"] != want {
			t.Errorf("reveal %v: got %v, %v, want %q", reveal, st, err, want)
		}
	}
	var unknown *UnknownError
	if _, err := c.Status(context.Background(), "other", false); !errors.As(err, &unknown) {
		t.Errorf("unknown instance: got %v", err)
	}
}

func TestServices(t *testing.T) {
	c := serve(t, filepath.Join(t.TempDir(), "s"), newFake())
	states, err := c.Services(context.Background(), "web")
	if err != nil || states["alpha"].Digest != "d" || states["alpha"].PID != 7 {
		t.Errorf("got %v, %v", states, err)
	}
}

func TestActCarriesActionEventsAndExit(t *testing.T) {
	f := newFake()
	c := serve(t, filepath.Join(t.TempDir(), "s"), f)
	text := "a b\"$\n\u00e9"
	want := Action{Verb: "apply", Diffs: true, Settings: &state.Settings{
		Root: "/srv/web", Wait: time.Minute, Params: map[string]state.Given{"name": {Text: &text}}}}
	var seen []string
	rep, exit, err := c.Act(context.Background(), "web", want, func(ev report.Event) { seen = append(seen, ev.Text) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, <-f.got); diff != "" {
		t.Errorf("action (-want +got):\n%s", diff)
	}
	if exit != 2 || rep.Summary.Restarted != 1 || !cmp.Equal(seen, []string{"first"}) {
		t.Errorf("got exit %d, report %+v, events %v", exit, rep, seen)
	}
}

func TestActGoesOnWithoutItsClient(t *testing.T) {
	f := newFake()
	f.hold = make(chan struct{})
	c := serve(t, filepath.Join(t.TempDir(), "s"), f)
	ctx, cancel := context.WithCancel(context.Background())
	_, _, err := c.Act(ctx, "web", Action{Verb: "stop"}, func(report.Event) { cancel() })
	if err == nil {
		t.Error("a cancelled call succeeded")
	}
	close(f.hold)
	select {
	case a := <-f.got:
		if a.Verb != "stop" {
			t.Errorf("verb %q", a.Verb)
		}
	case <-time.After(time.Minute):
		t.Error("the action was interrupted with its client")
	}
}

// talker tells so much that no buffer holds it.
type talker struct {
	*fake
	told chan struct{}
}

func (f *talker) Act(_ context.Context, name string, _ Action, sink report.Sink) (*report.Report, int) {
	for range 20 * eventBacklog {
		sink(report.Event{Kind: "output", Text: strings.Repeat("x", 200)})
	}
	close(f.told)
	return &report.Report{Instance: name, Summary: report.Summary{OK: 3}}, 0
}

// TestActDoesNotWaitForASlowClient: who does not read holds up nothing, and
// still gets the outcome.
func TestActDoesNotWaitForASlowClient(t *testing.T) {
	f := &talker{newFake(), make(chan struct{})}
	c := serve(t, filepath.Join(t.TempDir(), "s"), f)
	n := 0
	r, code, err := c.Act(context.Background(), "web", Action{Verb: "apply"}, func(report.Event) {
		if n++; n == 1 {
			select {
			case <-f.told:
			case <-time.After(time.Minute):
				t.Error("the action waits for its client")
			}
		}
	})
	if err != nil || code != 0 || r.Summary.OK != 3 || n >= 20*eventBacklog {
		t.Errorf("%v, %d, %+v; %d events", err, code, r, n)
	}
}

func TestEvents(t *testing.T) {
	f := newFake()
	c := serve(t, filepath.Join(t.TempDir(), "s"), f)
	f.events <- report.Event{Kind: "change", Text: "one\ntwo"}
	f.events <- report.Event{Kind: "done"}
	close(f.events)
	var kinds []string
	if err := c.Events(context.Background(), "web", func(ev report.Event) { kinds = append(kinds, ev.Kind+ev.Text) }); err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(kinds, []string{"changeone\ntwo", "done"}) {
		t.Errorf("got %q", kinds)
	}
}

func TestServeEndsOpenEventStreams(t *testing.T) {
	done := make(chan error, 1)
	t.Cleanup(func() { // runs after the server's own cleanup, which must end the stream
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Error("the stream outlived its server")
		}
	})
	f := newFake()
	c := serve(t, filepath.Join(t.TempDir(), "s"), f)
	begun := make(chan struct{}, 1)
	go func() {
		done <- c.Events(context.Background(), "web", func(report.Event) { begun <- struct{}{} })
	}()
	f.events <- report.Event{Kind: "change"}
	<-begun
}

func TestLongSocketPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 40))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	_, done, err := short(socket)
	if err != nil {
		t.Skipf("this system has no way to use it: %v", err)
	}
	done()
	c := serve(t, socket, newFake())
	if _, err := c.Status(context.Background(), "web", false); err != nil {
		t.Error(err)
	}
}

func TestNobodyServes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	if _, err := Dial(context.Background(), name); !errors.Is(err, ErrNotServed) {
		t.Errorf("no socket: %v", err)
	}
	l, err := Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	// A killed server leaves its socket behind.
	if err := l.(*socket).UnixListener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(name); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(context.Background(), name); !errors.Is(err, ErrNotServed) {
		t.Errorf("a stale socket: %v", err)
	}
	if l, err = Listen(name); err != nil {
		t.Errorf("the stale socket is in the way: %v", err)
	} else {
		_ = l.Close()
	}
}

// A server that is killed before it has answered.
func TestServerGoesAway(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	l, err := Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
	}()
	client, err := Dial(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	defer l.Close()
	if _, _, err := client.Act(t.Context(), "web", Action{Verb: "stop"}, nil); err == nil || !strings.HasPrefix(err.Error(), "the server went away") {
		t.Errorf("%v", err)
	}
}

func TestBadRequests(t *testing.T) {
	c := serve(t, filepath.Join(t.TempDir(), "s"), newFake())
	var unknown *UnknownError
	if _, _, err := c.Act(context.Background(), "other", Action{Verb: "stop"}, nil); !errors.As(err, &unknown) {
		t.Errorf("an action on an unknown instance: %v", err)
	}
	_, err := c.do(context.Background(), "POST", "web", "/stop", []byte(`{"verb":"start"}`))
	if err == nil || !strings.Contains(err.Error(), `"start"`) {
		t.Errorf("a verb against the path: %v", err)
	}
	_, err = c.do(context.Background(), "POST", "web", "/stop", []byte(`{`))
	if err == nil || !strings.Contains(err.Error(), "cannot read the action") {
		t.Errorf("half a body: %v", err)
	}
}

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"slices"
	"sync"
	"time"

	"instar/runtime/report"
)

// Listen makes the socket at name, which only its owner may open. A socket left
// by a server that was killed is replaced; the caller holds a lock that says
// that no other serves. On a system that has none, the error is [ErrNoSockets].
func Listen(name string) (net.Listener, error) {
	if err := Available(); err != nil {
		return nil, fmt.Errorf("cannot listen at %s: %w", name, err)
	}
	return listen(name)
}

// ErrNoSockets says that this system has no unix sockets: nobody can serve, and
// nobody is served.
var ErrNoSockets = errors.New("this system has no unix sockets")

// Serve answers requests on l until ctx ends, and then waits for those that are
// being answered, up to grace.
func Serve(ctx context.Context, l net.Listener, s Server, grace time.Duration) error {
	h := &handler{server: s}
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, req *http.Request) { r.handle(h, w, req) })
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return base },
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		cancel()
		return err
	case <-ctx.Done():
	}
	late, stop := context.WithTimeout(context.Background(), grace)
	defer stop()
	go func() {
		<-late.Done()
		cancel()
	}()
	h.closeEvents()
	err := srv.Shutdown(late)
	if err != nil {
		_ = srv.Close()
	}
	<-done
	return err
}

type handler struct {
	server Server

	mu     sync.Mutex
	closed bool
	ends   map[*context.CancelFunc]bool // of the event streams, which never end by themselves
}

// closeEvents ends all event streams, now and to come.
func (h *handler) closeEvents() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for end := range h.ends {
		(*end)()
	}
}

func (h *handler) eventContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		cancel()
	}
	if h.ends == nil {
		h.ends = map[*context.CancelFunc]bool{}
	}
	h.ends[&cancel] = true
	return ctx, func() {
		cancel()
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.ends, &cancel)
	}
}

func (h *handler) list(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]any{"format_version": report.FormatVersion, "instances": h.server.Instances()})
}

func (h *handler) status(w http.ResponseWriter, req *http.Request) {
	st, err := h.server.Status(req.Context(), req.PathValue("name"), req.URL.Query().Get("reveal") == "1")
	if err != nil {
		fail(w, err)
		return
	}
	reply(w, http.StatusOK, st)
}

func (h *handler) services(w http.ResponseWriter, req *http.Request) {
	states, err := h.server.Services(req.Context(), req.PathValue("name"))
	if err != nil {
		fail(w, err)
		return
	}
	reply(w, http.StatusOK, states)
}

func (h *handler) events(w http.ResponseWriter, req *http.Request) {
	ctx, cancel := h.eventContext(req.Context())
	defer cancel()
	events, err := h.server.Events(ctx, req.PathValue("name"))
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	flush(w)
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-events:
			if !ok {
				return
			}
			data, err := json.Marshal(ev)
			if err != nil {
				continue // an event is plain data
			}
			if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", ev.Kind, data); err != nil {
				return
			}
			flush(w)
		}
	}
}

func (h *handler) act(w http.ResponseWriter, req *http.Request) {
	action, err := readAction(req)
	if err != nil {
		reply(w, http.StatusBadRequest, map[string]any{"error": report.Error{Message: err.Error()}})
		return
	}
	name := req.PathValue("name")
	adopter, _ := h.server.(Adopter)
	if !slices.Contains(h.server.Instances(), name) && (adopter == nil || !adopter.Adopts(name, action)) {
		fail(w, &UnknownError{name})
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	// A client that does not read, or is gone, does not hold up what it asked
	// for: it loses events, and the outcome tells everything.
	events := make(chan report.Event, eventBacklog)
	var written sync.WaitGroup
	out := json.NewEncoder(w)
	written.Go(func() {
		for ev := range events {
			_ = out.Encode(Message{Event: &ev}) // nobody is left to be told
			flush(w)
		}
	})
	rep, exit := h.server.Act(context.WithoutCancel(req.Context()), name, action, func(ev report.Event) {
		select {
		case events <- ev:
		default:
		}
	})
	close(events)
	written.Wait()
	_ = out.Encode(Message{Report: rep, Exit: exit})
	flush(w)
}

// eventBacklog is how many events of an action wait for a slow client; later
// ones are lost.
const eventBacklog = 4096

// maxAction bounds the body of an action, in bytes.
const maxAction = 64 << 20

func readAction(req *http.Request) (Action, error) {
	var a Action
	dec := json.NewDecoder(io.LimitReader(req.Body, maxAction))
	dec.UseNumber()
	if err := dec.Decode(&a); err != nil && !errors.Is(err, io.EOF) {
		return a, fmt.Errorf("cannot read the action: %w", err)
	}
	verb := path.Base(req.URL.Path)
	if a.Verb != "" && a.Verb != verb {
		return a, fmt.Errorf("the action's verb is %q, the path says %q", a.Verb, verb)
	}
	a.Verb = verb
	return a, nil
}

func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

func reply(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client is gone
}

func fail(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var unknown *UnknownError
	if errors.As(err, &unknown) {
		code = http.StatusNotFound
	}
	reply(w, code, map[string]any{"error": report.ErrorOf(err, func(s string) string { return s })})
}

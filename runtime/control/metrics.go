package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"instar/runtime/metrics"
)

// metrics answers a scrape.
func (h *handler) metrics(w http.ResponseWriter, _ *http.Request) {
	m, ok := h.server.(Meter)
	if !ok {
		http.Error(w, "nothing is measured here", http.StatusNotFound)
		return
	}
	writeMetrics(w, m)
}

func writeMetrics(w http.ResponseWriter, m Meter) {
	var out bytes.Buffer
	_ = metrics.Write(&out, append(m.Metrics(), metrics.Process()...)) // a Buffer takes everything
	w.Header().Set("Content-Type", metrics.ContentType)
	_, _ = w.Write(out.Bytes()) // the client is gone
}

// Public is what is served to the network: /metrics and /healthz, to be read and
// nothing else.
type Public struct {
	Meter Meter
	// Token, if not "", must come with each request, as a bearer token. Without
	// one, requests are answered that name this machine's loopback address alone:
	// no web page that a browser on it shows may read them under a name of its own.
	Token string
}

// maxConnections bounds how many clients are served at once.
const maxConnections = 32

// Serve answers requests on l until ctx ends, and closes it.
func (p Public) Serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { writeMetrics(w, p.Meter) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	srv := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { p.guard(w, req, mux) }),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	err := srv.Serve(&bounded{Listener: l, free: make(chan struct{}, maxConnections), closed: ctx.Done()})
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (p Public) guard(w http.ResponseWriter, req *http.Request, next http.Handler) {
	switch {
	case p.Token != "" && !p.authorized(req):
		w.Header().Set("WWW-Authenticate", `Bearer realm="instar"`)
		w.Header().Set("Connection", "close") // whoever may not ask keeps nobody waiting
		http.Error(w, "a token is needed", http.StatusUnauthorized)
	case p.Token == "" && !IsLoopback(hostOf(req.Host)):
		w.Header().Set("Connection", "close")
		http.Error(w, "asked for under another name than that of the loopback address", http.StatusForbidden)
	default:
		next.ServeHTTP(w, req)
	}
}

// authorized compares in a time that tells nothing of the token.
func (p Public) authorized(req *http.Request) bool {
	kind, given, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	want, got := sha256.Sum256([]byte(p.Token)), sha256.Sum256([]byte(strings.TrimSpace(given)))
	return strings.EqualFold(kind, "Bearer") && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

// IsLoopback reports whether a host is this machine alone: "localhost", or an
// address of the loopback interface.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// bounded is a listener with so many connections at most; who comes later waits.
type bounded struct {
	net.Listener
	free   chan struct{}
	closed <-chan struct{}
}

func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.free <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	conn, err := b.Listener.Accept()
	if err != nil {
		<-b.free
		return nil, err
	}
	return &boundedConn{Conn: conn, free: b.free}, nil
}

type boundedConn struct {
	net.Conn
	free chan struct{}
	once sync.Once
}

func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.free })
	return err
}

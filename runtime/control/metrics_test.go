package control

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"instar/runtime/metrics"
)

// measured is a Meter of one value.
type measured struct{}

func (measured) Metrics() []metrics.Family {
	f := metrics.Family{Name: "instar_x", Help: "x", Kind: metrics.Gauge}
	f.Add(7, "instance", "web")
	return []metrics.Family{f}
}

func public(t *testing.T, token string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Public{Meter: measured{}, Token: token}.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

// ask makes one request on a connection of its own; change may change it.
func ask(t *testing.T, method, url string, change func(*http.Request)) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	if change != nil {
		change(req)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func bearer(token string) func(*http.Request) {
	return func(req *http.Request) { req.Header.Set("Authorization", token) }
}

func TestPublicMetrics(t *testing.T) {
	addr := public(t, "")
	code, body := ask(t, "GET", "http://"+addr+"/metrics", nil)
	if code != 200 || !strings.Contains(body, "\ninstar_x{instance=\"web\"} 7\n") || !strings.Contains(body, "\nprocess_start_time_seconds ") {
		t.Errorf("%d: %s", code, body)
	}
	if code, body := ask(t, "GET", "http://"+addr+"/healthz", nil); code != 200 || body != "ok\n" {
		t.Errorf("health: %d: %s", code, body)
	}
	// There is no way to anything else.
	for _, r := range routes {
		method, path, _ := strings.Cut(r.pattern, " ")
		path = strings.ReplaceAll(path, "{name}", "web")
		if code, _ := ask(t, method, "http://"+addr+path, nil); path != "/metrics" && code != 404 {
			t.Errorf("%s: %d", r.pattern, code)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		if code, _ := ask(t, method, "http://"+addr+"/metrics", nil); code != 405 {
			t.Errorf("%s: %d", method, code)
		}
	}
	// A page of the web whose name leads here does not read them.
	for host, want := range map[string]int{"evil.example:80": 403, "localhost": 200, "localhost:9": 200, "[::1]:9": 200, "127.9.9.9": 200, "10.0.0.1": 403, "": 403} {
		code, _ := ask(t, "GET", "http://"+addr+"/metrics", func(req *http.Request) {
			if req.Host = host; host == "" {
				req.Host = "."
			}
		})
		if code != want {
			t.Errorf("host %q: %d", host, code)
		}
	}
}

func TestPublicToken(t *testing.T) {
	addr := public(t, "a-long-token")
	for given, want := range map[string]int{
		"": 401, "Bearer": 401, "Bearer ": 401, "Bearer a-long-toke": 401, "Bearer a-long-token2": 401, "Basic a-long-token": 401, "a-long-token": 401,
		"Bearer a-long-token": 200, "bearer a-long-token": 200,
	} {
		for _, path := range []string{"/metrics", "/healthz"} {
			code, body := ask(t, "GET", "http://"+addr+path, func(req *http.Request) {
				bearer(given)(req)
				req.Host = "node.example"
			})
			if code != want || code != 200 && strings.Contains(body, "instar_x") {
				t.Errorf("%s with %q: %d: %s", path, given, code, body)
			}
		}
	}
}

// Many clients that say nothing keep nobody waiting for ever, and no descriptors.
func TestPublicIsBounded(t *testing.T) {
	addr := public(t, "")
	var conns []net.Conn
	for range 2 * maxConnections {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	for _, conn := range conns[:maxConnections+1] {
		conn.Close()
	}
	last := conns[len(conns)-1]
	fmt.Fprintf(last, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	answer, err := io.ReadAll(last)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
		t.Errorf("%v: %s", err, answer)
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{"localhost": true, "127.0.0.1": true, "127.1.2.3": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "localhost.evil": false, "127.0.0.1.evil": false, "0x7f.1": false} {
		if IsLoopback(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
}

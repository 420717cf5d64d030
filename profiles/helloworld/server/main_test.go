package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestServesUntilStopped(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	const want = "Hello Zoë & \"Bob\"!\nThis is the go server.\n"
	go func() { ended <- serve(ctx, listener, greet([]byte(want))) }()

	url := "http://" + listener.Addr().String() + "/"
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || string(body) != want {
		t.Errorf("GET %s: %q, %v; want %q", url, body, err, want)
	}
	if got := response.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
		t.Errorf("Content-Type is %q", got)
	}

	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("a stop that was asked for: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("still serving after it was told to stop")
	}
	if _, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		t.Error("still listening after it was told to stop")
	}
}

func TestRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	greeting := filepath.Join(t.TempDir(), "greeting.txt")
	if err := os.WriteFile(greeting, []byte("Hello!\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	for _, test := range []struct {
		args string
		want string
	}{
		{"--port 0", "--greeting is required"},
		{"--port 0 --greeting " + greeting + ".missing", "cannot read the greeting"},
		{"--port 0 --greeting " + greeting + " more", `unexpected argument "more"`},
		{"--port " + port + " --greeting " + greeting, "address already in use"},
	} {
		err := run(t.Context(), strings.Fields(test.args))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.args, err, test.want)
		}
	}
}

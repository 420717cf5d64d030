//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

var metricsAt = regexp.MustCompile(`metrics at (http://[^/]+)/metrics`)

func scriptScrape(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: scrape FILE CODE URL [TOKEN]")
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	url := args[2]
	at := strings.Index(url, "/")
	switch {
	case strings.HasPrefix(url, "unix:"):
		at = strings.LastIndex(url, "/")
		socket := ts.MkAbs(url[len("unix:"):at])
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			// By a short name: the script's folder may be too deep for a socket.
			short, err := os.MkdirTemp("", "s")
			if err != nil {
				return nil, err
			}
			defer os.RemoveAll(short)
			if err := os.Symlink(socket, short+"/s"); err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, "unix", short+"/s")
		}
		url = "http://instar" + url[at:]
	case !strings.Contains(url, "://"):
		eventually(ts, "metrics are shown", func() error {
			m := metricsAt.FindStringSubmatch(ts.ReadFile(url[:at] + ".err"))
			if m == nil {
				return fmt.Errorf("not yet")
			}
			url = m[1] + url[at:]
			return nil
		})
	}
	req, err := http.NewRequest("GET", url, nil)
	ts.Check(err)
	if len(args) > 3 {
		req.Header.Set("Authorization", "Bearer "+args[3])
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), body, 0o600))
	if got := fmt.Sprint(resp.StatusCode); got != args[1] {
		ts.Fatalf("%s answered %s, want %s: %s", url, got, args[1], body)
	}
}

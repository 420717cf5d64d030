package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"instar/runtime/report"
	"instar/runtime/service"
)

// ErrNotServed says that nobody serves at a socket.
var ErrNotServed = errors.New("nobody serves there")

// Client talks to a server.
type Client struct {
	http *http.Client
}

// Dial connects to the server at the socket name, or fails with [ErrNotServed].
// An error for which errors.Is(err, fs.ErrPermission) holds means that somebody
// else's server is there.
func Dial(ctx context.Context, name string) (*Client, error) {
	conn, err := dial(ctx, name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, ErrNotServed
	case err != nil:
		return nil, fmt.Errorf("cannot reach %s: %w", name, err)
	}
	_ = conn.Close()
	transport := &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, name) },
		MaxIdleConns:    1,
		IdleConnTimeout: time.Second,
	}
	return &Client{http: &http.Client{Transport: transport}}, nil
}

// Close ends the client's connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for an instance's status.
func (c *Client) Status(ctx context.Context, instance string, reveal bool) (*report.Status, error) {
	rest := ""
	if reveal {
		rest = "?reveal=1"
	}
	st := &report.Status{}
	return st, c.get(ctx, instance, rest, st)
}

// Services asks for the states of an instance's services and runs.
func (c *Client) Services(ctx context.Context, instance string) (map[string]service.State, error) {
	states := map[string]service.State{}
	return states, c.get(ctx, instance, "/services", &states)
}

func (c *Client) get(ctx context.Context, instance, rest string, answer any) error {
	resp, err := c.do(ctx, "GET", instance, rest, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("cannot understand the server: %w", err)
	}
	return nil
}

// Act asks for an action, tells sink what happens, and returns the outcome and
// the exit code. When ctx ends, what was asked for goes on.
func (c *Client) Act(ctx context.Context, instance string, action Action, sink report.Sink) (*report.Report, int, error) {
	body, err := json.Marshal(action)
	if err != nil {
		return nil, 0, err
	}
	resp, err := c.do(ctx, "POST", instance, "/"+action.Verb, body)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil, 0, wentAway(err)
		}
		var m Message
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, 0, fmt.Errorf("cannot understand the server: %w", err)
		}
		if m.Report != nil {
			return m.Report, m.Exit, nil
		}
		if m.Event != nil && sink != nil {
			sink(*m.Event)
		}
	}
}

func wentAway(err error) error {
	return fmt.Errorf("the server went away before it had finished: %w", err)
}

// Events tells sink what happens to an instance until ctx ends.
func (c *Client) Events(ctx context.Context, instance string, sink report.Sink) error {
	resp, err := c.do(ctx, "GET", instance, "/events", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return ctx.Err()
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		var ev report.Event
		if err := json.Unmarshal([]byte(data), &ev); err != nil {
			return fmt.Errorf("cannot understand the server: %w", err)
		}
		sink(ev)
	}
}

func (c *Client) do(ctx context.Context, method, instance, rest string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://instar/v1/instances/"+instance+rest, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	var broken *url.Error
	switch {
	case err != nil && ctx.Err() == nil && errors.As(err, &broken):
		return nil, wentAway(broken.Err)
	case err != nil:
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var failure struct{ Error report.Error }
	if err := json.NewDecoder(resp.Body).Decode(&failure); err != nil || failure.Error.Message == "" {
		return nil, fmt.Errorf("the server answered %s", resp.Status)
	}
	if resp.StatusCode == http.StatusNotFound {
		return nil, &UnknownError{instance}
	}
	return nil, errors.New(failure.Error.Message)
}

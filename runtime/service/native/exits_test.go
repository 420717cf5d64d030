//go:build unix

package native

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"instar/runtime/service"
)

// leave leaves a marker as the stop script does.
func leave(t *testing.T, state, instance, name, code, status string) {
	t.Helper()
	path := markerPath(state, instance, name)
	text := fmt.Sprintf(`{"instance":%q,"service":%q,"code":%q,"status":%q}`+"\n", instance, name, code, status)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".tmp", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

func next(t *testing.T, exits <-chan service.Exit) service.Exit {
	t.Helper()
	select {
	case x := <-exits:
		return x
	case <-time.After(time.Minute):
		t.Fatal("no exit is delivered")
	}
	return service.Exit{}
}

// noLeaks fails when goroutines stay, however long they take to end.
func noLeaks(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(time.Minute); goleak.Find() != nil && time.Now().Before(end); {
	}
	goleak.VerifyNone(t)
}

// taken waits until a marker is being delivered.
func taken(t *testing.T, state, instance, name string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(markerPath(state, instance, name) + takenSuffix); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the marker is not taken")
		}
	}
}

func TestExits(t *testing.T) {
	defer noLeaks(t)
	state := t.TempDir()
	leave(t, state, "web", "early", "exited", "3")
	leave(t, state, "web", "taken", "killed", "KILL")
	path := markerPath(state, "web", "taken")
	if err := os.Rename(path, path+takenSuffix); err != nil { // by one that was killed
		t.Fatal(err)
	}
	if err := os.WriteFile(markerPath(state, "web", "nonsense"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	exits, err := watchExits(ctx, exitsDir(state))
	if err != nil {
		t.Fatal(err)
	}
	if x := next(t, exits); x.Instance != "web" || x.Name != "early" || x.Code != 3 || x.Reason != "exit status 3" || time.Since(x.At) > time.Minute {
		t.Errorf("exit %+v", x)
	}
	if x := next(t, exits); x.Name != "taken" || x.Code != -1 || x.Reason != "signal: KILL" {
		t.Errorf("exit %+v", x)
	}
	for i := range 20 {
		leave(t, state, "web", "a.b@c", "dumped", "SEGV")
		if x := next(t, exits); x.Name != "a.b@c" || x.Reason != "signal: SEGV (core dumped)" {
			t.Errorf("exit %d: %+v", i, x)
		}
	}
	// One that comes while another is being delivered.
	leave(t, state, "web", "x", "exited", "1")
	taken(t, state, "web", "x")
	leave(t, state, "web", "x", "exited", "2")
	if x := next(t, exits); x.Code != 1 {
		t.Errorf("exit %+v", x)
	}
	if x := next(t, exits); x.Code != 2 {
		t.Errorf("exit %+v", x)
	}
	cancel()
	if _, open := <-exits; open {
		t.Error("the channel is not closed")
	}
	if left, err := os.ReadDir(exitsDir(state)); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// TestExitsThatNobodyTook stay for the next one.
func TestExitsThatNobodyTook(t *testing.T) {
	state := t.TempDir()
	leave(t, state, "web", "a", "exited", "3")
	ctx, cancel := context.WithCancel(t.Context())
	exits, err := watchExits(ctx, exitsDir(state))
	if err != nil {
		t.Fatal(err)
	}
	taken(t, state, "web", "a")
	cancel()
	for range exits { // it is gone when this ends
		t.Skip("taken after all")
	}
	exits, err = watchExits(t.Context(), exitsDir(state))
	if err != nil {
		t.Fatal(err)
	}
	if x := next(t, exits); x.Name != "a" {
		t.Errorf("exit %+v", x)
	}
}

func TestEnding(t *testing.T) {
	for _, c := range []struct {
		code, status string
		want         int
		text         string
	}{
		{"exited", "0", 0, "exit status 0"}, {"exited", "203", 203, "exit status 203 (its program cannot be executed)"},
		{"killed", "TERM", -1, "signal: TERM"}, {"", "", -1, "could not be started"},
	} {
		if code, text := ending(c.code, c.status); code != c.want || text != c.text {
			t.Errorf("%s %s: %d, %q", c.code, c.status, code, text)
		}
	}
}

package promise_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"instar/runtime/plan"
	"instar/runtime/promise"
)

// TestWaitAll runs in a bubble with a clock of its own.
func TestWaitAll(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { testWaitAll(t, dir) })
}

func testWaitAll(t *testing.T, dir string) {
	late := filepath.Join(dir, "late")
	file := func(name string) plan.Promise {
		return plan.Promise{Name: name, Timeout: time.Minute, Check: plan.Check{Kind: "file", Path: filepath.Join(dir, name)}}
	}
	write(t, filepath.Join(dir, "there"), nil)
	promises := []plan.Promise{file("never"), file("late"), file("there")}
	seen := map[string]int{}
	begun := time.Now()
	results := checker().WaitAll(t.Context(), promises, 2*time.Second, func(name string, r promise.Result) {
		seen[name]++
		if name == "late" && seen[name] == 2 {
			write(t, late, nil)
		}
	})
	if took := time.Since(begun); took != 2*time.Second {
		t.Errorf("took %s", took)
	}
	var got []string
	for _, r := range results {
		got = append(got, fmt.Sprint(r.Name, " ", r.OK))
	}
	if want := []string{"never false", "late true", "there true"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if seen["there"] != 1 || seen["late"] != 3 || seen["never"] < 3 {
		t.Errorf("checked %v times", seen)
	}
}

// TestWaitAllCut has a check that hangs when the time is over: what the one
// before it said counts.
func TestWaitAllCut(t *testing.T) {
	var asked atomic.Int32
	over, release := make(chan time.Time), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) > 1 {
			close(over)
			<-release
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	defer server.Close()
	defer close(release)
	p := plan.Promise{Name: "p", Timeout: time.Hour, Check: plan.Check{Kind: "http", URL: server.URL}}
	c := checker()
	c.After = func(d time.Duration) <-chan time.Time {
		if d == time.Hour {
			return over
		}
		return time.After(d)
	}
	r := c.WaitAll(t.Context(), []plan.Promise{p}, time.Hour, nil)[0]
	if r.OK || r.Message != "status 418, want 200, from "+server.URL {
		t.Errorf("got %+v", r)
	}
	// Without any time, each is checked once.
	asked.Store(-100)
	checker().WaitAll(t.Context(), []plan.Promise{p, p, p}, 0, nil)
	if n := asked.Load() + 100; n != 3 {
		t.Errorf("checked %d times, want 3", n)
	}
}

func TestWaitAllInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := plan.Promise{Name: "p", Check: plan.Check{Kind: "file", Path: filepath.Join(t.TempDir(), "no")}}
	r := checker().WaitAll(ctx, []plan.Promise{p}, 1<<62, func(string, promise.Result) { cancel() })[0]
	if r.OK {
		t.Errorf("got %+v", r)
	}
}

// TestWatch runs in a bubble with a clock of its own.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var mu sync.Mutex
		var raised, checked []time.Duration
		note := func(list *[]time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			*list = append(*list, time.Since(begun))
		}
		p := plan.Promise{Name: "p", Period: time.Minute, Failures: 3, Check: plan.Check{Kind: "file", Path: path}}
		w := checker().Watch(t.Context(), []plan.Promise{p},
			func(plan.Promise, promise.Result) { note(&raised) },
			func(promise.Result) { note(&checked) })
		pass := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		expect := func(n int, when string) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if len(raised) != n {
				t.Fatalf("%s: raised %d times at %v, checked at %v", when, len(raised), raised, checked)
			}
		}
		pass(108 * time.Second)
		expect(0, "two failures at most")
		pass(10 * time.Minute)
		expect(1, "once, not again")
		if raised[0] != checked[2] {
			t.Errorf("raised at %v, checked at %v", raised, checked)
		}
		if results := w.Results(); len(results) != 1 || results[0].OK {
			t.Errorf("results %+v", results)
		}
		write(t, path, nil)
		pass(2 * time.Minute)
		if !w.Results()[0].OK {
			t.Error("it holds now")
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Minute)
		expect(2, "it had held in between")
		w.Reset()
		pass(10 * time.Minute)
		expect(3, "reset")
		for i := 1; i < len(checked); i++ {
			if gap := checked[i] - checked[i-1]; gap < 54*time.Second || gap > 66*time.Second {
				t.Errorf("gap of %s", gap)
			}
		}
		w.Stop()
		n := len(checked)
		pass(10 * time.Minute)
		if len(checked) != n {
			t.Error("checked after Stop")
		}
	})
}

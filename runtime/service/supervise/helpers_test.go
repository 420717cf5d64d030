//go:build linux

package supervise

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"instar/runtime/plan"
	"instar/runtime/process"
	"instar/runtime/service"
)

func TestMain(m *testing.M) {
	process.Helper()
	switch {
	case os.Getenv("SUPERVISE_TEST_DIR") != "": // see TestLeftoversOfAKilledSupervisor
		superviseForEver(os.Getenv("SUPERVISE_TEST_DIR"))
	case os.Getenv("SUPERVISE_TEST_TITLE") != "":
		overwriteEnvironment()
	}
	goleak.VerifyTestMain(m)
}

// patience is how long is waited for what must come, on a busy machine too.
const patience = time.Minute

// waitFor polls until ok holds.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

// alive reports whether pid runs; a zombie does not.
func alive(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// bench is a Supervisor under test and what stands around it.
type bench struct {
	testing.TB
	*Supervisor
	dir   string
	clock *fakeClock // nil unless made by newFake
	seen  *changes
}

// newBench returns a Supervisor that is closed at the end of the test, when
// nothing may be left.
func newBench(t testing.TB, change ...func(*Options)) *bench {
	t.Helper()
	b := &bench{TB: t, dir: t.TempDir(), seen: &changes{}}
	options := Options{
		LogDir:   func(instance string) string { return filepath.Join(b.dir, "logs", instance) },
		MarkBase: b.dir, OnChange: b.seen.add,
	}
	for _, c := range change {
		c(&options)
	}
	s, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	b.Supervisor = s
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
		if left := marked(t, b.dir); len(left) > 0 {
			t.Errorf("processes left: %v", left)
		}
	})
	return b
}

// marked returns the living processes that carry a mark of the base dir.
func marked(t testing.TB, dir string) []string {
	prefix, _, _ := strings.Cut(process.MarkPrefix(dir, "", ""), ":")
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range paths {
		data, err := os.ReadFile(path)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && bytes.Contains(data, []byte(process.MarkVariable+"="+prefix)) && alive(pid) {
			found = append(found, path)
		}
	}
	return found
}

// sh returns a service that runs a shell script in the bench's folder.
func (b *bench) sh(name, script string, after ...string) service.Spec {
	return service.Spec{
		Instance: "web", Name: name, Argv: []string{"/bin/sh", "-c", script},
		Env: []string{"PATH=" + plan.DefaultPath}, Dir: b.dir, Identity: plan.Identity{UID: -1},
		Restart: "always", After: after, StopSignal: "TERM", StopTimeout: patience, Digest: name + script,
	}
}

// run returns the same as a run.
func (b *bench) run(name, script string, after ...string) service.Spec {
	s := b.sh(name, script, after...)
	s.Run = true
	return s
}

// forever is a script that runs until TERM.
const forever = "exec sleep 100000"

// reconcile applies what Reconcile says, and returns it.
func (b *bench) reconcile(specs ...service.Spec) []service.Change {
	b.Helper()
	have, err := b.Observe(b.Context(), "web")
	if err != nil {
		b.Fatal(err)
	}
	changes := service.Reconcile(specs, have, true)
	b.apply(changes...)
	return changes
}

func (b *bench) apply(changes ...service.Change) {
	b.Helper()
	if err := b.Apply(b.Context(), "web", changes); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) state(name string) service.State {
	b.Helper()
	states, err := b.Observe(b.Context(), "web")
	if err != nil {
		b.Fatal(err)
	}
	return states[name]
}

func (b *bench) pid(name string) int {
	b.Helper()
	pid := b.state(name).PID
	if pid == 0 {
		b.Fatalf("%s does not run: %+v", name, b.state(name))
	}
	return pid
}

func (b *bench) until(name string, status service.Status) service.State {
	b.Helper()
	waitFor(b, fmt.Sprintf("%s to be %s", name, status), func() bool { return b.state(name).Status == status })
	return b.state(name)
}

// read returns a file of the bench's folder, "" when there is none.
func (b *bench) read(name string) string {
	data, _ := os.ReadFile(filepath.Join(b.dir, name))
	return string(data)
}

func (b *bench) log(name string) string { return b.read("logs/web/" + name + ".log") }

// number waits for a number in a file of the bench's folder.
func (b *bench) number(name string) int {
	b.Helper()
	n := 0
	waitFor(b, name, func() bool {
		text, complete := strings.CutSuffix(b.read(name), "\n")
		v, err := strconv.Atoi(text)
		n = v
		return err == nil && complete
	})
	return n
}

// changes records what OnChange tells.
type changes struct {
	mu    sync.Mutex
	lines []string
}

func (c *changes) add(_ string, s service.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, fmt.Sprintf("%s %s", s.Name, s.Status))
}

// of returns the states that name went through.
func (c *changes) of(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var states []string
	for _, line := range c.lines {
		if state, ok := strings.CutPrefix(line, name+" "); ok {
			states = append(states, state)
		}
	}
	return strings.Join(states, " ")
}

// fakeClock passes time only when it is told to.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[*fakeTimer]struct{}
	set    []time.Duration // all timers ever set
}

type fakeTimer struct {
	at time.Time
	c  chan time.Time
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Unix(1_000_000, 0), timers: map[*fakeTimer]struct{}{}}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Timer(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &fakeTimer{c.now.Add(d), make(chan time.Time, 1)}
	c.timers[t] = struct{}{}
	c.set = append(c.set, d)
	return t.c, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.timers, t)
	}
}

// advance passes d, and fires what is due.
func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for t := range c.timers {
		if !t.at.After(c.now) {
			t.c <- c.now
			delete(c.timers, t)
		}
	}
}

// timer returns the n-th timer that was set, from 0, once it was.
func (b *bench) timer(n int) time.Duration {
	b.Helper()
	waitFor(b, fmt.Sprintf("timer %d", n), func() bool { b.clock.mu.Lock(); defer b.clock.mu.Unlock(); return len(b.clock.set) > n })
	b.clock.mu.Lock()
	defer b.clock.mu.Unlock()
	return b.clock.set[n]
}

// newFake returns a bench whose clock stands still.
func newFake(t testing.TB) *bench {
	clock := newFakeClock()
	b := newBench(t, func(o *Options) { o.Clock = clock })
	b.clock = clock
	return b
}

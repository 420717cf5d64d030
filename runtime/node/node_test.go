package node

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"instar/runtime/control"
	"instar/runtime/plan"
	"instar/runtime/promise"
	"instar/runtime/report"
	"instar/runtime/service"
	"instar/runtime/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBangOnceUntilSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		synctest.Wait()
		b.expect("processings", b.count(), 1)
		at := time.Now().UTC()
		b.exit("a")
		b.expect("processings", b.count(), 2)
		if st, _ := b.load(); st.LastBang == nil || st.LastBang.Reason != "service a ended: exit status 0" || !st.LastBang.At.Equal(at) {
			t.Errorf("recorded: %+v", st.LastBang)
		}
		b.exit("a") // after a success: another alert
		b.expect("alerts", b.told("bang "), 2)

		b.set(fails)
		b.exit("b")
		b.expect("alerts", b.told("bang "), 3)
		failures := b.count()
		for range 10 {
			b.exit("b")
			b.exit("a")
		}
		b.expect("alerts until it succeeds", b.told("bang "), 3)
		b.expect("processings", b.count(), failures)

		b.set(works)
		time.Sleep(time.Minute)
		b.exit("b")
		b.expect("alerts after the success", b.told("bang "), 4)
		b.stop()
	})
}

func TestRetriesBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		synctest.Wait()
		b.set(fails)
		b.exit("a")
		time.Sleep(22 * time.Minute)
		b.mu.Lock()
		var gaps []time.Duration
		for i := 2; i < len(b.evaluated); i++ {
			gaps = append(gaps, b.evaluated[i]-b.evaluated[i-1])
		}
		b.evaluated = nil
		b.mu.Unlock()
		want := []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300}
		for i := range want {
			want[i] *= time.Second
		}
		if diff := cmp.Diff(want, gaps); diff != "" {
			t.Error(diff)
		}
		// What was asked for begins anew; and once all is well, a day goes by.
		if _, code := b.do(control.Action{Verb: "apply"}); code != 1 {
			t.Errorf("exit code %d", code)
		}
		time.Sleep(1500 * time.Millisecond)
		b.expect("after an apply", b.count(), 2)
		b.set(works)
		time.Sleep(2 * time.Second)
		b.expect("then it succeeds", b.count(), 3)
		time.Sleep(21 * time.Hour)
		b.expect("and nothing is done", b.count(), 3)
		time.Sleep(3*time.Hour + time.Minute)
		b.expect("for a day", b.count(), 4)
		b.stop()
	})
}

// TestPreemption: what nobody waits for does not keep anybody waiting for its
// promises, whenever they come; what somebody waits for is not interrupted.
func TestPreemption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		synctest.Wait()
		b.set(func() (*plan.Plan, error) {
			p := planOf("a", "b")
			p.Promises = []plan.Promise{{Name: "slow", Period: time.Hour, Failures: 1}}
			return p, nil
		})
		waiting := 0
		b.check(func(ctx context.Context) []report.Promise {
			waiting++
			select {
			case <-ctx.Done():
			case <-time.After(time.Minute):
			}
			return []report.Promise{{Name: "slow", OK: ctx.Err() == nil}}
		})
		begin := time.Now()
		b.exit("a")
		b.expect("waiting for the promise", waiting, 1)
		if _, code := b.do(control.Action{Verb: "stop", Service: "b"}); code != 0 || time.Since(begin) != 0 {
			t.Errorf("exit code %d after %v", code, time.Since(begin))
		}
		b.expect("errors shown", b.told("took over"), 0)
		b.expect("failures of a check that was cut short", b.told("fails slow"), 0)

		// The alert is on its way, and so are two who ask: each waits for its own
		// alone, whoever comes first.
		for range 8 {
			var all sync.WaitGroup
			begin = time.Now()
			for range 2 {
				all.Go(func() {
					if rep, code := b.do(control.Action{Verb: "apply"}); code != 0 {
						t.Errorf("exit code %d: %+v", code, rep.Error)
					}
				})
			}
			synctest.Wait()
			b.exits <- service.Exit{Name: "b", At: time.Now()}
			all.Wait()
			if took := time.Since(begin); took != 2*time.Minute {
				t.Errorf("took %v", took)
			}
			time.Sleep(10 * time.Minute) // for the alert
		}
		b.stop()
	})
}

func TestHeldServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		synctest.Wait()
		stopped := func(what string) {
			t.Helper()
			if got := b.status("a"); got != service.Stopped {
				t.Errorf("%s: a is %s", what, got)
			}
		}
		running := func(what string) {
			t.Helper()
			if got := b.status("a"); got != service.Running {
				t.Errorf("%s: a is %s", what, got)
			}
		}
		b.do(control.Action{Verb: "stop", Service: "a"})
		stopped("stop")
		b.expect("alerts", b.told("bang "), 0)
		b.exit("b")
		stopped("after an alert")
		b.do(control.Action{Verb: "bang", Reason: "by hand"})
		stopped("after an alert by hand")
		b.do(control.Action{Verb: "start", Service: "a"})
		running("start")
		b.do(control.Action{Verb: "stop", Service: "a"})
		b.do(control.Action{Verb: "apply", Settings: &state.Settings{}})
		running("apply")
		b.do(control.Action{Verb: "stop", Service: "a"})
		b.do(control.Action{Verb: "stop"})
		if rep, code := b.do(control.Action{Verb: "start", Service: "a"}); code != 1 || !strings.Contains(rep.Error.Hint, "instar start web") {
			t.Errorf("of a stopped instance: %d, %+v", code, rep.Error)
		}
		b.do(control.Action{Verb: "restart"})
		running("restart")
		if rep, code := b.do(control.Action{Verb: "stop", Service: "nothing"}); code != 1 || rep.Error.Hint != "it has a, b" {
			t.Errorf("unknown service: %d, %+v", code, rep.Error)
		}

		// A profile without services leaves none to be restarted.
		b.set(func() (*plan.Plan, error) { return planOf(), nil })
		b.do(control.Action{Verb: "apply"})
		if rep, code := b.do(control.Action{Verb: "restart"}); code != 0 || len(rep.Changes) != 0 {
			t.Errorf("restart of nothing: %d, %+v", code, rep)
		}
		b.stop()
	})
}

// TestStopWithABrokenProfile: that it shall be stopped is remembered.
func TestStopWithABrokenProfile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		synctest.Wait()
		b.set(fails)
		if _, code := b.do(control.Action{Verb: "stop"}); code != 1 {
			t.Errorf("exit code %d", code)
		}
		b.set(works)
		time.Sleep(time.Hour)
		if got := b.status("a"); got != service.Stopped {
			t.Errorf("a is %s", got)
		}
		b.stop()
	})
}

func TestDestroyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		events, err := b.Events(context.Background(), "web")
		if err != nil {
			t.Fatal(err)
		}
		if rep, code := b.do(control.Action{Verb: "destroy", Purge: true}); code != 0 {
			t.Errorf("exit code %d: %+v", code, rep.Error)
		}
		<-b.ran
		if !b.Destroyed() || !b.store.Removed && b.status("a") != "" {
			t.Error("not destroyed")
		}
		rep, code := b.do(control.Action{Verb: "apply"})
		if code != 1 || rep.Error == nil || rep.Error.Message != ErrGone.Error() {
			t.Errorf("afterwards: %d, %+v", code, rep)
		}
		for range events { // it is closed
		}
		late, err := b.Events(context.Background(), "web")
		if _, open := <-late; open || err != nil {
			t.Errorf("late events: %v, %v", open, err)
		}
	})
}

// TestStopped: whoever waits when `up` ends is told so.
func TestStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		synctest.Wait()
		b.set(func() (*plan.Plan, error) {
			p := planOf("a")
			p.Promises = []plan.Promise{{Name: "slow"}}
			return p, nil
		})
		b.check(func(ctx context.Context) []report.Promise {
			<-ctx.Done()
			return nil
		})
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if rep, code := b.do(control.Action{Verb: "apply"}); code != 1 || rep.Error.Message != ErrGone.Error() {
					t.Errorf("%d, %+v", code, rep.Error)
				}
			})
		}
		synctest.Wait()
		b.stop()
		all.Wait()
	})
}

func TestSlowSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		synctest.Wait()
		slow, err := b.Events(context.Background(), "web")
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(context.Background())
		quick, err := b.Events(ctx, "web")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		var reading sync.WaitGroup
		reading.Go(func() {
			for range quick {
				n++
			}
		})
		for i := range eventBacklog + 500 {
			b.Changed(service.State{Name: "a", Status: service.Running, PID: i, Message: "topsecret"})
			synctest.Wait()
		}
		leave()
		reading.Wait()
		b.stop()
		kept := 0
		for ev := range slow {
			if kept++; strings.Contains(ev.Service.Message, "topsecret") {
				t.Fatal("an event has a secret")
			}
		}
		if n != eventBacklog+500 || kept != eventBacklog {
			t.Errorf("quick got %d, slow %d", n, kept)
		}
	})
}

// TestRevealed: only who asked for it sees what is published unmasked.
func TestRevealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		synctest.Wait()
		rep, _ := b.do(control.Action{Verb: "apply", Reveal: true})
		if rep.Published["url"] != "x:topsecret" || rep.Published["id"] != 1 {
			t.Errorf("published: %v", rep.Published)
		}
		b.expect("shown to others", b.told("topsecret"), 0)
		b.expect("shown to others, masked", b.told("done x:****"), 2)
		b.stop()
	})
}

// TestPendingGoesOn: what an evaluation lacked is looked for.
func TestPendingGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		synctest.Wait()
		b.set(func() (*plan.Plan, error) {
			p := planOf("a")
			p.Observed = []string{"made"}
			if _, err := os.Lstat(filepath.Join(b.root, "made")); err != nil {
				p.Pending = &plan.Pending{Why: "made is not there"}
			}
			return p, nil
		})
		if rep, _ := b.do(control.Action{Verb: "apply"}); rep.Pending == nil {
			t.Error("not pending")
		}
		time.Sleep(10 * time.Minute) // the next attempt is minutes away
		if rep, code := b.do(control.Action{Verb: "restart", Service: "b"}); code != 0 {
			t.Errorf("what an incomplete plan does not speak of is gone: %+v", rep.Error)
		}
		before := b.count()
		if err := os.WriteFile(filepath.Join(b.root, "made"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		b.expect("processings", b.count(), before+1)
		if st, _ := b.load(); st.Pending != "" {
			t.Errorf("still pending: %s", st.Pending)
		}
		b.expect("services that went", b.told("change unload b"), 1)
		time.Sleep(time.Hour)
		b.expect("processings", b.count(), before+1)
		b.stop()
	})
}

// TestFailingPromise: one alert when it fails, attempts while it does, and a
// processing when it holds again, so that the next failure is an alert again.
func TestFailingPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "there")
		hold := func() {
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		hold()
		checker := &promise.Checker{}
		list := []plan.Promise{{Name: "there", Period: 100 * time.Second, Timeout: time.Second, Failures: 2,
			Check: plan.Check{Kind: "file", Path: file}}}
		b := newBench(t, func(o *Options) { o.Checker = checker })
		b.set(func() (*plan.Plan, error) {
			p := planOf("a")
			p.Promises = list
			return p, nil
		})
		b.check(func(ctx context.Context) []report.Promise {
			r := checker.WaitAll(ctx, list, 0, func(string, promise.Result) {})[0]
			return []report.Promise{{Name: r.Name, OK: r.OK, Message: r.Message, At: r.At}}
		})
		b.do(control.Action{Verb: "apply"})
		before := b.count()
		time.Sleep(time.Hour)
		b.expect("processings while it holds", b.count(), before)
		b.expect("periodical results shown", b.told("promise there"), 0)

		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		b.expect("alerts", b.told("bang promise there failed 2 times in a row"), 1)
		b.expect("shown", b.told("does not hold any more"), 1)
		if n := b.count() - before; n < 10 || n > 40 {
			t.Errorf("%d attempts in an hour", n)
		}
		hold()
		before = b.count()
		time.Sleep(5 * time.Minute)
		b.expect("processings when it holds again", b.count(), before+1)
		b.expect("shown", b.told("holds again"), 1)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		b.expect("alerts", b.told("bang promise"), 2)
		b.stop()
	})
}

// TestLateRun: a run that succeeds after it was waited for makes good what
// failed for it.
func TestLateRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		synctest.Wait()
		b.check(func(context.Context) []report.Promise { return []report.Promise{{Name: "x"}} })
		b.set(func() (*plan.Plan, error) {
			p := planOf("a")
			p.Promises = []plan.Promise{{Name: "x"}}
			return p, nil
		})
		if _, code := b.do(control.Action{Verb: "apply"}); code != 2 {
			t.Errorf("exit code %d", code)
		}
		before := b.count()
		b.Changed(service.State{Name: "keys", Run: true, Status: service.Done})
		synctest.Wait()
		b.expect("processings", b.count(), before+1)
		b.Changed(service.State{Name: "a", Status: service.Running})
		synctest.Wait()
		b.expect("processings", b.count(), before+1)
		b.stop()
	})
}

func TestLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		synctest.Wait()
		unlock, err := b.lock()
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		rep, code := b.do(control.Action{Verb: "apply"})
		if took := time.Since(begin); code != 1 || rep.Error == nil || took < lockPatience || took > lockPatience+time.Second {
			t.Errorf("%d after %v: %+v", code, took, rep.Error)
		}
		time.AfterFunc(time.Second, unlock)
		if _, code := b.do(control.Action{Verb: "apply"}); code != 0 {
			t.Errorf("exit code %d", code)
		}
		b.stop()
	})
}

// TestMany: everything at once, for the race detector.
func TestMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for j := range 20 {
					actions := []control.Action{{Verb: "apply"}, {Verb: "stop", Service: "a"}, {Verb: "start", Service: "a"}, {Verb: "restart"},
						{Verb: "bang", Reason: "x"}, {Verb: "stop"}, {Verb: "start"}}
					b.do(actions[(i+j)%len(actions)])
					if _, err := b.Status(context.Background(), "web", false); err != nil {
						t.Error(err)
					}
					if j%3 == 0 {
						b.exits <- service.Exit{Name: "a", At: time.Now()}
					}
					b.Changed(service.State{Name: "a", Status: service.Restarting})
					ctx, cancel := context.WithCancel(context.Background())
					if _, err := b.Events(ctx, "web"); err != nil {
						t.Error(err)
					}
					cancel()
				}
			})
		}
		all.Wait()
		b.do(control.Action{Verb: "start"})
		if got := []service.Status{b.status("a"), b.status("b")}; !slices.Equal(got, []service.Status{service.Running, service.Running}) {
			t.Errorf("in the end: %v", got)
		}
		b.stop()
	})
}

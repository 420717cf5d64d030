package node

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"instar/runtime/control"
	"instar/runtime/history"
	"instar/runtime/request"
	"instar/runtime/service"
	"instar/runtime/state"
)

// The daemon ends in time although something hangs that heeds nothing, and
// services that others supervise run on.
func TestDaemonEndsInTime(t *testing.T) {
	f := newFarm(t)
	defer func() {
		close(f.hanging)
		f.work.Wait() // else it writes into what is being removed
	}()
	f.late = true
	f.profile("web", "service a")
	f.profile("hung", "wait")
	f.request("web", "started")
	f.request("hung", "started")
	f.run()
	f.runs("web", "a")
	f.until("hanging", func() bool { return f.count("hung") > 0 })
	f.retire()
	if got := f.service("web", "a"); got != service.Running {
		t.Errorf("a is %s", got)
	}
}

// A clock that was put back makes what is remembered look as if it came from the
// future. That does not matter: what differs is processed, what does not is not.
func TestDaemonClockGoesBack(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "service a")
	f.request("web", "started")
	f.run()
	f.settled("web")
	f.retire()
	future := time.Now().Add(1000 * time.Hour)
	folder := f.home.Instance("web")
	st, err := folder.Load()
	f.check(err)
	st.AppliedAt, st.LastBang = future, &state.Bang{At: future, Reason: "then"}
	f.check(folder.Save(st))
	f.check(history.Append(folder, &history.Line{FormatVersion: 1, At: future, Why: "then"}))
	f.check(filepath.WalkDir(f.dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, future, future)
	}))
	f.run()
	f.runs("web", "a")
	f.profile("web", "service b")
	f.request("web", "started", func(r *request.Request) { r.Wait = "1s" })
	f.runs("web", "b")
	f.settled("web")
	if r := f.do("web", control.Action{Verb: "bang", Reason: "now"}); r.Error != nil {
		t.Error(r.Error)
	}
	if st, err = folder.Load(); err != nil || st.LastBang == nil || st.LastBang.Reason != "now" {
		t.Errorf("the last alert: %+v, %v", st.LastBang, err)
	}
	if whys := f.whys("web"); whys[len(whys)-1] != "bang: now" {
		t.Errorf("history: %v", whys)
	}
}

// Once a day, but not all at the same time.
func TestDailyJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []*bench
		for range 10 {
			all = append(all, newBench(t))
		}
		time.Sleep(period + time.Second)
		times := map[time.Duration]bool{}
		for _, b := range all {
			b.mu.Lock()
			at := b.evaluated[1]
			b.mu.Unlock()
			times[at.Round(time.Second)] = true
			if at > period || at < period-period/10 {
				t.Errorf("processed after %v", at)
			}
		}
		if len(times) < 5 {
			t.Errorf("all at the same time: %v", times)
		}
		for _, b := range all {
			b.stop()
		}
	})
}

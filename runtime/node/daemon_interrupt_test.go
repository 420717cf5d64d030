package node

import (
	"context"
	"testing"

	"instar/runtime/control"
	"instar/runtime/report"
	"instar/runtime/request"
	"instar/runtime/state"
)

// A destruction does not wait for a processing that hangs, whoever began it, and
// whichever way it is asked for.
func TestDaemonDestructionDoesNotWait(t *testing.T) {
	for name, destroy := range map[string]func(*farm){
		"by command": func(f *farm) {
			if r := f.do("web", control.Action{Verb: "destroy"}); r.Error != nil {
				f.t.Error(r.Error)
			}
		},
		"by request": func(f *farm) { f.request("web", state.Destroyed) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFarm(t)
			f.profile("web", "service a")
			f.request("web", "started")
			f.run()
			f.runs("web", "a")
			f.settled("web")
			f.profile("web", "hang")
			asked := make(chan *report.Report, 1)
			before := f.count("web")
			go func() {
				r, _ := f.Act(context.Background(), "web", control.Action{Verb: "apply", Settings: f.settings("web")}, nil)
				asked <- r
			}()
			f.until("hanging", func() bool { return f.count("web") > before })
			destroy(f)
			if r := <-asked; r.Error == nil || r.Error.Message != ErrInterrupted.Error() {
				t.Errorf("what hung was told: %+v", r.Error)
			}
			f.until("destroyed", func() bool {
				st, err := f.home.Instance("web").Load()
				return err == nil && st.Requested == state.Destroyed
			})
			f.settled("web")
			if got := f.service("web", "a"); got != "" {
				t.Errorf("a is %s", got)
			}
		})
	}
}

// A request to destroy that comes while a profile is evaluated, before anything
// can be interrupted, is not lost either.
func TestDaemonDestructionDuringEvaluation(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "wait", "service a")
	f.request("web", "started")
	f.run()
	f.until("at work", func() bool { return f.count("web") > 0 })
	f.request("web", state.Destroyed)
	f.until("noticed", func() bool {
		r, _, err := request.Read(f.home, "web")
		k := f.find("web")
		k.mu.Lock()
		defer k.mu.Unlock()
		return err == nil && r.State == state.Destroyed && k.request.State == r.State
	})
	close(f.hanging)
	f.settled("web")
	if got := f.service("web", "a"); got != "" {
		t.Errorf("a is %s", got)
	}
}

package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"instar/runtime/control"
	"instar/runtime/plan"
	"instar/runtime/promise"
	"instar/runtime/report"
)

// Promises are checked although the profile is broken by now, and not while the
// instance is stopped.
func TestPromisesOfBrokenAndStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "there")
		hold := func() {
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		fail := func() {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		checker := &promise.Checker{}
		list := []plan.Promise{{Name: "there", Period: 100 * time.Second, Timeout: time.Second, Failures: 2,
			Check: plan.Check{Kind: "file", Path: file}}}
		b := newBench(t, func(o *Options) { o.Checker = checker })
		good := func() (*plan.Plan, error) {
			p := planOf("a")
			p.Promises = list
			return p, nil
		}
		b.check(func(ctx context.Context) []report.Promise {
			r := checker.WaitAll(ctx, list, 0, func(string, promise.Result) {})[0]
			return []report.Promise{{Name: r.Name, OK: r.OK, Message: r.Message, At: r.At}}
		})
		hold()
		b.set(good)
		b.do(control.Action{Verb: "apply"})
		b.set(func() (*plan.Plan, error) { return nil, errors.New("broken by now") })
		b.do(control.Action{Verb: "apply"})
		fail()
		time.Sleep(time.Hour)
		b.expect("alerts while the profile is broken", b.told("bang promise there"), 1)

		hold()
		b.set(good)
		if rep, _ := b.do(control.Action{Verb: "apply"}); rep.Error != nil {
			t.Fatal(rep.Error.Message)
		}
		if rep, _ := b.do(control.Action{Verb: "stop"}); rep.Error != nil {
			t.Fatal(rep.Error.Message)
		}
		fail()
		time.Sleep(time.Hour)
		b.expect("alerts while it is stopped", b.told("bang promise there"), 1)
		b.stop()
	})
}

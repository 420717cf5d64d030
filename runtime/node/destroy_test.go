package node

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"instar/runtime/control"
	"instar/runtime/engine"
)

// A destruction that fails is tried again, less and less often, until it has
// succeeded; then the instance is not served any more.
func TestDestructionBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		begin := time.Now()
		b := newBench(t, func(o *Options) {
			build := o.Engine
			o.Engine = func(action control.Action) (*engine.Engine, func(), error) {
				if action.Verb == "destroy" {
					at = append(at, time.Since(begin).Round(time.Millisecond))
					if len(at) < 12 {
						return nil, nil, errors.New("etc/prerm/drain failed")
					}
				}
				return build(action)
			}
			o.Unasked = func() control.Action { return control.Action{Verb: "destroy", Purge: true} }
		})
		synctest.Wait()
		if _, code := b.do(control.Action{Verb: "destroy", Purge: true}); code != 1 {
			t.Errorf("exit code %d", code)
		}
		<-b.ran
		if !b.Destroyed() {
			t.Error("not destroyed")
		}
		var gaps []time.Duration
		for i := 1; i < len(at); i++ {
			gaps = append(gaps, (at[i]-at[i-1])/time.Second)
		}
		if diff := cmp.Diff([]time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300}, gaps); diff != "" {
			t.Error(diff)
		}
	})
}

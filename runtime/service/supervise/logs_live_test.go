//go:build linux

package supervise

import (
	"strings"
	"sync/atomic"
	"testing"

	"instar/runtime/service"
)

func TestOutputIsLoggedAndMasked(t *testing.T) {
	var mask atomic.Pointer[func([]byte) []byte]
	b := newBench(t, func(o *Options) {
		o.LogSize = 1000
		o.Mask = func(instance string) func([]byte) []byte {
			if m := mask.Load(); m != nil && instance == "web" {
				return *m
			}
			return nil
		}
	})
	hide := masked
	mask.Store(&hide)
	b.reconcile(b.sh("a", `echo out secret; echo err secret >&2; printf unfinished-secret; sleep 0.1; exec sleep 100000`))
	waitFor(t, "output", func() bool { return b.log("a") == "out ******\nerr ******\n" })
	b.apply(service.Change{Op: service.Stop, Name: "a"})
	if got := b.log("a"); got != "out ******\nerr ******\nunfinished-******\n" {
		t.Errorf("log %q", got)
	}
	b.reconcile(b.sh("a", `i=0; while [ $i -lt 300 ]; do echo "line $i"; i=$((i+1)); done; exec sleep 100000`))
	waitFor(t, "the last line", func() bool { return strings.HasSuffix(b.log("a"), "line 299\n") })
	if b.read("logs/web/a.log.2") == "" || len(b.log("a")) > 1000 {
		t.Error("not rotated")
	}
}

func TestLastWordsAreLogged(t *testing.T) {
	b := newFake(t)
	spec := b.sh("a", `i=0; while [ $i -lt 2000 ]; do echo "a long line of output, number $i"; i=$((i+1)); done; echo last words; exit 9`)
	spec.Restart = "no"
	b.reconcile(spec)
	b.until("a", service.Failed)
	if got := b.log("a"); !strings.HasSuffix(got, "number 1999\nlast words\ninstar: exit status 9; not started again\n") {
		t.Errorf("log ends %q", got[max(0, len(got)-200):])
	}
}

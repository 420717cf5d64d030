//go:build linux

package native

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"instar/runtime/service"
)

// failingSystemctl counts the calls of instar, not those of the scripts in the
// units, and fails one of them: before it is done or afterwards.
const failingSystemctl = `#!/bin/sh
cd %[1]q || exit 1
case " $* " in *" --no-ask-password "*)
	n=$(($(cat count) + 1))
	echo $n >count
	if [ "$n-before" = "$(cat fail)" ]; then exit 1; fi
	if [ "$n-after" = "$(cat fail)" ]; then /usr/bin/systemctl "$@"; exit 1; fi ;;
esac
exec /usr/bin/systemctl "$@"
`

// TestHostInterrupted: an apply ends at each of the things it asks for, undone
// and done. The next one completes it: what changed has been restarted once,
// nothing else was touched, and nothing is left over.
func TestHostInterrupted(t *testing.T) {
	h := newHost(t)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("systemctl", fmt.Sprintf(failingSystemctl, h.dir))
	write("count", "0")
	write("fail", "")
	h.systemd.systemctl = filepath.Join(h.dir, "systemctl")
	started := func(name string) int { return len(h.lines(name + ".starts")) }
	spec := func(name, digest string) service.Spec {
		s := h.sh(name, "echo x >>"+name+".starts; "+forever)
		s.Digest = digest
		return s
	}
	interrupted := 0
	for _, when := range []string{"before", "after"} {
		for call := 1; ; call++ {
			at := fmt.Sprint(call, "-", when)
			changed, beside, gone := spec("changed", "old"+at), spec("beside", "same"), spec("gone", "old")
			reloaded := spec("reloaded", "same")
			reloaded.ReloadArgv, reloaded.ReloadDigest = []string{"/bin/true"}, "old"+at
			h.reconcile(changed, beside, gone, reloaded)
			h.within(patience, "starts", func() bool { return started("changed") > 0 && started("gone") > 0 })
			os.Remove(h.dir + "/changed.starts")
			before := h.states()
			changed.Digest, reloaded.ReloadDigest = "new"+at, "new"+at
			want := []service.Spec{changed, beside, reloaded, spec("added", "new")}
			changes := service.Reconcile(want, h.states(), true)
			write("count", "0")
			write("fail", at)
			err := h.Apply(t.Context(), h.instance, changes)
			write("fail", "")
			made, _ := strconv.Atoi(strings.TrimSpace(h.read(h.dir + "/count")))
			if made < call {
				break // there are no more calls
			}
			if left := service.Reconcile(want, h.states(), true); err == nil && len(left) > 0 {
				t.Errorf("%s: no error, and yet %s", at, show(left))
			}
			interrupted++
			h.reconcile(want...)
			h.settled(want...)
			after := h.states()
			h.within(patience, "one more start", func() bool { return started("changed") > 0 })
			if n := started("changed"); n != 1 {
				t.Errorf("%s: restarted %d times", at, n)
			}
			for _, name := range []string{"beside", "reloaded"} {
				if before[name].PID != after[name].PID {
					t.Errorf("%s: %s was restarted", at, name)
				}
			}
			if after["added"].Status != service.Running || after["changed"].Status != service.Running || len(after) != 4 {
				t.Errorf("%s: %+v", at, after)
			}
			if files, _ := filepath.Glob(h.systemd.unitDir + "/*" + pendingSuffix); len(files) > 0 {
				t.Errorf("%s: left %q", at, files)
			}
			h.reconcile(changed, beside, reloaded)
			os.Remove(h.dir + "/changed.starts")
			os.Remove(h.dir + "/gone.starts")
		}
	}
	t.Logf("%d interruptions", interrupted)
	if interrupted < 12 {
		t.Errorf("only %d interruptions: does this test still interrupt?", interrupted)
	}
}

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

// interruptible returns the host with a systemctl that fails when it is told so.
func (h *host) interruptible() *host {
	h.write("systemctl", fmt.Sprintf(failingSystemctl, h.dir))
	os.Chmod(filepath.Join(h.dir, "systemctl"), 0o755)
	h.write("count", "0")
	h.write("fail", "")
	h.systemd.systemctl = filepath.Join(h.dir, "systemctl")
	return h
}

// interrupt applies changes, of which one call fails, and returns how many there
// were.
func (h *host) interrupt(at string, changes []service.Change) (made int, err error) {
	h.write("count", "0")
	h.write("fail", at)
	err = h.Apply(h.Context(), h.instance, changes)
	h.write("fail", "")
	made, _ = strconv.Atoi(strings.TrimSpace(h.read(h.dir + "/count")))
	return made, err
}

// TestHostTimerInterrupted: as TestHostInterrupted, with other times for a timer:
// it is armed by them after the next apply, and what it has started goes on.
func TestHostTimerInterrupted(t *testing.T) {
	h := newHost(t).interruptible()
	spec := func(month int) service.Spec {
		s := h.cron("job", fmt.Sprintf("1 1 1 %d *", month), "echo x >>fired; exec sleep 1000")
		s.PrivateEnv = []string{fmt.Sprint("SECRET=", month)}
		return s
	}
	h.reconcile(spec(1))
	h.fire("job")
	h.within(patience, "start", func() bool { return len(h.lines("fired")) == 1 })
	pid, interrupted := h.pid("job"), 0
	for call := 1; ; call++ {
		at := fmt.Sprint(call, "-after")
		want := spec(call%12 + 1)
		made, err := h.interrupt(at, service.Reconcile([]service.Spec{want}, h.states(), true))
		if left := service.Reconcile([]service.Spec{want}, h.states(), true); err == nil && len(left) > 0 {
			t.Errorf("%s: no error, and yet %s", at, show(left))
		}
		h.reconcile(want)
		h.settled(want)
		if s := h.state("job"); s.PID != pid || s.Schedule != want.Schedule || fmt.Sprintf("1 1 1 %d *", s.Next.Month()) != want.Schedule || len(h.lines("fired")) != 1 {
			t.Errorf("%s: %+v", at, s)
		}
		if got := h.read(h.systemd.privatePath(h.instance, "job")); !strings.Contains(got, want.PrivateEnv[0][len("SECRET="):]) {
			t.Errorf("%s: %s", at, got)
		}
		if made < call {
			break // there are no more calls
		}
		interrupted++
	}
	t.Logf("%d interruptions", interrupted)
	if interrupted < 5 {
		t.Errorf("only %d interruptions: does this test still interrupt?", interrupted)
	}
}

// TestHostInterrupted: an apply ends at each of the things it asks for, undone
// and done. The next one completes it: what changed has been restarted once,
// nothing else was touched, and nothing is left over.
func TestHostInterrupted(t *testing.T) {
	h := newHost(t).interruptible()
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
			made, err := h.interrupt(at, service.Reconcile(want, h.states(), true))
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

//go:build linux

package native

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"instar/runtime/service"
)

// TestHostAlarm: systemd starts the program when it is due; and what is due again
// while it runs is not made up. It stands in the first file: it is armed before
// all other tests, and goes on when they are done.
func TestHostAlarm(t *testing.T) {
	h := newHost(t)
	const period = 10 // seconds; no schedule is so short, but an administrator's may be
	a := h.cron("a", "* * * * *", `date +%s >>fired; until test -e go; do sleep 0.05; done; echo x >>waiting; exec sleep 1000`)
	b := h.cron("b", "11 11 11 11 *", "true")
	h.reconcile(a, b)
	armed := time.Now()
	if next := h.state("a").Next; time.Until(next) > time.Minute || next.Second() != 0 {
		t.Errorf("next: %v", next)
	}
	dropIn := "/run/systemd/system/" + timerName(h.unit("a")) + ".d"
	if err := os.MkdirAll(dropIn, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dropIn) })
	if err := os.WriteFile(dropIn+"/often.conf", []byte(fmt.Sprintf("[Timer]\nOnCalendar=\nOnCalendar=*:*:0/%d\n", period)), 0o644); err != nil {
		t.Fatal(err)
	}
	h.must("systemctl", "daemon-reload")
	h.must("systemctl", "restart", timerName(h.unit("a")))
	h.settled(a, b)
	t.Parallel()
	fired := func(n int) (at int64) {
		h.within(3*period*time.Second, "its time", func() bool { return len(h.lines("fired")) >= n })
		fmt.Sscan(h.lines("fired")[n-1], &at)
		if at%period > period/3 {
			t.Errorf("start %d is %d s late", n, at%period)
		}
		return at
	}
	at := fired(1)
	if s := h.state("a"); s.Status != service.Running || s.Last.Unix() > at || s.Last.Unix() < at-3 || !s.Next.After(time.Now()) {
		t.Errorf("running: %+v", s)
	}
	h.within(3*period*time.Second, "the middle of another period", func() bool {
		now := time.Now().Unix()
		return now/period > at/period && now%period == period/2
	})
	if n := len(h.lines("fired")); n != 1 {
		t.Errorf("started %d times at once", n)
	}
	h.write("go", "")
	h.within(period*time.Second, "what can be killed", func() bool { return len(h.lines("waiting")) == 1 })
	syscall.Kill(h.pid("a"), syscall.SIGTERM)
	h.within(period*time.Second, "its end", func() bool { return h.state("a").Status == service.Failed })
	if s := h.state("a"); s.Message != "signal: TERM" {
		t.Errorf("killed: %+v", s)
	}
	if wait := time.Until(h.state("a").Next); wait <= 0 || wait > period*time.Second {
		t.Errorf("next in %v", wait)
	}
	fired(2)
	h.settled(a, b)

	// Minutes have come and gone since it was armed: none of them is due.
	h.within(time.Minute, "a minute of before, and the middle of one", func() bool {
		now := time.Now()
		return now.Unix()/60 > armed.Unix()/60 && now.Second() > 1 && now.Second() < 50
	})
	b = h.cron("b", "* * * * *", "true")
	h.expect(h.reconcile(a, b), "reload b (schedule was 11 11 11 11 *, is * * * * *)")
	if s := h.state("b"); !s.Last.IsZero() || s.Status != service.Waiting || time.Until(s.Next) > time.Minute {
		t.Errorf("with other times: %+v", s)
	}
}

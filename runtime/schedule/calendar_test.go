package schedule

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOnCalendar(t *testing.T) {
	for text, want := range map[string][]string{
		"@daily":             {"*-*-* 00:00:00"},
		"@weekly":            {"Sun *-*-* 00:00:00"},
		"*/20 8-9 * 2,jan *": {"*-01,02-* 08,09:00,20,40:00"},
		"5 * 1,15 * mon-wed": {"*-*-01,15 *:05:00", "Mon,Tue,Wed *-*-* *:05:00"},
		"5 4 * * fri-sun":    {"Sun,Fri,Sat *-*-* 04:05:00"},
		"0 0 */10 * 1":       {"Mon *-*-01,11,21,31 00:00:00"},
	} {
		if got := must(t, text).OnCalendar(); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	if got := (Schedule{}).OnCalendar(); got != nil {
		t.Errorf("the zero schedule: %q", got)
	}
}

// systemd means the same times.
func TestSystemdAgrees(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here")
	}
	after := time.Date(2026, 2, 20, 12, 34, 0, 0, time.UTC)
	for _, text := range []string{"@hourly", "@daily", "@weekly", "@monthly", "@yearly", "*/7 * * * *", "30 3 * * mon-fri",
		"5 4 13 * fri", "0 0 29 2 *", "1-59/20 */5 31 * *", "0 12 */9 */2 2-5/2", "0 0 * * 7"} {
		s := must(t, text)
		var first time.Time
		for _, line := range s.OnCalendar() {
			out, err := exec.Command(analyze, "calendar", "--base-time", "2026-02-20 12:34:00 UTC", line+" UTC").CombinedOutput()
			if err != nil && strings.Contains(string(out), "base-time") {
				t.Skip("systemd-analyze is too old")
			}
			if err != nil {
				t.Fatalf("%s: %s: %v: %s", text, line, err, out)
			}
			_, rest, _ := strings.Cut(string(out), "Next elapse: ")
			rest, _, _ = strings.Cut(rest, "\n")
			at, err := time.Parse("Mon 2006-01-02 15:04:05 MST", rest)
			if err != nil {
				t.Fatalf("%s: %s: %v", text, out, err)
			}
			if first.IsZero() || at.Before(first) {
				first = at
			}
		}
		if next := s.Next(after); !next.Equal(first) {
			t.Errorf("%s: systemd says %v, Next %v", text, first, next)
		}
	}
}

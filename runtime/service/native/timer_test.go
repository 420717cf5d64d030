package native

import (
	"slices"
	"strings"
	"testing"
)

func TestTimerUnits(t *testing.T) {
	m := paper(t)
	spec := rotation()
	artifacts, err := m.Render(spec)
	if err != nil {
		t.Fatal(err)
	}
	if len(artifacts) != 3 || artifacts[0].Mode != unitMode || artifacts[1].Mode != unitMode || artifacts[2].Mode != 0o600 ||
		artifacts[1].Path != m.unitDir+`/instar-my\x2dweb-logs.timer` || artifacts[2].Path != "/var/lib/instar/systemd/env/my-web.logs" {
		t.Fatalf("%+v", artifacts)
	}
	unit, timer := artifacts[0].Data, artifacts[1].Data
	for key, want := range map[string][]string{
		"OnCalendar":  {"*-*-01 04:05:00", "Mon *-*-* 04:05:00"},
		"Unit":        {`instar-my\x2dweb-logs.service`},
		"WantedBy":    {"timers.target"},
		"AccuracySec": {"1s"},
		"Persistent":  {"no"},
	} {
		if got := values(timer, key); !slices.Equal(got, want) {
			t.Errorf("timer: %s=%q, want %q", key, got, want)
		}
	}
	for key, want := range map[string][]string{
		"Type":          {"oneshot"},
		"Restart":       {"no"},
		"WantedBy":      nil,
		"ExecStartPre":  nil,
		"StandardInput": {"file:/var/lib/instar/systemd/env/my-web.logs"},
		"User":          {"1001"},
	} {
		if got := values(unit, key); !slices.Equal(got, want) {
			t.Errorf("service: %s=%q, want %q", key, got, want)
		}
	}
	post := values(unit, "ExecStopPost")
	if len(post) != 1 || !strings.HasPrefix(post[0], `-+"/bin/sh" "-c"`) ||
		!strings.HasSuffix(post[0], `"instar-my\\x2dweb-logs.timer" "instar-my\\x2dweb-front\\x401.service" "--kill-whom=main" "SIGUSR1" "/bin/systemctl"`) {
		t.Errorf("ExecStopPost=%q", post)
	}
	m.version = func() int { return 247 }
	if data, err := m.render(spec); err != nil || !strings.Contains(string(data), `"--kill-who=main"`) {
		t.Errorf("an older systemd: %v\n%s", err, data)
	}
	// Another program leaves the timer as it is.
	spec.Argv, spec.Digest, spec.StopTimeout = []string{"/bin/other"}, "other", 1
	if data, err := m.renderTimer(spec); err != nil || string(data) != string(timer) {
		t.Errorf("%v\n%s", err, data)
	}
}

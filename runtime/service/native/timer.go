package native

import (
	"cmp"
	"path/filepath"
	"strings"
	"time"

	"instar/runtime/process"
	"instar/runtime/schedule"
	"instar/runtime/service"
)

// A timer is two units of one name: NAME.timer, which is enabled and knows the
// times, and NAME.service, a oneshot that it starts.

// timerName returns the timer that goes with a service's unit.
func timerName(unit string) string { return strings.TrimSuffix(unit, ".service") + ".timer" }

// serviceName returns the service's unit that goes with a timer; its own name, if
// it is one.
func serviceName(unit string) string {
	if name, ok := strings.CutSuffix(unit, ".timer"); ok {
		return name + ".service"
	}
	return unit
}

func isTimer(unit string) bool { return filepath.Ext(unit) == ".timer" }

// renderTimer returns the timer of spec, mark included. It depends on the
// schedule alone: another program leaves it as it is.
func (m *systemd) renderTimer(spec service.Spec) ([]byte, error) {
	u := &unit{systemd: m, spec: spec}
	s, err := schedule.Parse(spec.Schedule)
	if err != nil {
		u.fail("schedule: %w", err)
		return nil, u.error()
	}
	u.section("Unit")
	u.key("Description", "instar "+spec.Instance+": "+spec.Name)
	u.section("Timer")
	for _, line := range s.OnCalendar() {
		u.key("OnCalendar", line)
	}
	// On the minute, as cron does; and as with cron nothing is made up that was
	// missed while the machine was off.
	u.key("AccuracySec", "1s")
	u.key("Persistent", "no")
	if m.version() >= deferVersion {
		u.key("DeferReactivation", "yes")
	}
	u.key("Unit", unitName(spec.Instance, spec.Name))
	u.section("Install")
	u.key("WantedBy", timersTarget)
	u.section("X-Instar")
	u.key("Facts", facts{Format: m.format(), StateDir: m.stateDir, Name: spec.Name, Run: true, Schedule: spec.Schedule}.line())
	if u.err != nil {
		return nil, u.error()
	}
	return seal(u.text.String()), nil
}

// What is due while the program runs is not made up at its end. Since deferVersion
// systemd can be told so; before baseVersion it forgets what was due when a timer
// starts anew, and in between there is no way.
const (
	deferVersion = 257
	baseVersion  = 254
)

// timersTarget wants timers, for the system as for a user.
const timersTarget = "timers.target"

// oneshot says how the program of a timer is started: once, and to its end.
func (u *unit) oneshot() {
	u.key("Type", "oneshot")
	u.key("Restart", "no")
}

// fired writes what a timer's program is, and what happens once it has ended:
// root tells the main process of a service of this very instance, and the timer
// waits for a time to come.
func (u *unit) fired() {
	s := u.spec
	u.key("ExecStart", u.command(s.Argv))
	told, signal := "", ""
	if s.ThenSignal != "" {
		sig, err := process.ParseSignal(s.ThenSignal)
		if err != nil {
			u.fail("then: %w", err)
			return
		}
		told, signal = unitName(s.Instance, s.ThenService), "SIG"+process.SignalName(sig)
	}
	whom := "--kill-whom=main"
	if u.version() < 252 {
		whom = "--kill-who=main"
	}
	anew := ""
	if u.version() < baseVersion {
		anew = timerName(unitName(s.Instance, s.Name))
	}
	if told != "" || anew != "" {
		u.key("ExecStopPost", u.script(firedScript, append([]string{anew, told, whom, signal}, u.ask()...)...))
	}
}

// timer is what is known of the timer beside a unit.
type timer struct {
	unit string
	file *installed // nil: there is no file
	shown
}

// active reports whether the timer keeps its time.
func (t *timer) active() bool {
	return t != nil && t.shown["ActiveState"] == "active"
}

// schedule returns that of a timer that stands on the disk, else "".
func (f *found) schedule() string {
	switch {
	case f.file != nil:
		return f.file.Schedule
	case f.timer == nil:
		return ""
	case f.timer.file != nil:
		return cmp.Or(f.timer.file.Schedule, "unknown")
	default:
		return "unknown" // the files are gone, the timer goes on
	}
}

// timerState returns what a timer and the unit that it starts amount to.
func (m *systemd) timerState(instance, name string, f *found) service.State {
	s := service.State{Name: name, Run: true, Schedule: f.schedule(), Definition: drifted, PID: int(f.number("MainPID")), Status: service.Stopped}
	s.Last = shownTime(f.shown["ExecMainStartTimestamp"])
	s.Since = shownTime(f.shown["StateChangeTimestamp"])
	if f.timer.active() {
		switch f.shown["ActiveState"] {
		case "failed":
			s.Status = service.Failed
			s.ExitCode, s.Message = f.outcome()
		case "inactive", "":
			s.Status = service.Waiting
		default:
			s.Status = service.Running
		}
		s.Next = shownTime(f.timer.shown["NextElapseUSecRealtime"])
		if parsed, err := schedule.Parse(s.Schedule); err == nil && !s.Next.After(time.Now()) {
			s.Next = parsed.Next(time.Now()) // systemd tells it once the program has ended
		}
	}
	if f.file == nil || !f.file.intact {
		return s
	}
	s.Digest, s.Inputs = f.file.Digest, f.file.Inputs
	s.ReloadDigest = f.file.ReloadDigest
	t := f.timer
	if t != nil && m.asLeft(instance, f, s.Status) && t.file != nil && t.file.intact && t.file.Schedule == f.file.Schedule &&
		t.file.Format == m.format() && t.shown["NeedDaemonReload"] == "no" && t.shown["FragmentPath"] == m.unitPath(t.unit) {
		s.Definition = f.file.Definition
	}
	return s
}

// shownTime reads a time as systemctl prints it; the zero time when it is none.
func shownTime(text string) time.Time {
	t, err := time.Parse("Mon 2006-01-02 15:04:05 MST", text)
	if err != nil {
		return time.Time{}
	}
	return t
}

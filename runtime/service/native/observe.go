package native

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"instar/runtime/process"
	"instar/runtime/service"
)

// drifted is the definition of a unit that is not as instar left it: no Spec
// has it, so that it is put back.
const drifted = "changed by hand"

// found is all that is known about one unit.
type found struct {
	unit  string
	file  *installed // nil: there is no file
	edit  time.Time  // of the file
	timer *timer     // nil: there is none beside it
	shown
	record
}

// Observe implements [service.Manager]. It sees units by their files and, when
// those are gone, as long as systemd has them loaded. What is not ours is not
// seen.
func (m *systemd) Observe(ctx context.Context, instance string) (map[string]service.State, error) {
	units, err := m.find(ctx, instance)
	if err != nil {
		return nil, err
	}
	states := make(map[string]service.State, len(units))
	for name, f := range units {
		states[name] = m.state(instance, name, f)
	}
	return states, nil
}

// find returns the units of an instance by the service's name.
func (m *systemd) find(ctx context.Context, instance string) (map[string]*found, error) {
	files, err := m.files(instance)
	if err != nil {
		return nil, err
	}
	ask := []string{unitPrefix(instance) + "*.service", unitPrefix(instance) + "*.timer"}
	for unit, f := range files {
		ask = append(ask, unit)
		if f.timer != nil {
			ask = append(ask, f.timer.unit)
		}
	}
	all, err := m.show(ctx, ask)
	if err != nil {
		return nil, err
	}
	for unit, s := range all {
		if isTimer(unit) {
			m.meetTimer(files, unit, s)
			delete(all, unit)
		}
	}
	for unit, f := range files {
		if _, asked := all[unit]; !asked && f.timer != nil {
			all[unit] = shown{}
		}
	}
	units := map[string]*found{}
	for unit, s := range all {
		f := files[unit]
		if f == nil {
			if m.foreign(unit, s) {
				continue
			}
			f = &found{unit: unit}
		}
		name, ok := serviceOf(instance, unit)
		if f.file != nil && f.file.Name != "" && unitName(instance, f.file.Name) == unit {
			name, ok = f.file.Name, true
		} else if t := f.timer; t != nil && t.file != nil && t.file.Name != "" && unitName(instance, t.file.Name) == unit {
			name, ok = t.file.Name, true
		}
		if !ok {
			continue
		}
		f.shown = s
		if f.record, err = readRecord(m.record(instance, name)); err != nil {
			return nil, err
		}
		units[name] = f
	}
	return units, nil
}

// foreign reports whether a unit that has no file of ours is nothing to us:
// there is a file of somebody else's, or no unit at all.
func (m *systemd) foreign(unit string, s shown) bool {
	_, err := os.Lstat(m.unitPath(unit))
	return err == nil || s.absent() || s["FragmentPath"] != "" && s["FragmentPath"] != m.unitPath(unit)
}

// meetTimer adds what systemd says of a timer.
func (m *systemd) meetTimer(files map[string]*found, unit string, s shown) {
	f := files[serviceName(unit)]
	if f == nil || f.timer == nil {
		if m.foreign(unit, s) {
			return
		}
		if f == nil {
			f = &found{unit: serviceName(unit)}
			files[f.unit] = f
		}
		f.timer = &timer{unit: unit}
	}
	f.timer.shown = s
}

// files returns the units of an instance that have a file of ours, or whose
// timer has one, by the unit's name.
func (m *systemd) files(instance string) (map[string]*found, error) {
	entries, err := os.ReadDir(m.unitDir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	files, others := map[string]*found{}, map[string]bool{}
	for _, entry := range entries {
		unit := entry.Name()
		if !strings.HasPrefix(unit, unitPrefix(instance)) || filepath.Ext(unit) != ".service" && !isTimer(unit) {
			continue
		}
		file, err := m.readUnit(m.unitPath(unit))
		if _, foreign := err.(*ForeignError); foreign || err == nil && file == nil {
			others[unit] = true
			continue
		}
		if err != nil {
			return nil, err
		}
		f := files[serviceName(unit)]
		if f == nil {
			f = &found{unit: serviceName(unit)}
			files[f.unit] = f
		}
		if isTimer(unit) {
			f.timer = &timer{unit: unit, file: file}
			continue
		}
		f.file = file
		if info, err := entry.Info(); err == nil {
			f.edit = info.ModTime()
		}
	}
	for unit := range others {
		delete(files, unit) // its timer alone is of no use
	}
	return files, nil
}

// stale reports whether systemd has yet to read what stands on the disk.
func (f *found) stale() bool {
	return f.shown["NeedDaemonReload"] == "yes" || f.timer != nil && f.timer.shown["NeedDaemonReload"] == "yes"
}

// state returns what a unit amounts to.
func (m *systemd) state(instance, name string, f *found) service.State {
	if f.schedule() != "" {
		return m.timerState(instance, name, f)
	}
	s := service.State{Name: name, Definition: drifted, Digest: f.digest, ReloadDigest: f.reloadDigest}
	if f.file != nil {
		s.Run, s.After = f.file.Run, f.file.After
	}
	s.Status = f.status(s.Run)
	s.PID, s.Restarts = int(f.number("MainPID")), int(f.number("NRestarts"))
	s.Since = shownTime(f.shown["StateChangeTimestamp"])
	if at := shownTime(f.shown["ActiveEnterTimestamp"]); s.Status == service.Running && f.shown["ActiveState"] != "activating" && !at.IsZero() {
		s.Since = at // a reload changes the state, too
	}
	s.ExitCode, s.Message = f.outcome()
	if f.file == nil {
		return s
	}
	if m.asLeft(instance, f, s.Status) {
		s.Definition = f.file.Definition
	}
	if f.startsAnew() {
		s.Digest, s.ReloadDigest = f.file.Digest, f.file.ReloadDigest
	}
	if !f.file.intact && s.Status == service.Running && f.editedBeforeStart() {
		s.Digest = "" // it may have been started with anything
	}
	if s.Digest == f.file.Digest {
		s.Inputs = f.file.Inputs
	}
	if s.ReloadDigest == f.file.ReloadDigest {
		s.ReloadInputs = f.file.ReloadInputs
	}
	f.judgeEnd(&s)
	return s
}

// status translates what systemd says.
func (f *found) status(isRun bool) service.Status {
	sub := f.shown["SubState"]
	switch f.shown["ActiveState"] {
	case "active", "reloading", "refreshing":
		if isRun && sub == "exited" {
			return service.Done
		}
		return service.Running
	case "activating":
		switch {
		case strings.HasPrefix(sub, "auto-restart"), sub == "start-pre" && f.shown["NRestarts"] != "0":
			return service.Restarting
		case sub == "start-pre" && f.file != nil && len(f.file.After) > 0:
			return service.Waiting
		}
		return service.Running
	case "deactivating":
		if f.dying() && (isRun || f.file != nil && f.file.Restart != "no") {
			return service.Restarting
		}
		return service.Stopped
	case "failed":
		return service.Failed
	default:
		if f.hasJob() {
			return service.Waiting
		}
		return service.Stopped
	}
}

// dying reports whether what is being ended ended by itself. See stopScript.
func (f *found) dying() bool {
	return !f.hasJob() || f.number("ActiveEnterTimestampMonotonic") < f.number("ExecMainStartTimestampMonotonic")
}

// asLeft reports whether the unit is in force as instar wrote it.
func (m *systemd) asLeft(instance string, f *found, status service.Status) bool {
	enabled := m.enabled(f.unit)
	if f.file.Schedule != "" {
		enabled = m.enabled(timerName(f.unit)) && !enabled
	} else if f.timer != nil {
		return false // of an earlier definition
	}
	return f.file.intact && f.file.Format == m.format() && f.shown["NeedDaemonReload"] == "no" &&
		f.shown["FragmentPath"] == m.unitPath(f.unit) && (enabled || status == service.Stopped) && m.privateIntact(instance, f.file)
}

// startsAnew reports whether the next process is still to be started, from the
// unit as it is on the disk.
func (f *found) startsAnew() bool {
	if f.shown["NeedDaemonReload"] != "no" {
		return false
	}
	switch f.shown["ActiveState"] {
	case "inactive":
		return f.hasJob()
	case "activating":
		sub := f.shown["SubState"]
		return strings.HasPrefix(sub, "auto-restart") || sub == "start-pre" || sub == "condition"
	default:
		return false
	}
}

// editedBeforeStart reports whether the file was last written before the
// process was started.
func (f *found) editedBeforeStart() bool {
	ago := clockMonotonic() - time.Duration(f.number("ExecMainStartTimestampMonotonic"))*time.Microsecond
	return f.edit.Before(time.Now().Add(-ago))
}

// outcome returns how the last process ended, if there is none now.
func (f *found) outcome() (code int, message string) {
	status := int(f.number("ExecMainStatus"))
	switch f.shown["ExecMainCode"] {
	case "1":
		code, message = status, exitText(status)
	case "2", "3":
		code, message = -1, "signal: "+process.SignalName(syscall.Signal(status))
		if f.shown["ExecMainCode"] == "3" {
			message += " (core dumped)"
		}
	}
	switch result := f.shown["Result"]; result {
	case "success", "exit-code", "signal", "core-dump", "":
	default:
		message = strings.TrimPrefix(message+" ("+result+")", " ")
	}
	return code, message
}

// judgeEnd sets what a service is that ended by itself and is not started
// again.
func (f *found) judgeEnd(s *service.State) {
	if !f.ended || s.Run || s.Status != service.Stopped && s.Status != service.Failed {
		return
	}
	code, message := ending(f.code, f.record.status)
	good := code == 0
	if !f.final && f.file.Restart != "no" && !(f.file.Restart == "on-failure" && good) {
		return
	}
	s.ExitCode, s.Message = code, message
	if good {
		s.Status = service.Stopped
	} else {
		s.Status = service.Failed
	}
	s.Ended = systemdStatus[code] == "" // else it never came to life, and is worth another try
}

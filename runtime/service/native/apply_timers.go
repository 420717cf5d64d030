package native

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"instar/runtime/service"
)

// sortTimer sorts a change of what is a timer, or was one, and reports whether
// that was all. What a timer has started goes on unless it is to be something
// else from now on, or somebody asked for it to be restarted.
func (b *batch) sortTimer(c service.Change, f *found) bool {
	if !c.Spec.Timer() {
		if f != nil && f.timer != nil && !f.timer.absent() {
			b.calm = append(b.calm, f.timer.unit)
		}
		return false
	}
	state := service.State{Status: service.Stopped}
	if f != nil {
		state = b.state(b.instance, c.Name, f)
	}
	armed := state.Timer() && (state.Status == service.Waiting || state.Status == service.Running)
	if c.Op == service.Start && armed && state.Digest == c.Spec.Digest {
		return true
	}
	if f != nil && !f.absent() && (!state.Timer() || c.Op == service.Restart) {
		b.calm = append(b.calm, f.unit)
	}
	if c.Op == service.Start || c.Op == service.Restart || b.reschedules(c, f) {
		b.arm = append(b.arm, c.Name)
		if f != nil && f.timer != nil && !f.timer.absent() {
			b.calm = append(b.calm, f.timer.unit)
			b.anew = append(b.anew, c.Name)
		}
	}
	return true
}

// reschedules reports whether c changes when a timer is due, so that it must
// begin anew.
func (b *batch) reschedules(c service.Change, f *found) bool {
	if f == nil || !f.timer.active() || f.timer.file == nil || f.timer.shown["NeedDaemonReload"] != "no" {
		return true
	}
	return !bytes.Equal(f.timer.file.data, b.rendered[timerName(unitName(b.instance, c.Name))])
}

// bootable returns the rendered units that are started with the machine: of a
// timer the timer, and not what it starts.
func (b *batch) bootable() []string {
	var units []string
	for _, unit := range mapKeys(b.rendered) {
		if _, timed := b.rendered[timerName(unit)]; !timed || isTimer(unit) {
			units = append(units, unit)
		}
	}
	return units
}

// replaceKinds removes what a service was when it was a timer, and the other way
// round, and returns how much there was of it.
func (b *batch) replaceKinds() (removed int, err error) {
	var links, paths []string
	for name, c := range b.changes {
		if c.Op == service.Stop || c.Op == service.Unload {
			continue
		}
		unit := unitName(b.instance, name)
		if c.Spec.Timer() {
			links = append(links, unit)
			continue
		}
		links = append(links, timerName(unit))
		if f := b.units[name]; f != nil && f.timer != nil {
			paths = append(paths, b.unitPath(timerName(unit)))
		}
	}
	if removed, err = b.disable(links); err != nil {
		return removed, err
	}
	return removed + len(paths), removeAll(paths)
}

// beginAnew has systemd forget all about timers that will be armed, and about what
// they have started unless that runs. Told of other times, it would go through
// those since the last start or end, find one of them due, and fire at once.
func (b *batch) beginAnew(ctx context.Context) error {
	if len(b.anew) == 0 {
		return nil
	}
	units := b.unitNames(b.anew)
	if err := b.forgetFailures(ctx, units); err != nil {
		return err
	}
	paths := make([]string, len(units))
	for i, unit := range units {
		units[i] = timerName(unit)
		paths[i] = b.unitPath(units[i])
	}
	if _, err := b.disable(units); err != nil {
		return err
	}
	if err := removeAll(paths); err != nil {
		return err
	}
	_, err := b.ctl(ctx, []string{"daemon-reload"})
	return err
}

// arms starts timers.
func (b *batch) arms(ctx context.Context) error {
	if len(b.arm) == 0 {
		return nil
	}
	units := b.unitNames(b.arm)
	for i, unit := range units {
		units[i] = timerName(unit)
	}
	if err := b.each(ctx, []string{"start"}, units); err != nil {
		return fmt.Errorf("cannot arm timers of %s: %w", b.instance, err)
	}
	return nil
}

// leaveSlice removes the slice of an instance that has no unit any more: systemd
// makes one when it is needed, and never ends it.
func (b *batch) leaveSlice(ctx context.Context) error {
	if len(b.unload) == 0 || len(b.rendered) > 0 {
		return nil
	}
	for name := range b.units {
		if b.changes[name].Op != service.Unload {
			return nil
		}
	}
	slice := sliceName(b.instance)
	out, err := b.ctl(ctx, []string{"show", "--property=ActiveState,SliceOf,RequiredBy"}, slice)
	if err != nil || !strings.Contains(out, "ActiveState=active") {
		return err
	}
	for line := range strings.SplitSeq(strings.TrimSpace(out), "\n") {
		if key, units, _ := strings.Cut(line, "="); key != "ActiveState" && units != "" {
			return nil // somebody else's
		}
	}
	_, err = b.ctl(ctx, []string{"stop"}, slice)
	return err
}

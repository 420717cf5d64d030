package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"instar/runtime/service"
)

const (
	// pollFirst and pollMost pace the waiting for starts. The first must be
	// well below firstDelay, or a failure is missed.
	pollFirst = 20 * time.Millisecond
	pollMost  = 200 * time.Millisecond
	// patience is how long what a service comes after may take to start.
	patience = 2 * time.Second
)

// batch is one Apply, by what is done.
type batch struct {
	*systemd
	instance string
	units    map[string]*found // as observed, by service
	changes  map[string]service.Change

	stop, unload, start, reload, update []string // services, in order
	arm                                 []string // services whose timers are started
	anew                                []string // of these, those whose timers systemd must forget first
	calm                                []string // units that are stopped before what they are changes
	rendered                            map[string][]byte
	private                             map[string][]byte // files beside units, by path
	unlinked                            int               // links that stops removed
}

// Apply implements [service.Manager]. It asks for everything at once, kind by
// kind: stops, dependents first as given; then all definitions; then starts
// and restarts, which systemd orders; then reloads. It returns when what was to
// be started is started, but for runs and for what comes after them. Nothing is
// done when one of the units belongs to somebody else, or can't be made.
func (m *systemd) Apply(ctx context.Context, instance string, changes []service.Change) error {
	if len(changes) == 0 {
		return nil
	}
	b := &batch{systemd: m, instance: instance, changes: map[string]service.Change{}, rendered: map[string][]byte{}, private: map[string][]byte{}}
	if err := b.prepare(ctx, changes); err != nil {
		return err
	}
	if err := b.stops(ctx); err != nil {
		return err
	}
	if err := b.define(ctx); err != nil {
		return err
	}
	return errors.Join(b.starts(ctx), b.arms(ctx), b.reloads(ctx), b.leaveSlice(ctx))
}

// prepare sorts the changes by kind, renders, and refuses.
func (b *batch) prepare(ctx context.Context, changes []service.Change) error {
	var wrong []error
	for _, c := range changes {
		if _, twice := b.changes[c.Name]; twice {
			return fmt.Errorf("cannot %s %q: another change of it is asked for as well", c.Op, c.Name)
		}
		b.changes[c.Name] = c
		if c.Op != service.Stop && c.Op != service.Unload {
			wrong = append(wrong, b.define1(c))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	var err error
	if b.units, err = b.find(ctx, b.instance); err != nil {
		return fmt.Errorf("cannot observe the units of %s: %w", b.instance, err)
	}
	for _, c := range changes {
		b.sort(c)
	}
	return nil
}

// define1 renders the unit of one change, unless its place is taken.
func (b *batch) define1(c service.Change) error {
	if c.Spec.Instance != b.instance || c.Spec.Name != c.Name {
		return fmt.Errorf("cannot %s %q of %s: its definition is that of %q of %s", c.Op, c.Name, b.instance, c.Spec.Name, c.Spec.Instance)
	}
	unit := unitName(b.instance, c.Name)
	for _, path := range []string{b.unitPath(unit), b.unitPath(timerName(unit))} {
		if _, err := b.readUnit(path); err != nil {
			return fmt.Errorf("cannot %s %q: %w", c.Op, c.Name, err)
		}
	}
	artifacts, err := b.Render(c.Spec)
	for _, a := range artifacts {
		if dir, file := filepath.Split(a.Path); filepath.Clean(dir) == b.unitDir {
			b.rendered[file] = a.Data
		} else {
			b.private[a.Path] = a.Data
		}
	}
	return err
}

func (b *batch) sort(c service.Change) {
	f := b.units[c.Name]
	if c.Op != service.Stop && c.Op != service.Unload && b.sortTimer(c, f) {
		return
	}
	switch c.Op {
	case service.Stop:
		if f != nil {
			b.stop = append(b.stop, c.Name)
		}
	case service.Unload:
		b.unload = append(b.unload, c.Name)
	case service.Reload:
		b.reload = append(b.reload, c.Name)
	case service.Update:
		b.update = append(b.update, c.Name)
	case service.Start:
		if f == nil || !b.asked(f, c.Spec) {
			b.start = append(b.start, c.Name)
		}
	default:
		b.start = append(b.start, c.Name)
	}
}

// asked reports whether what f is doing is what a start of spec would do.
func (b *batch) asked(f *found, spec service.Spec) bool {
	s := b.state(b.instance, spec.Name, f)
	switch s.Status {
	case service.Stopped, service.Failed:
		return false
	default:
		return s.Digest == spec.Digest && s.Run == spec.Run
	}
}

// unitNames returns the units of services.
func (b *batch) unitNames(names []string) []string {
	units := make([]string, len(names))
	for i, name := range names {
		units[i] = unitName(b.instance, name)
	}
	return units
}

// stops stops what shall not run, also after the next boot: timers first, or
// they might start once more what was just stopped.
func (b *batch) stops(ctx context.Context) error {
	var timers, loaded, records []string
	for _, name := range append(slices.Clone(b.unload), b.stop...) {
		records = append(records, b.record(b.instance, name))
		f := b.units[name]
		if f != nil && f.timer != nil && !f.timer.absent() {
			timers = append(timers, f.timer.unit)
		}
		if f != nil && !f.absent() {
			loaded = append(loaded, f.unit)
		}
	}
	var err error
	if b.unlinked, err = b.disable(append(slices.Clone(timers), loaded...)); err != nil {
		return err
	}
	for _, unit := range b.calm {
		if isTimer(unit) {
			timers = append(timers, unit)
		} else {
			loaded = append(loaded, unit)
		}
	}
	for _, units := range [][]string{timers, loaded} {
		if err := b.each(ctx, []string{"stop"}, units); err != nil {
			return fmt.Errorf("cannot stop services of %s: %w", b.instance, err)
		}
	}
	if err := b.forgetFailures(ctx, append(timers, loaded...)); err != nil {
		return err
	}
	return removeAll(records)
}

// forgetFailures lets units that ended badly when they were stopped count as
// stopped.
func (b *batch) forgetFailures(ctx context.Context, units []string) error {
	if len(units) == 0 {
		return nil
	}
	all, err := b.show(ctx, units)
	if err != nil {
		return err
	}
	var failed []string
	for _, unit := range units {
		if all[unit]["ActiveState"] == "failed" {
			failed = append(failed, unit)
		}
	}
	return b.each(ctx, []string{"reset-failed"}, failed)
}

// define brings the units on the disk, and what systemd has of them, in line.
func (b *batch) define(ctx context.Context) error {
	if err := os.MkdirAll(b.recordDir(), 0o700); err != nil {
		return err
	}
	if err := os.MkdirAll(exitsDir(b.stateDir), 0o700); err != nil {
		return err
	}
	if err := b.beginAnew(ctx); err != nil {
		return err
	}
	removed, err := b.remove()
	if err != nil {
		return err
	}
	written, err := b.writeUnits(b.rendered)
	if err != nil {
		return fmt.Errorf("cannot write units of %s: %w", b.instance, err)
	}
	if err := b.writePrivate(b.private); err != nil {
		return fmt.Errorf("cannot write the environment of services of %s: %w", b.instance, err)
	}
	replaced, err := b.replaceKinds()
	if err != nil {
		return err
	}
	enabled, err := b.enable(b.bootable())
	if err != nil {
		return err
	}
	stale := slices.ContainsFunc(mapValues(b.units), (*found).stale)
	if written+replaced+enabled+removed+b.unlinked > 0 || stale {
		if _, err := b.ctl(ctx, []string{"daemon-reload"}); err != nil {
			return err
		}
	}
	if err := b.dropPrivate(); err != nil {
		return err
	}
	return b.noteUpdates()
}

// remove removes what is to be unloaded, links first, and returns how much
// there was of it.
func (b *batch) remove() (removed int, err error) {
	var ours, paths, pending []string
	for _, service := range b.unitNames(b.unload) {
		for _, unit := range []string{timerName(service), service} {
			file, err := b.readUnit(b.unitPath(unit))
			if _, foreign := err.(*ForeignError); foreign {
				continue
			}
			if err != nil {
				return 0, err
			}
			ours = append(ours, unit)
			pending = append(pending, b.unitPath(unit)+pendingSuffix)
			if file != nil {
				paths = append(paths, b.unitPath(unit))
			}
		}
	}
	for _, name := range b.unload { // before the units, by which they are found
		err := errors.Join(removeMarkers(b.stateDir, b.instance, name), b.removePrivate(b.instance, name))
		if err != nil {
			return 0, err
		}
	}
	if removed, err = b.disable(ours); err != nil {
		return removed, err
	}
	return removed + len(paths), removeAll(append(pending, paths...))
}

// noteUpdates records what new definitions mean for processes that they do not
// disturb: that one which is not told to reload counts as reloaded, and that
// one which has ended for good stays so.
func (b *batch) noteUpdates() error {
	for _, name := range b.update {
		f, spec := b.units[name], b.changes[name].Spec
		if f == nil || !f.started {
			continue
		}
		path := b.record(b.instance, name)
		if f.reloadDigest != spec.ReloadDigest {
			if err := note(path, "R", orDash(spec.ReloadDigest)); err != nil {
				return err
			}
		}
		if b.state(b.instance, name, f).Ended && !f.final {
			if err := note(path, "X"); err != nil {
				return err
			}
		}
	}
	return nil
}

// starts starts and restarts, and waits for what it makes sense to wait for.
func (b *batch) starts(ctx context.Context) error {
	if len(b.start) == 0 {
		return nil
	}
	err := b.each(ctx, []string{"restart", "--no-block"}, b.unitNames(b.start))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		err = fmt.Errorf("cannot start services of %s: %w", b.instance, err)
	}
	return errors.Join(err, b.await(ctx, b.ends(b.start)))
}

// await waits until the jobs of started services are done, and tells which
// could not be started. What waits for a run, or for a service that fails, is
// left to systemd. Ends in earlier are those before they were asked for, which are
// not told.
func (b *batch) await(ctx context.Context, earlier map[string]string) error {
	held := b.runs()
	waiting := map[string]string{} // unit to service
	for _, name := range b.start {
		if !held[name] {
			waiting[unitName(b.instance, name)] = name
		}
	}
	var failed []error
	begin := time.Now()
	for pause := pollFirst; ; pause = min(pause*3/2, pollMost) {
		b.leaveHeld(waiting, held)
		if len(waiting) == 0 {
			return errors.Join(failed...)
		}
		all, err := b.show(ctx, mapKeys(waiting))
		if err != nil {
			return err
		}
		for unit, name := range waiting {
			s := all[unit]
			if !s.hasJob() || b.triesAgain(name, s, earlier[name]) {
				delete(waiting, unit)
				failed = append(failed, b.startError(name, s))
			} else if s["SubState"] == "start-pre" && time.Since(begin) > patience && len(b.changes[name].Spec.After) > 0 {
				held[name] = true
			}
		}
		if len(waiting) == 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// leaveHeld takes from waiting what is held, and what comes after it.
func (b *batch) leaveHeld(waiting map[string]string, held map[string]bool) {
	for again := true; again; {
		again = false
		for unit, name := range waiting {
			if !held[name] && slices.ContainsFunc(b.changes[name].Spec.After, func(before string) bool { return held[before] }) {
				held[name], again = true, true
			}
			if held[name] {
				delete(waiting, unit)
			}
		}
	}
}

// triesAgain reports whether systemd is holding back another attempt, after another
// end than the earlier one, which is not what it was asked for. Being asked for a
// restart resets the count; but until that is done, it is that of the attempts before.
func (b *batch) triesAgain(name string, s shown, earlier string) bool {
	end := b.end(name)
	return end != "" && end != earlier && s.number("NRestarts") > 0
}

// ends returns the last ends of services, see end.
func (b *batch) ends(names []string) map[string]string {
	ends := map[string]string{}
	for _, name := range names {
		ends[name] = b.end(name)
	}
	return ends
}

// end tells the last end of a service from others, as long as it has not begun
// again; "" when it has, or has not ended.
func (b *batch) end(name string) string {
	path := b.record(b.instance, name)
	rec, err := readRecord(path)
	if err != nil || !rec.ended {
		return ""
	}
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprint(info.ModTime().UnixNano(), " ", info.Size(), rec)
}

// startError tells why a program never came to life. What did and ended is no
// error of its start.
func (b *batch) startError(name string, s shown) error {
	if s["LoadState"] != "loaded" {
		return fmt.Errorf("cannot start %q: systemd says its unit is %s", name, s["LoadState"])
	}
	rec, err := readRecord(b.record(b.instance, name))
	if err != nil {
		return err
	}
	if code, message := ending(rec.code, rec.status); rec.ended && systemdStatus[code] != "" {
		return fmt.Errorf("cannot start %q: %s", name, message)
	}
	if s["Result"] == "resources" {
		return fmt.Errorf("cannot start %q: systemd lacks resources for it, or a file it needs", name)
	}
	return nil
}

// runs returns the runs of the instance.
func (b *batch) runs() map[string]bool {
	runs := map[string]bool{}
	for name, f := range b.units {
		runs[name] = f.file != nil && f.file.Run && f.status(true) != service.Done
	}
	for name, c := range b.changes {
		if c.Op != service.Stop && c.Op != service.Unload {
			runs[name] = c.Spec.Run
		}
	}
	return runs
}

// reloads tells services to read their files again. One that does not run any
// more reads them when it starts.
func (b *batch) reloads(ctx context.Context) error {
	if len(b.reload) == 0 {
		return nil
	}
	units := b.unitNames(b.reload)
	err := b.each(ctx, []string{"reload"}, units)
	if err == nil || ctx.Err() != nil {
		return err
	}
	all, errShow := b.show(ctx, units)
	if errShow != nil {
		return errors.Join(err, errShow)
	}
	var failed []string
	for i, name := range b.reload {
		rec, errRead := readRecord(b.record(b.instance, name))
		if errRead != nil || all[units[i]]["ActiveState"] == "active" && rec.reloadDigest != b.changes[name].Spec.ReloadDigest {
			failed = append(failed, name)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("cannot reload %s of %s: %w", strings.Join(failed, ", "), b.instance, err)
}

func mapValues[K comparable, V any](m map[K]V) []V {
	values := make([]V, 0, len(m))
	for _, v := range m {
		values = append(values, v)
	}
	return values
}

func mapKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

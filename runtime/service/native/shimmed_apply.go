package native

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"instar/runtime/process"
	"instar/runtime/service"
	"instar/runtime/service/shim"
)

// shimBatch is one Apply, by what is done.
type shimBatch struct {
	*shimmed
	instance string
	units    map[string]*shimUnit // as observed, by service
	changes  map[string]service.Change

	stop, unload, start, reload, update []string // services, in order
}

// Apply implements [service.Manager]: stops, dependents first; then all
// definitions; then starts and restarts, each when those that it comes after
// have been tried; then reloads. It returns when what was to be started is
// started, but for what waits for others. Nothing is done when one of the
// scripts belongs to somebody else, or can't be made.
func (m *shimmed) Apply(ctx context.Context, instance string, changes []service.Change) error {
	if len(changes) == 0 {
		return nil
	}
	b := &shimBatch{shimmed: m, instance: instance, changes: map[string]service.Change{}}
	if err := b.prepare(changes); err != nil {
		return err
	}
	if err := b.stops(ctx); err != nil {
		return err
	}
	if err := b.define(ctx); err != nil {
		return err
	}
	return errors.Join(b.starts(ctx), b.tells())
}

// prepare sorts the changes by kind, and refuses.
func (b *shimBatch) prepare(changes []service.Change) error {
	var wrong []error
	for _, c := range changes {
		if _, twice := b.changes[c.Name]; twice {
			return fmt.Errorf("cannot %s %q: another change of it is asked for as well", c.Op, c.Name)
		}
		b.changes[c.Name] = c
		if c.Op == service.Stop || c.Op == service.Unload {
			continue
		}
		if c.Spec.Instance != b.instance || c.Spec.Name != c.Name {
			return fmt.Errorf("cannot %s %q of %s: its definition is that of %q of %s", c.Op, c.Name, b.instance, c.Spec.Name, c.Spec.Instance)
		}
		_, err := b.Render(c.Spec)
		if err == nil {
			_, err = b.readScript(b.scriptPath(c.Name))
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("cannot %s %q: %w", c.Op, c.Name, err))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	var err error
	if b.units, err = b.find(b.instance); err != nil {
		return fmt.Errorf("cannot observe the services of %s: %w", b.instance, err)
	}
	for _, c := range changes {
		b.sort(c)
	}
	return nil
}

func (b *shimBatch) scriptPath(name string) string {
	return b.init.store().path(ScriptName(b.instance, name))
}

func (b *shimBatch) sort(c service.Change) {
	switch c.Op {
	case service.Stop:
		if b.units[c.Name] != nil {
			b.stop = append(b.stop, c.Name)
		}
	case service.Unload:
		b.unload = append(b.unload, c.Name)
	case service.Reload:
		b.reload = append(b.reload, c.Name)
	case service.Update:
		b.update = append(b.update, c.Name)
	case service.Start:
		if b.asked(c) {
			b.update = append(b.update, c.Name)
		} else {
			b.start = append(b.start, c.Name)
		}
	default:
		b.start = append(b.start, c.Name)
	}
}

// asked reports whether what the service is doing is what a start would do.
func (b *shimBatch) asked(c service.Change) bool {
	u := b.units[c.Name]
	if u == nil {
		return false
	}
	s := b.state(c.Name, u)
	switch s.Status {
	case service.Stopped, service.Failed:
		return s.Timer() && s.Status == service.Failed && s.Digest == c.Spec.Digest
	}
	return s.Digest == c.Spec.Digest && s.Run == c.Spec.Run && s.Timer() == c.Spec.Timer()
}

// stops stops what shall not run, also after the next boot, and removes what is
// to be unloaded.
func (b *shimBatch) stops(ctx context.Context) error {
	var names, scripts []string
	after := map[string][]string{}
	for _, name := range append(slices.Clone(b.unload), b.stop...) {
		if u := b.units[name]; u != nil {
			names = append(names, name)
			after[name] = b.state(name, u).After
			scripts = append(scripts, ScriptName(b.instance, name))
		}
	}
	if len(names) > 0 {
		if err := b.init.disable(ctx, scripts); err != nil {
			return err
		}
	}
	groups := inLevels(names, after)
	slices.Reverse(groups)
	for _, group := range groups {
		if err := together(group, func(name string) error { return b.stop1(ctx, name) }); err != nil {
			return fmt.Errorf("cannot stop services of %s: %w", b.instance, err)
		}
	}
	for _, name := range b.unload {
		if err := b.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// stop1 stops one service: by its script, so that the manager knows, and then in
// any case.
func (b *shimBatch) stop1(ctx context.Context, name string) error {
	u := b.units[name]
	if u.script != nil && b.usable(name) {
		if err := b.init.stop(ctx, ScriptName(b.instance, name), u.place); err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return shim.Stop(u.place)
}

// usable reports whether the script is one that instar made, unedited: others
// would do who knows what.
func (b *shimBatch) usable(name string) bool {
	u := b.units[name]
	spec := service.Spec{Instance: b.instance, Name: name}
	if u.file != nil {
		spec = u.file.Spec
	}
	return u.script.mode == b.init.store().mode() && bytes.Equal(u.script.data, b.render(b.script(spec)))
}

func (b *shimBatch) remove(name string) error {
	_, err := b.readScript(b.scriptPath(name))
	if _, foreign := err.(*ForeignError); err != nil && !foreign {
		return err
	}
	if err == nil {
		if err := b.init.store().remove(b.scriptPath(name)); err != nil {
			return err
		}
	}
	if err := removeMarkers(b.stateDir, b.instance, name); err != nil {
		return err
	}
	return b.place(b.instance, name).Remove()
}

// define brings in line what stands on the disk.
func (b *shimBatch) define(ctx context.Context) error {
	specs := map[string]service.Spec{}
	for name, c := range b.changes {
		if c.Op != service.Stop && c.Op != service.Unload {
			specs[name] = c.Spec
		}
	}
	if len(specs) == 0 {
		return nil
	}
	scripts := map[string][]byte{}
	for name, spec := range specs {
		if _, err := b.place(b.instance, name).Write(b.file(spec)); err != nil {
			return fmt.Errorf("cannot write what %q of %s is started with: %w", name, b.instance, err)
		}
		scripts[b.scriptPath(name)] = b.render(b.script(spec))
	}
	if err := b.init.store().write(scripts); err != nil {
		return fmt.Errorf("cannot write scripts of %s: %w", b.instance, err)
	}
	return b.enable(ctx, specs)
}

// enable has what shall run be started with the machine.
func (b *shimBatch) enable(ctx context.Context, specs map[string]service.Spec) error {
	all := scriptLevels(b.instance, b.units, specs)
	booted, err := b.init.booted(all)
	if err != nil {
		return err
	}
	missing := map[string]int{}
	for name := range specs {
		if script := ScriptName(b.instance, name); !booted[script] {
			missing[script] = all[script]
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return b.init.enable(ctx, missing)
}

// starts starts and restarts.
func (b *shimBatch) starts(ctx context.Context) error {
	after := map[string][]string{}
	for _, name := range b.start {
		after[name] = b.changes[name].Spec.After
	}
	var failed []error
	for _, group := range inLevels(b.start, after) {
		failed = append(failed, together(group, func(name string) error {
			err := b.init.restart(ctx, ScriptName(b.instance, name), b.place(b.instance, name))
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("cannot start %q: %w", name, plainStart(err, name))
			}
			return err
		}))
	}
	return errors.Join(failed...)
}

// plainStart takes off what is said anyway.
func plainStart(err error, name string) error {
	prefix := fmt.Sprintf("cannot start %q: ", name)
	if text := err.Error(); len(text) > len(prefix) && text[:len(prefix)] == prefix {
		return errors.New(text[len(prefix):])
	}
	return err
}

// tells has shims take over definitions, those of reloads with their services.
func (b *shimBatch) tells() error {
	return errors.Join(
		together(b.update, func(name string) error {
			place := b.place(b.instance, name)
			file, err := place.Read()
			if s, errStatus := place.Status(); err == nil && errStatus == nil && file != nil && s != nil && s.File == file.Hash {
				return nil // it knows
			}
			return shim.Tell(place, shim.Adopt)
		}),
		together(b.reload, func(name string) error { return shim.Tell(b.place(b.instance, name), shim.Reload) }),
	)
}

func checkSignal(what, name string) error {
	if name == "" {
		return nil
	}
	if _, err := process.ParseSignal(name); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

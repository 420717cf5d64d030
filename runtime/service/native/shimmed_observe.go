package native

import (
	"bytes"
	"context"

	"instar/runtime/service"
	"instar/runtime/service/shim"
)

// shimUnit is all that is known about one service that a shim runs.
type shimUnit struct {
	place  shim.Place
	file   *shim.File       // nil: there is none, or it can't be understood
	script *installedScript // nil: there is none of ours
	status *shim.Status     // nil: it was not started since it was stopped last
	boots  bool             // it is started with the machine
}

// Observe implements [service.Manager]. It sees services by their scripts, and
// by what their shims were told and say. What is not ours is not seen.
func (m *shimmed) Observe(_ context.Context, instance string) (map[string]service.State, error) {
	units, err := m.find(instance)
	if err != nil {
		return nil, err
	}
	states := make(map[string]service.State, len(units))
	for name, u := range units {
		states[name] = m.state(name, u)
	}
	return states, nil
}

// find returns the services of an instance by name.
func (m *shimmed) find(instance string) (map[string]*shimUnit, error) {
	names, err := shim.Names(m.stateDir, instance)
	if err != nil {
		return nil, err
	}
	units := map[string]*shimUnit{}
	add := func(name string) *shimUnit {
		if units[name] == nil {
			units[name] = &shimUnit{place: m.place(instance, name)}
		}
		return units[name]
	}
	for _, name := range names {
		u := add(name)
		if u.status, err = u.place.Status(); err != nil {
			return nil, err
		}
		u.file, _ = u.place.Read() // one that can't be read is written anew
		u.script, err = m.readScript(m.init.store().path(ScriptName(instance, name)))
		if _, foreign := err.(*ForeignError); err != nil && !foreign {
			return nil, err
		}
	}
	if err := m.findScripts(instance, add); err != nil {
		return nil, err
	}
	booted, err := m.init.booted(scriptLevels(instance, units, nil))
	if err != nil {
		return nil, err
	}
	for name, u := range units {
		u.boots = booted[ScriptName(instance, name)]
	}
	return units, nil
}

// findScripts adds the scripts whose shims were told nothing.
func (m *shimmed) findScripts(instance string, add func(string) *shimUnit) error {
	store := m.init.store()
	paths, err := store.list(scriptPrefix(instance))
	if err != nil {
		return err
	}
	for _, path := range paths {
		sc, err := m.readScript(path)
		if _, foreign := err.(*ForeignError); foreign {
			continue
		}
		if err != nil {
			return err
		}
		if sc != nil && sc.instance == instance && store.path(ScriptName(instance, sc.service)) == path {
			add(sc.service).script = sc
		}
	}
	return nil
}

// scriptLevels returns how late scripts are started: those of the services
// observed, by what their shims were told, or by what is wanted instead.
func scriptLevels(instance string, units map[string]*shimUnit, want map[string]service.Spec) map[string]int {
	after := map[string][]string{}
	for name, u := range units {
		after[name] = nil
		if u.file != nil {
			after[name] = u.file.Spec.After
		}
	}
	for name, spec := range want {
		after[name] = spec.After
	}
	names := mapKeys(after)
	scripts := map[string]int{}
	for name, level := range levels(names, after) {
		scripts[ScriptName(instance, name)] = level
	}
	return scripts
}

// state returns what a service amounts to.
func (m *shimmed) state(name string, u *shimUnit) service.State {
	s := service.State{Name: name, Status: service.Stopped}
	if u.file != nil {
		s.Run, s.After, s.Schedule = u.file.Spec.Run, u.file.Spec.After, u.file.Spec.Schedule
		s.ReloadDigest, s.ReloadInputs = u.file.Spec.ReloadDigest, u.file.Spec.ReloadInputs
	}
	lost, coming := u.status.Lost(u.place)
	switch {
	case u.status.Serving():
		s = u.status.State
	case u.status.Final():
		kept := s
		s = u.status.State
		s.PID = 0
		if u.file != nil { // it has nobody to be told of another definition
			s.After, s.ReloadDigest, s.ReloadInputs = kept.After, kept.ReloadDigest, kept.ReloadInputs
		}
	case lost:
		s.Restarts, s.Message = u.status.State.Restarts, "its supervisor was killed"
		if coming {
			s.Status, s.Digest, s.Inputs = service.Restarting, u.status.State.Digest, u.status.State.Inputs
			s.Run, s.Schedule = u.status.State.Run, u.status.State.Schedule
		}
	}
	s.Name, s.Definition = name, drifted
	if m.asLeft(u, s.Status) {
		s.Definition = u.file.Spec.Definition()
	}
	return s
}

// asLeft reports whether script, links and the shim's file are as instar wrote
// them, and in force.
func (m *shimmed) asLeft(u *shimUnit, status service.Status) bool {
	switch {
	case u.file == nil || !u.file.Intact || u.script == nil:
		return false
	case u.script.mode != m.init.store().mode() || !bytes.Equal(u.script.data, m.render(m.script(u.file.Spec))):
		return false
	case !u.boots && status != service.Stopped:
		return false
	case u.status.Serving() && u.status.File != u.file.Hash:
		return false
	}
	want := m.file(u.file.Spec)
	return want.LogDir == u.file.LogDir && want.Marker == u.file.Marker
}

package service

import (
	"context"
	"fmt"
	"maps"
	"sync"
)

// Recorder is a Manager that changes nothing but its own memory: it starts
// from what another manager observes, or from given states, records what it is
// asked to do, and from then on answers as if that had been done. `plan` and
// tests use it. The zero value is one that knows of nothing.
type Recorder struct {
	// Real is only read from; nil for a machine where nothing runs.
	Real Manager

	mu      sync.Mutex
	states  map[string]map[string]State
	changes map[string][]Change
}

// Set replaces what is known about instance.
func (r *Recorder) Set(instance string, states map[string]State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(instance, maps.Clone(states))
}

func (r *Recorder) set(instance string, states map[string]State) {
	if r.states == nil {
		r.states = map[string]map[string]State{}
	}
	if states == nil {
		states = map[string]State{}
	}
	r.states[instance] = states
}

// Changes returns all changes that were applied to instance, in order.
func (r *Recorder) Changes(instance string) []Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Change(nil), r.changes[instance]...)
}

// Platform implements [Manager].
func (r *Recorder) Platform() string {
	if r.Real == nil {
		return "none"
	}
	return r.Real.Platform()
}

// Refuses implements [Refuser] as the real manager does.
func (r *Recorder) Refuses(spec Spec) string {
	if real, ok := r.Real.(Refuser); ok {
		return real.Refuses(spec)
	}
	return ""
}

// Render implements [Manager].
func (r *Recorder) Render(spec Spec) ([]Artifact, error) {
	if r.Real == nil {
		return nil, nil
	}
	return r.Real.Render(spec)
}

// Observe implements [Manager].
func (r *Recorder) Observe(ctx context.Context, instance string) (map[string]State, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(ctx, instance); err != nil {
		return nil, err
	}
	return maps.Clone(r.states[instance]), nil
}

// load asks the real manager once per instance.
func (r *Recorder) load(ctx context.Context, instance string) error {
	if _, ok := r.states[instance]; ok {
		return nil
	}
	var states map[string]State
	if r.Real != nil {
		real, err := r.Real.Observe(ctx, instance)
		if err != nil {
			return err
		}
		states = maps.Clone(real)
	}
	r.set(instance, states)
	return nil
}

// Apply implements [Manager]: it records.
func (r *Recorder) Apply(ctx context.Context, instance string, changes []Change) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(ctx, instance); err != nil {
		return err
	}
	if r.changes == nil {
		r.changes = map[string][]Change{}
	}
	states := r.states[instance]
	for _, c := range changes {
		if c.Name == "" {
			return fmt.Errorf("cannot record %s: it has no name", c.Op)
		}
		r.changes[instance] = append(r.changes[instance], c)
		if c.Op == Unload {
			delete(states, c.Name)
			continue
		}
		states[c.Name] = c.outcome(states[c.Name])
	}
	return nil
}

// outcome returns the state once c has been done to a service in state s.
func (c Change) outcome(s State) State {
	s.Name = c.Name
	if c.Op == Stop {
		s.Status, s.PID, s.Ended = Stopped, 0, false
		return s
	}
	s.Run, s.After, s.Schedule = c.Spec.Run, c.Spec.After, c.Spec.Schedule
	s.Definition = c.Spec.Definition()
	s.ReloadDigest, s.ReloadInputs = c.Spec.ReloadDigest, c.Spec.ReloadInputs
	if c.Op == Reload && c.Spec.Timer() {
		s.Digest, s.Inputs = c.Spec.Digest, c.Spec.Inputs
	}
	if c.Op == Reload || c.Op == Update {
		return s
	}
	s.Digest, s.Inputs = c.Spec.Digest, c.Spec.Inputs
	s.Status, s.PID, s.Ended, s.Message, s.ExitCode = Running, 0, false, "", 0
	switch {
	case c.Spec.Timer():
		s.Status = Waiting
	case c.Spec.Run:
		s.Status = Done
	}
	return s
}

// Exits implements [Manager]: nothing runs, so nothing ends.
func (r *Recorder) Exits(ctx context.Context) (<-chan Exit, error) {
	exits := make(chan Exit)
	context.AfterFunc(ctx, func() { close(exits) })
	return exits, nil
}

var _ Manager = (*Recorder)(nil)

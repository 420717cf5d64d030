package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"instar/runtime/service"
)

// manager returns the manager that a setting means; nil leaves services alone.
func (d *Daemon) manager(setting string) (service.Manager, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m, known := d.managers[setting]; known {
		return m, nil
	}
	m, err := d.options.Manager(setting)
	if errors.Is(err, ErrNoManager) && setting == "" {
		return d.ownManager()
	}
	if err != nil {
		return nil, err
	}
	for _, known := range d.managers {
		if m != nil && known != nil && known.Platform() == m.Platform() {
			d.managers[setting] = known // its exits are watched already
			return known, nil
		}
	}
	if m != nil {
		if err := d.dispatch(m); err != nil {
			return nil, err
		}
	}
	d.managers[setting] = m
	return m, nil
}

// ownManager is the one that lives in the daemon. The caller holds mu.
func (d *Daemon) ownManager() (service.Manager, error) {
	if d.embedded != nil {
		return d.embedded, nil
	}
	m, err := d.options.Embedded(func(instance string, s service.State) {
		if k := d.find(instance); k != nil {
			k.changed(s)
		}
	})
	if err != nil {
		return nil, err
	}
	if err := d.dispatch(m); err != nil {
		return nil, errors.Join(err, m.Close(d.ctx))
	}
	d.embedded = m
	return m, nil
}

// dispatch hands the exits that m tells of to their instances.
func (d *Daemon) dispatch(m service.Manager) error {
	exits, err := m.Exits(d.ctx)
	if err != nil {
		return err
	}
	d.work.Go(func() {
		for exit := range exits {
			if k := d.find(exit.Instance); k != nil {
				k.meter.exit(exit.Name)
				k.share.exit(exit)
			}
		}
	})
	return nil
}

// share is one instance's share of a manager, which may be replaced by another.
// Its exits come at a pace: however many there are, one at a time, and after
// each a pause that grows until there are none for a while.
type share struct {
	daemon *Daemon
	name   string
	mail   chan service.Exit // the last exit that was not delivered
	reset  chan struct{}

	mu      sync.Mutex
	current service.Manager // nil: services are left alone
	chosen  bool
}

func newShare(d *Daemon, name string) *share {
	return &share{daemon: d, name: name, mail: make(chan service.Exit, 1), reset: make(chan struct{}, 1)}
}

// choose has the instance's services be under the manager that a setting means
// from now on, and no longer under any other.
func (s *share) choose(ctx context.Context, setting string) (service.Manager, error) {
	m, err := s.daemon.manager(setting)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	before, chosen := s.current, s.chosen
	s.mu.Unlock()
	if chosen && before == m {
		return m, nil
	}
	if chosen && before != nil && m != nil {
		if err := s.unload(ctx, before); err != nil {
			return nil, fmt.Errorf("cannot take the services from %s: %w", before.Platform(), err)
		}
	}
	if e, own := m.(Embedded); own {
		// What a daemon that was killed has left comes to its end first.
		if err := e.Apply(ctx, s.name, nil); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	s.current, s.chosen = m, true
	s.mu.Unlock()
	return m, nil
}

// prepare has the daemon's own manager end what one that was killed has left of
// the instance. That is done without a slot: many do it at once, and share the
// looks at all processes that it takes.
func (s *share) prepare(ctx context.Context) {
	if s.isChosen() {
		return
	}
	st, err := s.daemon.options.Home.Instance(s.name).Brief()
	if err != nil || !st.Exists() {
		return
	}
	m, err := s.daemon.manager(st.Settings.Manager)
	if e, own := m.(Embedded); own && err == nil {
		_ = e.Apply(ctx, s.name, nil) // choose tells
	}
}

// unload stops all services under m and has it forget them.
func (s *share) unload(ctx context.Context, m service.Manager) error {
	have, err := m.Observe(ctx, s.name)
	if err != nil {
		return err
	}
	return m.Apply(ctx, s.name, service.Reconcile(nil, have, false))
}

// leave ends what would end with the daemon.
func (s *share) leave(ctx context.Context) error {
	m := s.get()
	if _, own := m.(Embedded); !own {
		return nil
	}
	return s.unload(ctx, m)
}

func (s *share) isChosen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chosen
}

func (s *share) get() service.Manager {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Platform implements [service.Manager].
func (s *share) Platform() string {
	if m := s.get(); m != nil {
		return m.Platform()
	}
	return "none"
}

// Render implements [service.Manager].
func (s *share) Render(spec service.Spec) ([]service.Artifact, error) {
	if m := s.get(); m != nil {
		return m.Render(spec)
	}
	return nil, nil
}

// Observe implements [service.Manager].
func (s *share) Observe(ctx context.Context, instance string) (map[string]service.State, error) {
	if m := s.get(); m != nil {
		return m.Observe(ctx, instance)
	}
	return map[string]service.State{}, nil
}

// UnmanagedError says that nothing runs an instance's services.
type UnmanagedError struct{ Instance string }

func (e *UnmanagedError) Error() string {
	return fmt.Sprintf("nothing supervises the services of %q", e.Instance)
}

// Hint says what the operator can do.
func (e *UnmanagedError) Hint() string {
	return "it was applied with --manager none"
}

// Apply implements [service.Manager].
func (s *share) Apply(ctx context.Context, instance string, changes []service.Change) error {
	if m := s.get(); m != nil {
		return m.Apply(ctx, instance, changes)
	}
	if len(changes) > 0 {
		return &UnmanagedError{instance}
	}
	return nil
}

// exit takes one exit. Of several that wait, the last one is kept.
func (s *share) exit(x service.Exit) {
	for {
		select {
		case s.mail <- x:
			return
		default:
		}
		select {
		case <-s.mail:
		default:
		}
	}
}

// calm is how long without an exit ends the pauses, at least.
const calm = 10 * time.Second

// Exits implements [service.Manager].
func (s *share) Exits(ctx context.Context) (<-chan service.Exit, error) {
	out := make(chan service.Exit)
	go func() {
		defer close(out) // which the reader waits for
		var pause time.Duration
		var last time.Time
		for {
			var x service.Exit
			select {
			case <-ctx.Done():
				return
			case <-s.reset:
				pause = 0
				continue
			case x = <-s.mail:
			}
			if time.Since(last) > max(calm, 2*pause) {
				pause = 0
			}
			if !s.wait(ctx, pause-time.Since(last)) {
				return
			}
			select {
			case x = <-s.mail:
			default:
			}
			select {
			case out <- x:
			case <-ctx.Done():
				return
			}
			last, pause = time.Now(), min(max(retryFirst, 2*pause), retryMost)
		}
	}()
	return out, nil
}

// wait returns after d, or when the inputs have changed; false when ctx ends.
func (s *share) wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.reset:
	case <-ctx.Done():
		return false
	}
	return true
}

// refresh ends the pause between exits: something has changed.
func (s *share) refresh() {
	select {
	case s.reset <- struct{}{}:
	default:
	}
}

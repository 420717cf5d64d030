package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"instar/runtime/control"
	"instar/runtime/report"
	"instar/runtime/request"
	"instar/runtime/service"
	"instar/runtime/state"
)

var (
	_ control.Server  = (*Daemon)(nil)
	_ control.Adopter = (*Daemon)(nil)
)

// Instances implements [control.Server].
func (d *Daemon) Instances() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.kept))
}

// Adopts implements [control.Adopter]: what is applied here is served from then
// on.
func (d *Daemon) Adopts(name string, action control.Action) bool {
	return action.Verb == "apply" && action.Settings != nil && state.CheckName(name) == nil
}

// Status implements [control.Server].
func (d *Daemon) Status(ctx context.Context, name string, reveal bool) (*report.Status, error) {
	k := d.find(name)
	if k == nil {
		return nil, &control.UnknownError{Instance: name}
	}
	status, err := k.status(ctx, reveal)
	if err != nil {
		return nil, err
	}
	status.Served = "node"
	status.Error = k.problem()
	return status, nil
}

func (k *kept) status(ctx context.Context, reveal bool) (*report.Status, error) {
	if node := k.running(); node != nil {
		return node.Status(ctx, k.name, reveal)
	}
	st, err := k.subject.Options.Load()
	if err != nil {
		return nil, err
	}
	return k.subject.Options.Status(st, reveal)
}

// problem is what is wrong with the instance at the moment, or nil.
func (k *kept) problem() *report.Error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.bad != nil:
		return report.ErrorOf(k.bad, k.subject.Options.Mask.String)
	case k.busy != nil:
		return report.ErrorOf(k.busy, k.subject.Options.Mask.String)
	case k.last != nil:
		return k.last.Error
	}
	return nil
}

// Services implements [control.Server].
func (d *Daemon) Services(ctx context.Context, name string) (map[string]service.State, error) {
	k := d.find(name)
	if k == nil {
		return nil, &control.UnknownError{Instance: name}
	}
	return k.share.Observe(ctx, name)
}

// Events implements [control.Server].
func (d *Daemon) Events(ctx context.Context, name string) (<-chan report.Event, error) {
	if k := d.find(name); k != nil {
		if node := k.running(); node != nil {
			return node.Events(ctx, name)
		}
	}
	return nil, &control.UnknownError{Instance: name}
}

// Act implements [control.Server]. What changes the state that an instance shall
// have changes its request, too.
func (d *Daemon) Act(ctx context.Context, name string, action control.Action, sink report.Sink) (*report.Report, int) {
	k := d.find(name)
	if k == nil {
		if !d.Adopts(name, action) {
			return d.refused(name, &control.UnknownError{Instance: name})
		}
		k = d.keep(name)
	}
	if d.Adopts(name, action) {
		k.mu.Lock()
		k.left = false
		k.mu.Unlock()
	}
	if err := k.refuses(action); err != nil {
		return d.refused(name, err)
	}
	action, err := k.asked(action)
	if err != nil {
		return d.refused(name, err)
	}
	k.share.refresh()
	node := k.begin(nil)
	if node == nil {
		return d.refused(name, k.unserved())
	}
	r, exit := node.Act(ctx, name, action, sink)
	k.mu.Lock()
	stranger := k.request == nil && k.bad == nil
	k.mu.Unlock()
	if stranger { // its first apply has failed
		k.letGo()
	}
	return r, exit
}

// unserved is why nothing can be done with an instance.
func (k *kept) unserved() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.busy != nil:
		return k.busy
	case k.bad != nil:
		return k.bad
	}
	return ErrGone
}

func (d *Daemon) refused(name string, err error) (*report.Report, int) {
	options := d.options.Subject(name).Options
	n := New(options)
	r := n.failure(err)
	return r, options.Exit(r, err)
}

// asked takes over what somebody asks for, and returns what the instance shall
// do.
func (k *kept) asked(action control.Action) (control.Action, error) {
	_, _ = k.reread() // what is wrong with it, problem tells
	st, err := k.subject.Options.Load()
	if err != nil {
		return action, err
	}
	verb := action.Verb
	switch {
	case verb == "apply" && action.Settings != nil:
		if st.Requested == state.Destroyed {
			action.Verb = "start" // it is there again
		}
	case verb == "stop" && action.Service == "":
		err = k.restate(st, state.Stopped)
	case (verb == "start" || verb == "restart") && action.Service == "":
		err = k.restate(st, state.Started)
	case verb == "destroy":
		return k.askedDestroy(st, action)
	}
	if verb != "bang" {
		action.Reason = "asked: " + verb
	}
	return action, err
}

// restate has the request ask for another state.
func (k *kept) restate(st *state.State, requested string) error {
	r := k.current(st, requested)
	if r == nil {
		return nil
	}
	return k.rewrite(r)
}

// current is the request with another state; nil when it asks for that already.
// What was applied since it was fulfilled counts.
func (k *kept) current(st *state.State, requested string) *request.Request {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pending() || st.Settings.Root == "" {
		if k.request == nil || k.request.State == requested {
			return nil
		}
		r := *k.request
		r.State, r.Purge, r.Retention = requested, false, ""
		return &r
	}
	if st.Requested == requested {
		return nil
	}
	return request.Of(k.name, st.Settings, requested)
}

// RetentionError says that an instance's data must not be removed yet.
type RetentionError struct {
	Instance string
	Until    time.Time
}

func (e *RetentionError) Error() string {
	return fmt.Sprintf("the data of %q is kept until %s, as was asked for when it was destroyed", e.Instance, e.Until.Local().Format(time.DateTime))
}

// askedDestroy is what a destruction means that somebody asks for.
func (k *kept) askedDestroy(st *state.State, action control.Action) (control.Action, error) {
	k.mu.Lock()
	until, r := k.memo.PurgeAt, k.request
	k.mu.Unlock()
	if action.Purge && time.Now().Before(until) {
		return action, &RetentionError{k.name, until}
	}
	if st.Settings.Root != "" {
		r = request.Of(k.name, st.Settings, state.Destroyed)
	}
	if r != nil {
		next := *r
		next.State, next.Purge, next.Retention = state.Destroyed, action.Purge, action.Retention
		if err := k.rewrite(&next); err != nil {
			return action, err
		}
		k.mu.Lock()
		purge := k.destroying(action.Purge).Purge
		k.mu.Unlock()
		action.Purge = purge
	}
	action.Reason = "asked: destroy"
	return action, nil
}

package node

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"instar/runtime/control"
	"instar/runtime/engine"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/service"
	"instar/runtime/state"
)

// act performs one action, on a stack of its own: it needs a deep one, and an
// instance that rests shall need next to none. Meanwhile exits are heard.
func (n *Instance) act(ctx context.Context, action control.Action, sink report.Sink) (rep *report.Report, err error) {
	ended := make(chan *defect, 1)
	go func() {
		var d *defect
		defer func() {
			if value := recover(); value != nil {
				d = &defect{value, debug.Stack()}
			}
			ended <- d
		}()
		rep, err = n.perform(ctx, action, sink)
	}()
	for {
		select {
		case exit, ok := <-n.exits:
			n.ended(exit, ok)
		case d := <-ended:
			if d != nil {
				panic(d)
			}
			return rep, err
		}
	}
}

// defect is a panic of another goroutine.
type defect struct {
	value any
	stack []byte
}

func (d *defect) String() string { return fmt.Sprintf("%v\n%s", d.value, d.stack) }

// perform is act on the caller's stack.
func (n *Instance) perform(ctx context.Context, action control.Action, sink report.Sink) (*report.Report, error) {
	switch action.Verb {
	case "apply":
		if action.Settings != nil {
			n.release("")
		}
		return n.process(ctx, "", action, sink)
	case "start", "stop", "restart":
		if action.Service != "" {
			return n.one(ctx, service.Op(action.Verb), action, sink)
		}
		return n.all(ctx, action, sink)
	case "rollback":
		n.release("")
		return n.process(ctx, "", action, sink)
	case "bang":
		n.bangNow(alert{time.Now(), n.mask(action.Reason), ""})
		return n.process(ctx, "", action, sink)
	case "destroy":
		return n.destroy(ctx, action, sink)
	}
	return n.failed(ctx, fmt.Errorf("unknown action %q", action.Verb))
}

// all starts, stops or restarts the instance.
func (n *Instance) all(ctx context.Context, action control.Action, sink report.Sink) (*report.Report, error) {
	if action.Verb == "stop" {
		return n.process(ctx, state.Stopped, action, sink)
	}
	n.release("")
	if action.Verb == "restart" {
		st, err := n.options.Load()
		if err != nil {
			return n.failed(ctx, err)
		}
		if st.Requested == state.Started {
			return n.services(ctx, service.Restart, action, sink)
		}
	}
	return n.process(ctx, state.Started, action, sink)
}

// one starts, stops or restarts one service.
func (n *Instance) one(ctx context.Context, op service.Op, action control.Action, sink report.Sink) (*report.Report, error) {
	if !slices.Contains(n.names(), action.Service) {
		return n.failed(ctx, &UnknownServiceError{Instance: n.options.Name, Name: action.Service, Known: n.names()})
	}
	if op == service.Stop {
		n.hold(action.Service)
		return n.services(ctx, op, action, sink)
	}
	st, err := n.options.Load()
	if err != nil {
		return n.failed(ctx, err)
	}
	if st.Requested != state.Started {
		return n.failed(ctx, &StoppedError{Instance: n.options.Name, Service: action.Service})
	}
	n.release(action.Service)
	return n.services(ctx, op, action, sink)
}

// services applies op to the service that action names, or to all.
func (n *Instance) services(ctx context.Context, op service.Op, action control.Action, sink report.Sink) (*report.Report, error) {
	n.mu.Lock()
	specs := slices.Clone(n.specs)
	n.mu.Unlock()
	rep, err := engine.Operate(ctx, engine.Operation{
		Instance: n.options.Name, Manager: n.options.Manager, Specs: specs,
		Op: op, Name: action.Service, Mask: n.mask, Sink: n.tee(sink),
	})
	return n.done(ctx, rep, err)
}

// UnknownServiceError says that an instance has no service of that name.
type UnknownServiceError struct {
	Instance, Name string
	Known          []string
}

func (e *UnknownServiceError) Error() string {
	return fmt.Sprintf("instance %q has no service or run %q", e.Instance, e.Name)
}

// Hint lists those that it has.
func (e *UnknownServiceError) Hint() string {
	if len(e.Known) == 0 {
		return "it has none"
	}
	return "it has " + strings.Join(e.Known, ", ")
}

// StoppedError says that a service of a stopped instance cannot run.
type StoppedError struct{ Instance, Service string }

func (e *StoppedError) Error() string {
	return fmt.Sprintf("cannot start %q: instance %q is stopped", e.Service, e.Instance)
}

// Hint says how to start all of it.
func (e *StoppedError) Hint() string {
	return "instar start " + e.Instance + " starts it with all its services"
}

func (n *Instance) names() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []string
	for _, spec := range n.specs {
		names = append(names, spec.Name)
	}
	return names
}

// destroy removes the instance; it is not served any more then.
func (n *Instance) destroy(ctx context.Context, action control.Action, sink report.Sink) (*report.Report, error) {
	return n.locked(ctx, action, sink, func(e *engine.Engine) (*report.Report, error) {
		n.stopWatching()
		rep, err := e.Destroy(ctx, action.Purge)
		if err == nil {
			n.mu.Lock()
			n.destroyed = true
			n.mu.Unlock()
		}
		return rep, err
	})
}

// Destroyed reports whether the instance was destroyed while it was served.
func (n *Instance) Destroyed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.destroyed
}

// hold keeps a service stopped through processings that nobody asked for.
func (n *Instance) hold(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held[name] = true
}

// release ends the holding of one service, or of all.
func (n *Instance) release(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name == "" {
		n.held = map[string]bool{}
		return
	}
	delete(n.held, name)
}

func (n *Instance) heldNow() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	held := map[string]bool{}
	for name := range n.held {
		held[name] = true
	}
	return held
}

// bang asks for a processing and reports true, unless one was asked for since
// the last success.
func (n *Instance) bang(a alert) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.banged {
		return false
	}
	n.banged = true
	select {
	case n.banging <- a:
	default: // one already waits
	}
	return true
}

// bangNow is an alert that is processed by the caller.
func (n *Instance) bangNow(a alert) {
	n.mu.Lock()
	n.banged = true
	n.mu.Unlock()
	n.recordBang(a)
}

// recordBang remembers the alert for status.
func (n *Instance) recordBang(a alert) {
	n.meter.bang()
	n.tee(nil)(report.Event{Time: a.at, Kind: "bang", Name: a.service, Text: a.reason})
	err := n.change(context.Background(), func(st *state.State) {
		st.LastBang = &state.Bang{At: a.at.UTC().Round(0), Reason: a.reason}
	})
	if err != nil {
		n.warn(fmt.Errorf("cannot record the alert: %w", err))
	}
}

// change changes the state, holding the instance's lock.
func (n *Instance) change(ctx context.Context, what func(*state.State)) error {
	unlock, err := n.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	st, err := n.options.Load()
	if err != nil {
		return err
	}
	what(st)
	return n.options.Save(st)
}

func (n *Instance) warn(err error) {
	n.tee(nil)(report.Event{Time: time.Now(), Kind: "warning", Text: n.mask(err.Error())})
}

// merged returns specs together with those of before that an incomplete plan
// does not speak of: they go on running.
func merged(specs, before []service.Spec) []service.Spec {
	names := map[string]bool{}
	for _, s := range specs {
		names[s.Name] = true
	}
	all := slices.Clone(specs)
	for _, s := range before {
		if !names[s.Name] {
			all = append(all, s)
		}
	}
	return all
}

// promisesOf returns the names of promises.
func promisesOf(list []plan.Promise) map[string]bool {
	names := map[string]bool{}
	for _, p := range list {
		names[p.Name] = true
	}
	return names
}

package node

import (
	"context"
	"fmt"
	"time"

	"instar/runtime/control"
	"instar/runtime/engine"
	"instar/runtime/report"
	"instar/runtime/service"
	"instar/runtime/state"
)

// act performs one action.
func (n *Instance) act(ctx context.Context, action control.Action, sink report.Sink) (*report.Report, error) {
	switch action.Verb {
	case "apply":
		if action.Settings != nil {
			n.release("")
		}
		return n.process(ctx, "", action, sink)
	case "start":
		n.release(action.Service)
		return n.startOrStop(ctx, state.Started, service.Start, action, sink)
	case "stop":
		return n.startOrStop(ctx, state.Stopped, service.Stop, action, sink)
	case "restart":
		n.release(action.Service)
		return n.restart(ctx, action, sink)
	case "bang":
		n.recordBang(action.Reason)
		return n.process(ctx, "", action, sink)
	case "destroy":
		return n.destroy(ctx, action, sink)
	}
	return n.failed(fmt.Errorf("unknown action %q", action.Verb))
}

// startOrStop changes what is requested of the instance, or of one service.
func (n *Instance) startOrStop(ctx context.Context, requested string, op service.Op, action control.Action, sink report.Sink) (*report.Report, error) {
	if action.Service == "" {
		return n.process(ctx, requested, action, sink)
	}
	if op == service.Stop {
		n.hold(action.Service)
	}
	return n.services(ctx, op, action, sink)
}

// restart has one service, or all that run, started anew.
func (n *Instance) restart(ctx context.Context, action control.Action, sink report.Sink) (*report.Report, error) {
	if action.Service == "" {
		st, err := n.options.Load()
		if err != nil {
			return n.failed(err)
		}
		if st.Requested != state.Started {
			return n.process(ctx, state.Started, action, sink)
		}
	}
	return n.services(ctx, service.Restart, action, sink)
}

// services applies op to the service that action names, or to all.
func (n *Instance) services(ctx context.Context, op service.Op, action control.Action, sink report.Sink) (*report.Report, error) {
	start := time.Now()
	var changes []service.Change
	why := "asked for"
	n.mu.Lock()
	for _, spec := range n.specs {
		if action.Service == "" && !spec.Run || spec.Name == action.Service {
			changes = append(changes, service.Change{Op: op, Name: spec.Name, Run: spec.Run, Spec: spec, Why: why, At: spec.At})
		}
	}
	total := len(n.specs)
	n.mu.Unlock()
	if len(changes) == 0 {
		return n.failed(&UnknownServiceError{Instance: n.options.Name, Name: action.Service, Known: n.names()})
	}
	rep := &report.Report{FormatVersion: report.FormatVersion, Instance: n.options.Name, Complete: true,
		Changes: []report.Change{}, Published: map[string]any{}}
	rep.Summary.OK = total - len(changes)
	emit := n.tee(sink)
	err := n.options.Manager.Apply(ctx, n.options.Name, changes)
	for _, c := range changes {
		if err != nil {
			break
		}
		change := report.Change{Op: string(c.Op), Name: c.Name, Why: c.Why, At: c.At.String()}
		rep.Changes = append(rep.Changes, change)
		emit(report.Event{Time: n.options.Now(), Kind: "change", Change: &change})
		if op == service.Restart {
			rep.Summary.Restarted++
		} else {
			rep.Summary.Changed++
		}
	}
	if err != nil {
		rep.Error = report.ErrorOf(err, func(s string) string { return s })
		rep.Summary.Failed = 1
	}
	rep.Duration = time.Since(start)
	emit(report.Event{Time: n.options.Now(), Kind: "done", Report: rep})
	return rep, err
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
	return fmt.Sprintf("it has %v", e.Known)
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
	return n.locked(ctx, action, func(e *engine.Engine) (*report.Report, error) {
		n.stopWatching()
		e.Sink = n.tee(sink)
		rep, err := e.Destroy(ctx, action.Purge)
		if err == nil {
			n.mu.Lock()
			n.destroyed = true
			n.mu.Unlock()
		}
		return rep, err
	})
}

func (n *Instance) isDestroyed() bool {
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

// bang asks for a processing, unless one was asked for since the last success.
func (n *Instance) bang(reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.banged {
		return
	}
	n.banged = true
	select {
	case n.banging <- reason:
	default: // one already waits
	}
}

// recordBang remembers the alert for status.
func (n *Instance) recordBang(reason string) {
	n.tee(nil)(report.Event{Time: n.options.Now(), Kind: "bang", Text: reason})
	unlock, err := n.lock(context.Background())
	if err != nil {
		n.warn(fmt.Errorf("cannot record the alert: %w", err))
		return
	}
	defer unlock()
	st, err := n.options.Load()
	if err == nil {
		st.LastBang = &state.Bang{At: n.options.Now().UTC().Round(0), Reason: reason}
		err = n.options.Save(st)
	}
	if err != nil {
		n.warn(fmt.Errorf("cannot record the alert: %w", err))
	}
}

func (n *Instance) warn(err error) {
	n.tee(nil)(report.Event{Time: n.options.Now(), Kind: "warning", Text: err.Error()})
}

package node

import (
	"context"

	"instar/runtime/control"
	"instar/runtime/engine"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/service"
)

var _ control.Server = (*Instance)(nil)

// Instances implements [control.Server].
func (n *Instance) Instances() []string { return []string{n.options.Name} }

// Status implements [control.Server].
func (n *Instance) Status(ctx context.Context, name string, reveal bool) (*report.Status, error) {
	if name != n.options.Name {
		return nil, &control.UnknownError{Instance: name}
	}
	st, err := n.options.Load()
	if err != nil {
		return nil, err
	}
	status, err := n.options.Status(st, reveal)
	if err != nil {
		return nil, err
	}
	have, err := n.options.Manager.Observe(ctx, name)
	if err != nil {
		return nil, err
	}
	status.Services, status.Runs = []report.Service{}, []report.Service{}
	for _, key := range plan.SortedKeys(have) {
		if have[key].Run {
			status.Runs = append(status.Runs, engine.ServiceReport(have[key], key))
		} else {
			status.Services = append(status.Services, engine.ServiceReport(have[key], key))
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, p := range status.Promises {
		if r, ok := n.results[p.Name]; ok {
			status.Promises[i] = r
		}
	}
	return status, nil
}

// Services implements [control.Server].
func (n *Instance) Services(ctx context.Context, name string) (map[string]service.State, error) {
	if name != n.options.Name {
		return nil, &control.UnknownError{Instance: name}
	}
	return n.options.Manager.Observe(ctx, name)
}

// Act implements [control.Server].
func (n *Instance) Act(ctx context.Context, name string, action control.Action, sink report.Sink) (*report.Report, int) {
	if name != n.options.Name {
		rep, err := n.failed(&control.UnknownError{Instance: name})
		return rep, n.options.Exit(rep, err)
	}
	n.mu.Lock()
	if n.preempt != nil {
		n.preempt(ErrPreempted)
	}
	n.mu.Unlock()
	j := &job{action: action, sink: sink, done: make(chan outcome, 1)}
	select {
	case n.jobs <- j:
	case <-n.gone:
		rep, err := n.failed(errGone)
		return rep, n.options.Exit(rep, err)
	}
	out := <-j.done
	return out.report, out.exit
}

// eventBacklog is how many events wait for a slow reader; older ones are lost.
const eventBacklog = 1000

// Events implements [control.Server].
func (n *Instance) Events(ctx context.Context, name string) (<-chan report.Event, error) {
	if name != n.options.Name {
		return nil, &control.UnknownError{Instance: name}
	}
	ch := make(chan report.Event, eventBacklog)
	n.mu.Lock()
	n.subscribers[ch] = true
	n.mu.Unlock()
	context.AfterFunc(ctx, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.subscribers[ch] {
			delete(n.subscribers, ch)
			close(ch)
		}
	})
	return ch, nil
}

func (n *Instance) closeEvents() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for ch := range n.subscribers {
		close(ch)
	}
	n.subscribers = map[chan report.Event]bool{}
}

// tee returns a sink that tells everybody: the operator, the subscribers, and
// whoever asked for the action.
func (n *Instance) tee(asker report.Sink) report.Sink {
	return func(ev report.Event) {
		if n.options.Sink != nil {
			n.options.Sink(ev)
		}
		if asker != nil {
			asker(ev)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		for ch := range n.subscribers {
			select {
			case ch <- ev:
			default: // a reader that does not read
			}
		}
	}
}

// Changed tells of a service's new state; the supervisor calls it.
func (n *Instance) Changed(text, name string) {
	n.tee(nil)(report.Event{Time: n.options.Now(), Kind: "service", Name: name, Text: text})
}

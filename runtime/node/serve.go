package node

import (
	"context"
	"fmt"
	"time"

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
	status.Services, status.Runs, status.Timers = []report.Service{}, []report.Service{}, []report.Timer{}
	for _, key := range plan.SortedKeys(have) {
		if have[key].Timer() {
			one := engine.TimerReport(have[key], key)
			one.Message = n.mask(one.Message)
			status.Timers = append(status.Timers, one)
			continue
		}
		one := engine.ServiceReport(have[key], key)
		one.Message = n.mask(one.Message)
		if have[key].Run {
			status.Runs = append(status.Runs, one)
		} else {
			status.Services = append(status.Services, one)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	status.Promises = []report.Promise{}
	for _, p := range st.Promises {
		if r, ok := n.results[p.Name]; ok {
			status.Promises = append(status.Promises, r)
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

// Act implements [control.Server]. Whoever asks is served in turn; a processing
// that nobody waits for does not keep it waiting for promises and runs, and none
// keeps a destruction waiting.
func (n *Instance) Act(ctx context.Context, name string, action control.Action, sink report.Sink) (*report.Report, int) {
	if name != n.options.Name {
		return n.refused(&control.UnknownError{Instance: name})
	}
	n.ask(action, 1)
	defer n.ask(action, -1)
	j := &job{action: action, sink: sink, done: make(chan outcome, 1)}
	select {
	case n.jobs <- j:
	case <-ctx.Done():
		return n.refused(ctx.Err())
	case <-n.gone:
		return n.refused(ErrGone)
	}
	out := <-j.done
	return out.report, out.exit
}

// ask counts those who wait for their turn.
func (n *Instance) ask(action control.Action, change int) {
	n.mu.Lock()
	n.asking += change
	if n.preempt != nil && n.asking > 0 {
		n.preempt(ErrPreempted)
	}
	if action.Verb == "destroy" {
		n.destroying += change
		if n.interrupt != nil && n.destroying > 0 {
			n.interrupt(ErrInterrupted)
		}
	}
	n.mu.Unlock()
	if change > 0 && n.options.Hurry != nil {
		n.options.Hurry()
	}
}

// isAsked reports whether somebody waits for what is done, or for its end.
func (n *Instance) isAsked() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asking > 0
}

// obsolete ends the processing at work: what it is about is to be destroyed.
func (n *Instance) obsolete() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.interrupt != nil {
		n.interrupt(ErrInterrupted)
	}
}

func (n *Instance) refused(err error) (*report.Report, int) {
	rep := n.failure(err)
	return rep, n.options.Exit(rep, err)
}

// eventBacklog is how many events wait for a slow reader; later ones are lost.
const eventBacklog = 1000

// Events implements [control.Server].
func (n *Instance) Events(ctx context.Context, name string) (<-chan report.Event, error) {
	if name != n.options.Name {
		return nil, &control.UnknownError{Instance: name}
	}
	ch := make(chan report.Event, eventBacklog)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.subscribers == nil { // gone
		close(ch)
		return ch, nil
	}
	n.subscribers[ch] = true
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

// Changed tells of a service's new state; the manager calls it. A run that
// succeeds late makes good the processing that waited for it.
func (n *Instance) Changed(s service.State) {
	one := engine.ServiceReport(s, s.Name)
	one.Message = n.mask(one.Message)
	n.tee(nil)(report.Event{Time: time.Now(), Kind: "service", Name: s.Name, Text: describe(one), Service: &one})
	n.mu.Lock()
	better := n.unkept && s.Run && s.Status == service.Done
	n.mu.Unlock()
	if better {
		n.nudged()
	}
}

// describe says what a service does: "running, pid 123".
func describe(s report.Service) string {
	text := s.Status
	if s.PID > 0 {
		text += fmt.Sprintf(", pid %d", s.PID)
	}
	if s.Message != s.Status && s.PID == 0 {
		text += " (" + s.Message + ")"
	}
	return text
}

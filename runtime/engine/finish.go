package engine

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff"

	"instar/runtime/apply"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/secret"
	"instar/runtime/service"
	"instar/runtime/state"
)

// chosen is shown for a value that the apply will choose.
const chosen = secret.ChosenAtApply

// UnkeptError says which promises do not hold and which runs did not succeed
// in the time they had. What was applied stays.
type UnkeptError struct {
	Promises []report.Promise
	Runs     []report.Service
}

func (e *UnkeptError) Error() string {
	if len(e.Runs) > 0 {
		r := e.Runs[0]
		return fmt.Sprintf("run %q has not succeeded: %s%s", r.Name, r.Message, more(len(e.Runs)+len(e.Promises)-1))
	}
	p := e.Promises[0]
	return fmt.Sprintf("promise %q does not hold: %s%s", p.Name, p.Message, more(len(e.Promises)-1))
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d more)", n)
}

// check waits for the runs and the promises of a started instance.
func (r *run) check(ctx context.Context, p *plan.Plan) error {
	st, err := r.latest()
	if err != nil {
		return err
	}
	if r.requested(st) != state.Started {
		return nil
	}
	if r.Settled != nil {
		r.Settled()
	}
	r.checked = true
	ctx, stop := r.patient(ctx)
	defer stop()
	deadline := r.now().Add(r.Wait)
	unkept := &UnkeptError{}
	if unkept.Runs, err = r.waitRuns(ctx, deadline); err != nil {
		return context.Cause(ctx)
	}
	r.report.Runs = unkept.Runs
	if r.Promises != nil && len(p.Promises) > 0 {
		r.report.Promises = r.Promises(ctx, p.Promises, r.Mask, max(0, deadline.Sub(r.now())), func(pr report.Promise) {
			r.emit(report.Event{Kind: "promise", Name: pr.Name, Promise: &pr})
		})
	}
	if ctx.Err() != nil {
		// A check that was cut short says nothing about the instance.
		r.report.Promises = slices.DeleteFunc(r.report.Promises, func(pr report.Promise) bool { return !pr.OK })
		return context.Cause(ctx)
	}
	for _, pr := range r.report.Promises {
		if !pr.OK {
			unkept.Promises = append(unkept.Promises, pr)
		}
	}
	failed := len(unkept.Promises) + len(unkept.Runs)
	if failed == 0 {
		return nil
	}
	r.report.Summary.Failed += failed - 1 // the caller counts one for the error
	return unkept
}

// patient returns ctx as it is while the instance's promises and runs are waited
// for: it also ends, with the same cause, when the engine's patience does.
func (r *run) patient(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	if r.Patience == nil {
		return ctx, func() { cancel(nil) }
	}
	stop := context.AfterFunc(r.Patience, func() { cancel(context.Cause(r.Patience)) })
	return ctx, func() { stop(); cancel(nil) }
}

// pollRuns is how often runs are looked at while they are waited for.
const pollRuns = 50 * time.Millisecond

// waitRuns waits until every run has succeeded, and returns those that have not
// by the deadline.
func (r *run) waitRuns(ctx context.Context, deadline time.Time) ([]report.Service, error) {
	wanted := map[string]bool{}
	for _, s := range r.specs {
		if s.Run && !s.Timer() && !r.Held[s.Name] {
			wanted[s.Name] = true
		}
	}
	for {
		if len(wanted) == 0 {
			return nil, nil
		}
		have, err := r.Manager.Observe(ctx, r.Name)
		if err != nil {
			return nil, err
		}
		var left []report.Service
		for _, name := range plan.SortedKeys(wanted) {
			if st := have[name]; st.Status != service.Done {
				left = append(left, ServiceReport(st, name))
			}
		}
		if len(left) == 0 || !r.now().Before(deadline) {
			return left, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pollRuns):
		}
	}
}

// ServiceReport is what reports say of one service or run.
func ServiceReport(st service.State, name string) report.Service {
	s := report.Service{Name: name, Status: string(st.Status), PID: st.PID, Restarts: st.Restarts, Message: st.Message}
	if s.Status == "" {
		s.Status = string(service.Stopped)
	}
	if !st.Since.IsZero() {
		since := st.Since.UTC()
		s.Since = &since
	}
	if s.Message == "" {
		s.Message = s.Status
	}
	s.Timer = st.Timer()
	return s
}

// TimerReport is what reports say of one timer.
func TimerReport(st service.State, name string) report.Timer {
	s := ServiceReport(st, name)
	t := report.Timer{Name: name, Schedule: st.Schedule, Status: s.Status, PID: s.PID, Message: s.Message}
	for _, at := range []struct {
		from time.Time
		to   **time.Time
	}{{st.Next, &t.Next}, {st.Last, &t.Last}} {
		if !at.from.IsZero() {
			when := at.from.UTC()
			*at.to = &when
		}
	}
	return t
}

// published is what the profile publishes, as it may be shown.
func (r *run) published(p *plan.Plan) map[string]any {
	if r.Reveal {
		return r.chosen.Object(p.Published)
	}
	return r.Mask.Object(p.Published)
}

// maxDiff bounds the texts that are compared line by line, in bytes.
const maxDiff = 1 << 20

// diff is the unified diff of a file that is about to be written; "" when it is
// no text. The caller masks it.
func (w *work) diff(e plan.Edit) string {
	var old []byte
	if info, ok, err := plan.Lookup(w.view, e.Path); err == nil && ok && info.Kind == plan.KindFile && info.Size <= maxDiff {
		if old, err = w.view.ReadFile(e.Path); err != nil {
			return ""
		}
	}
	if len(e.Data) > maxDiff || !isText(old) || !isText(e.Data) {
		return ""
	}
	if w.Mask.Contains(e.Data) && apply.Hash(old) != w.state.Owned[e.Path].Hash {
		old = hideOthers(old, e.Data)
	}
	return udiff.Unified("a/"+e.Path, "b/"+e.Path, string(old), string(e.Data))
}

// hideOthers hides the lines of old that are not in now: where a secret is about
// to be written, what nobody remembers having written may be an older one.
func hideOthers(old, now []byte) []byte {
	known := map[string]bool{}
	for line := range bytes.Lines(now) {
		known[string(line)] = true
	}
	var out []byte
	for line := range bytes.Lines(old) {
		if known[string(line)] {
			out = append(out, line...)
		} else {
			out = append(out, secret.Mask+"\n"...)
		}
	}
	return out
}

func isText(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }

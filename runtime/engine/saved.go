package engine

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/secret"
)

// StaleError says that a saved plan does not hold any more. Nothing was done.
type StaleError struct {
	Instance    string
	Differences []report.Difference
}

func (e *StaleError) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "the plan does not hold any more, and nothing was done")
	for _, d := range e.Differences {
		fmt.Fprintf(&text, "\n  %s: planned %s, now %s", d.Path, d.Planned, d.Now)
	}
	return text.String()
}

// Hint says what the operator can do.
func (e *StaleError) Hint() string { return "plan again: instar plan " + e.Instance + " -o FILE" }

// IdempotenceError says that what was applied successfully would be changed again
// by the next apply.
type IdempotenceError struct{ Changes []report.Change }

func (e *IdempotenceError) Error() string {
	var text strings.Builder
	text.WriteString("applied, but not idempotent: the next apply would change something again")
	for _, c := range e.Changes {
		fmt.Fprintf(&text, "\n  %s %s%s: %s (%s)", c.Op, c.Path, c.Name, c.Why, c.At)
	}
	return text.String()
}

// At returns the place of the first one.
func (e *IdempotenceError) At() string { return e.Changes[0].At }

// Hint says what is usually wrong.
func (e *IdempotenceError) Hint() string {
	return "something that runs changes what the profile declares, observes or mentions: see instar help idempotence"
}

// twin returns the engine that does on paper what r does.
func (r *run) twin() (*Engine, func()) {
	e, done := r.Paper()
	e.Held, e.Now, e.Mask = r.Held, r.Now, secret.New(nil)
	e.Cache = nil // all of it is looked at
	if r.Manager == nil {
		e.Manager = nil
	}
	return e, done
}

// stale compares a saved plan with what would be done now, and fails with a
// [StaleError] when that is not the same.
func (r *run) stale(ctx context.Context) error {
	if r.Saved == nil {
		return nil
	}
	twin, done := r.twin()
	defer done()
	twin.Requested = r.Requested
	now, _, err := twin.Foresee(ctx)
	if err != nil && (!now.began || ctx.Err() != nil) {
		return err // the profile is wrong
	}
	if err != nil { // something that came meanwhile may stand in the way
		for _, name := range plan.SortedKeys(r.Saved.Paths) {
			now.touch(now.view, name)
		}
		now.Edits, now.Complete, now.Pending = r.Saved.Edits, r.Saved.Complete, r.Saved.Pending
	}
	r.Mask.Add(now.texts...)
	r.report.Differences = r.Saved.Differences(&now.Forecast)
	if len(r.report.Differences) > 0 {
		return &StaleError{r.Name, r.report.Differences}
	}
	r.foreseen = now
	return err
}

// unforeseen fails when the first comparison is not the one that was held against
// the saved plan a moment ago: somebody else is at work.
func (w *work) unforeseen() error {
	f := w.foreseen
	if f == nil {
		return nil
	}
	w.run.foreseen = nil
	var differences []report.Difference
	for _, name := range plan.SortedKeys(f.found) {
		if now := f.look(w.view, name); now != f.found[name] {
			differences = append(differences, report.Difference{Path: f.mask.String(name), Planned: f.found[name].String(), Now: now.String()})
		}
	}
	if edits := editsOf(w.cmp); len(differences) == 0 && !reflect.DeepEqual(edits, f.first) {
		differences = append(differences, report.Difference{Path: changedPath(f.first, edits),
			Planned: fmt.Sprintf("one of %d edits", len(f.first)), Now: "changes while the plan is applied"})
	}
	if len(differences) == 0 {
		return nil
	}
	w.report.Differences = differences
	return &StaleError{w.Name, differences}
}

// changedPath is the first path of which the edits differ.
func changedPath(planned, now []plan.Edit) string {
	for i := 0; i < len(planned) || i < len(now); i++ {
		switch {
		case i >= len(planned):
			return now[i].Path
		case i >= len(now) || !reflect.DeepEqual(planned[i], now[i]):
			return planned[i].Path
		}
	}
	return "."
}

// beyond tells what was done that the saved plan had not foreseen, and what was
// not done that it had: what a command's effect called for, or somebody who was at
// work meanwhile.
func (r *run) beyond(err error) {
	if r.Saved == nil || len(r.report.Differences) > 0 {
		return
	}
	planned := map[[3]string]int{}
	for _, e := range r.Saved.Edits {
		planned[[3]string{string(e.Op), e.Path, e.Name}]++
	}
	for _, c := range r.report.Changes {
		key := [3]string{c.Op, c.Path, c.Name}
		if planned[key]--; planned[key] < 0 {
			r.warn(fmt.Sprintf("%s: not in the saved plan: %s %s%s (%s)", c.At, c.Op, c.Path, c.Name, c.Why))
		}
	}
	if err != nil {
		return // which says why the rest was not done
	}
	for _, e := range r.Saved.Edits {
		key := [3]string{string(e.Op), e.Path, e.Name}
		if planned[key] > 0 {
			planned[key]--
			r.warn(fmt.Sprintf("%s: in the saved plan, and not called for any more: %s %s%s", e.At, e.Op, e.Path, e.Name))
		}
	}
}

// idempotent plans again after a success, and fails with an [IdempotenceError]
// when there is something to do.
func (r *run) idempotent(ctx context.Context) error {
	if !r.VerifyIdempotent || r.report.Pending != nil {
		return nil
	}
	twin, done := r.twin()
	defer done()
	again, err := twin.Converge(ctx)
	if err != nil {
		return fmt.Errorf("applied, but it cannot be planned again: %w", err)
	}
	r.report.NotIdempotent = again.Changes
	if len(again.Changes) == 0 && again.Pending == nil {
		return nil
	}
	if len(again.Changes) == 0 {
		return fmt.Errorf("applied, but pending when it is planned again: %s", *again.Pending)
	}
	return &IdempotenceError{again.Changes}
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"instar/runtime/apply"
	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/secret"
	"instar/runtime/service"
	"instar/runtime/state"
)

// run is one processing of an instance, over all its rounds.
type run struct {
	*Engine
	view   *apply.View
	report *report.Report
	// By what was done to them: IDs of resources, services and runs.
	changed, removed, restarted map[string]bool
	// did counts the effects of the current round.
	did int
	// uncounted counts those that no generation has counted yet.
	uncounted int
	// writes holds the paths that the current round changed.
	writes map[string]bool
	start  time.Time
	// evaluated is when the evaluation of the current round began, and awaited is
	// set when a command that an earlier deployer had begun ended after that.
	evaluated time.Time
	awaited   bool
	// saw holds the hash of each file in the root that the evaluation read.
	saw map[string]string
	// cache is what was verified when the last run ended; nil when nothing is
	// known, and from the second round on.
	cache *state.Cache
	// part, if not nil, is what of the current round's plan has to be compared.
	part *part
	// known is the state as it was saved or read last; of an unchanged instance,
	// without what it owns.
	known *state.State
	// wrote is when the last change was made.
	wrote time.Time
	specs []service.Spec
	// checked is set once promises and runs were waited for.
	checked bool
	// chosen hides the values that the apply will choose, from those who may
	// see secrets too.
	chosen   *secret.Masker
	requests requests
	// foreseen is what a saved plan was compared with, until the first comparison.
	foreseen *Foresight
}

// Converge processes the instance once: it evaluates, compares and performs
// until nothing is left to do or a value is still missing, then checks the
// promises. The caller holds the instance's lock. The report is never nil; with
// an error it says what had been done before it.
func (e *Engine) Converge(ctx context.Context) (*report.Report, error) {
	start := e.now()
	r := e.begin()
	r.start = start
	err := r.stale(ctx)
	if err == nil {
		err = r.process(ctx)
	}
	if err != nil {
		s := &r.report.Summary
		s.Changed, s.Removed, s.Restarted = len(r.changed), len(r.removed), len(r.restarted)
		s.Failed++
		r.report.Error = report.ErrorOf(err, e.Mask.String)
	}
	r.judge(err)
	r.report.Seconds = e.now().Sub(start).Seconds()
	e.emit(report.Event{Kind: "done", Report: r.report})
	return r.report, err
}

// process does what is to be done, and says what that went beyond.
func (r *run) process(ctx context.Context) error {
	fast, err := r.unchanged(ctx)
	if !fast {
		err = r.rounds(ctx)
	}
	r.beyond(err)
	if err != nil {
		return err
	}
	return r.idempotent(ctx)
}

func (e *Engine) begin() *run {
	return &run{
		Engine:  e,
		changed: map[string]bool{}, removed: map[string]bool{}, restarted: map[string]bool{},
		chosen:   secret.New(nil),
		writes:   map[string]bool{},
		requests: requests{attempted: map[string]string{}, outcomes: map[string]Outcome{}},
		report: &report.Report{
			FormatVersion: report.FormatVersion,
			Instance:      e.Name,
			Changes:       []report.Change{},
			Published:     map[string]any{},
		},
	}
}

func (r *run) rounds(ctx context.Context) error {
	for round := 1; ; round++ {
		p, err := r.round(ctx)
		if err != nil {
			return err
		}
		if !r.again(p) {
			return r.finish(ctx, p)
		}
		if round == maxRounds+len(p.Requests) { // each may wait for the one before it
			if r.requests.news {
				return fmt.Errorf("what the requested instances publish still changes after %d rounds", round)
			}
			return r.circles(ctx, p)
		}
	}
}

// again reports whether another round follows the one that has performed p.
func (r *run) again(p *plan.Plan) bool {
	return r.requests.news || r.awaited || r.did > 0 && (!p.Complete() || r.wroteObserved(p))
}

// wroteObserved reports whether the round changed a file that the profile had
// observed: then what it was told is no longer so.
func (r *run) wroteObserved(p *plan.Plan) bool {
	for _, name := range p.Observed {
		if r.writes[name] {
			return true
		}
	}
	return false
}

// round evaluates the profile once and makes the machine match.
func (r *run) round(ctx context.Context) (*plan.Plan, error) {
	r.did, r.writes, r.requests.news = 0, map[string]bool{}, false
	r.evaluated, r.awaited, r.part = r.now(), false, nil
	st, p, err := r.evaluate(ctx)
	if err != nil {
		return nil, err
	}
	r.Observed = p.Observed
	r.learn(p)
	r.foresight.evaluated(r, st, p)
	w := &work{run: r, plan: p, state: st, changed: map[string]bool{}, vouched: map[string]fsys.Sig{}, before: st}
	if err := w.undeclared(ctx); err != nil {
		return nil, err
	}
	if err := w.leftovers(); err != nil {
		return nil, err
	}
	if err := w.look(); err != nil {
		return nil, err
	}
	if w.cmp, err = w.compare(); err != nil {
		return nil, err
	}
	r.foresight.compared(w.cmp)
	if err := w.unforeseen(); err != nil {
		return nil, err
	}
	if err := w.all(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// compare holds the plan against the root, as far as that is not known.
func (w *work) compare() (*apply.Comparison, error) {
	if w.part == nil {
		return apply.Compare(w.plan, w.state.Owned, w.view)
	}
	cmp, err := apply.Compare(w.part.plan, w.state.Owned, w.view)
	if err == nil {
		cmp.Same = w.part.same
	}
	return cmp, err
}

// evaluationFailed stops a stopped instance although its profile is broken, and
// remembers that this was asked for.
func (r *run) evaluationFailed(ctx context.Context, st *state.State, cause error) error {
	if r.requested(st) == state.Stopped && st.Requested != state.Stopped && st.Settings.Root != "" {
		next := *st
		next.Requested = state.Stopped
		if err := r.Store.Save(&next); err != nil {
			return errors.Join(cause, fmt.Errorf("cannot save the state: %w", err))
		}
	}
	if r.requested(st) != state.Stopped {
		return cause
	}
	if r.Manager != nil {
		if err := r.stopAll(ctx); err != nil {
			return fmt.Errorf("%w; and the services could not be stopped: %w", cause, err)
		}
	}
	if err := r.fulfil(ctx, st, &plan.Plan{}); err != nil {
		return err
	}
	if failed := r.tell(st); failed != nil {
		return errors.Join(cause, failed)
	}
	return cause
}

func (r *run) stopAll(ctx context.Context) error {
	have, err := r.Manager.Observe(ctx, r.Name)
	if err != nil {
		return err
	}
	var known []service.Spec
	for name, s := range have {
		known = append(known, service.Spec{Name: name, Run: s.Run, Schedule: s.Schedule, After: s.After})
	}
	return r.applyServices(ctx, service.Reconcile(known, have, false))
}

func (r *run) requested(st *state.State) string {
	if r.Requested != "" {
		return r.Requested
	}
	return st.Requested
}

// learn takes from a plan what must be masked, and what it printed.
func (r *run) learn(p *plan.Plan) {
	r.Mask.Add(p.Secrets...)
	for _, v := range p.Values {
		if !r.Planning || !v.New {
			continue
		}
		for _, m := range []*secret.Masker{r.Mask, r.chosen} {
			if v.Kind == "port" {
				m.ReplaceWord(v.Text, chosen)
			} else {
				m.Replace(v.Text, chosen)
			}
		}
	}
	for _, line := range p.Prints {
		r.emit(report.Event{Kind: "print", Name: line.At.String(), Text: r.Mask.String(line.Text)})
	}
}

// finish checks what the complete plan promises and folds the report.
func (r *run) finish(ctx context.Context, p *plan.Plan) error {
	r.foresight.ended(p)
	r.report.Complete = p.Complete()
	r.report.Published = r.published(p)
	if p.Pending != nil {
		why := r.Mask.String(p.Pending.At.String() + ": " + p.Pending.Why)
		r.report.Pending = &why
	}
	r.count(p)
	var err error
	if p.Complete() && r.Manager != nil && !r.Planning {
		err = r.check(ctx, p)
	}
	return r.finishRequests(ctx, p, err)
}

// count fills the summary: what nothing was done to is ok.
func (r *run) count(p *plan.Plan) {
	s := &r.report.Summary
	s.Changed, s.Removed, s.Restarted = len(r.changed), len(r.removed), len(r.restarted)
	for _, res := range p.Resources {
		dir, _ := res.(*plan.Dir)
		if r.changed[string(res.ID())] || dir != nil && dir.Implicit {
			continue
		}
		s.OK++
	}
	for _, spec := range r.specs {
		if id := serviceID(spec.Name); !r.changed[id] && !r.restarted[id] {
			s.OK++
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/pflag"

	"instar/runtime/control"
	"instar/runtime/engine"
	"instar/runtime/generation"
	"instar/runtime/report"
	"instar/runtime/state"
)

const rollbackDoc = `Returns to generation N, else to the one before the current: its profile, as it
was then, with the parameters and settings of then. The files get the contents
that they had, the services that differ restart. What was made once stays as it
is, data above all, and commands are not undone. A rollback is a new generation.

The instance follows that generation from then on, whatever becomes of the
profile's source, until the next apply: that goes by the source again, with the
parameters that the rollback brought back. A node that follows the source goes
on when it is changed. With --plan, nothing is changed.`

func rollbackFlags(o *options, f *pflag.FlagSet) {
	f.BoolVar(&o.plan, "plan", false, "show what would be done, and do nothing")
}

// rollback returns to a generation.
func (a *app) rollback(ctx context.Context, args []string) error {
	t, st, err := a.existing(args[0])
	if err != nil {
		return err
	}
	if err := a.notRequested(st, "roll back"); err != nil {
		return err
	}
	number, err := a.rollbackTo(t, st, args[1:])
	if err != nil {
		return err
	}
	if why := generation.In(t.folder).Failure(number); why != "" {
		a.ui.hint(fmt.Sprintf("generation %d has never held: %s; instar generations %s lists all", number, why, t.name))
	}
	if a.opts.plan {
		return a.rollbackPlan(ctx, t, st, number)
	}
	action := control.Action{Verb: "rollback", Generation: number, Reveal: a.opts.reveal, Diffs: a.opts.verbose}
	out := a.act(ctx, t.folder, action)
	if !out.served {
		if out, err = a.rollbackHere(ctx, t, st, number); err != nil {
			return err
		}
	}
	err = a.show(ctx, out)
	if out.r != nil && out.r.Error == nil {
		a.ui.hint(fmt.Sprintf("%s follows generation %d now; instar apply %s goes by its profile's source again", t.name, number, t.name))
	}
	return err
}

// rollbackTo is the generation that is meant.
func (a *app) rollbackTo(t target, st *state.State, args []string) (int, error) {
	if len(args) > 0 {
		return generationNumber(args[0])
	}
	number, err := generation.In(t.folder).Before(st)
	if unknown := (&generation.UnknownError{}); errors.As(err, &unknown) {
		return 0, hinted("instar generations "+t.name+" lists those that are kept", "%w", errNothingBefore)
	}
	return number, err
}

// generationNumber reads the number of a generation.
func generationNumber(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, usagef("it is a number, as instar generations shows it", "generation %q", text)
	}
	return n, nil
}

// rollbackHere returns to a generation in this process.
func (a *app) rollbackHere(ctx context.Context, t target, st *state.State, number int) (outcome, error) {
	in, err := a.instance(t, st, st.Settings, true)
	if err != nil {
		return outcome{}, err
	}
	done, err := in.goBack(st, number, false)
	if err != nil {
		return outcome{}, err
	}
	defer done()
	manager, err := in.manager()
	if err != nil {
		return outcome{}, err
	}
	return a.process(ctx, in, manager, "")
}

// rollbackPlan shows what a rollback would do.
func (a *app) rollbackPlan(ctx context.Context, t target, st *state.State, number int) error {
	in, err := a.instance(t, st, st.Settings, false)
	if err != nil {
		return err
	}
	done, err := in.goBack(st, number, true)
	if err != nil {
		return err
	}
	defer done()
	e, done, err := a.paperEngine(ctx, in)
	if err != nil {
		return err
	}
	defer done()
	e.Reveal = a.opts.reveal
	r, err := e.Converge(ctx)
	return a.finish(ctx, r, err)
}

// rollBackAfter returns to the last good generation when an apply has failed and
// that was asked for; it notes in the outcome what came of it.
func (a *app) rollBackAfter(ctx context.Context, in *instance, out *outcome) {
	if !a.opts.rollbackOnFailure || out.err == nil || out.r == nil || ctx.Err() != nil {
		return
	}
	var unkept *engine.UnkeptError
	isUnkept := out.code == exitUnkept || errors.As(out.err, &unkept)
	var again *engine.IdempotenceError
	if !isUnkept && len(out.r.Changes) == 0 || out.code == exitUnstable || errors.As(out.err, &again) {
		return // nothing was done
	}
	st, err := in.folder.Load()
	if err != nil {
		out.back = &rolledBack{outcome: outcome{err: err}}
		return
	}
	number, err := generation.In(in.folder).LastGood(st)
	switch {
	case err != nil:
		out.back = &rolledBack{outcome: outcome{err: err}}
		return
	case number == 0:
		out.back = &rolledBack{outcome: outcome{err: errors.New("no generation is known to be good: nothing was rolled back")}}
		return
	case number == st.Generation && isUnkept:
		out.back = &rolledBack{outcome: outcome{err: fmt.Errorf("generation %d, the last good one, is what is applied: nothing was rolled back", number)}}
		return
	}
	a.ui.say("%s: the apply failed: rolling back to generation %d", in.name, number)
	action := control.Action{Verb: "rollback", Generation: number, Reveal: a.opts.reveal, Diffs: a.opts.verbose}
	back := a.act(ctx, in.folder, action)
	if !back.served {
		back, err = a.rollbackHere(ctx, target{in.name, st.Settings.Profile, in.folder}, st, number)
	}
	if back.err == nil {
		back.err = err
	}
	out.back = &rolledBack{to: number, outcome: back}
}

// rolledBack is what came of a rollback after a failure.
type rolledBack struct {
	outcome
	to int // 0: there was none
}

// noteBack has the report of an apply say that a rollback followed it.
func (a *app) noteBack(out *outcome) {
	if out.back == nil {
		return
	}
	out.r.RolledBack = &report.RolledBack{To: out.back.to, Report: out.back.r}
	if out.back.err != nil {
		out.r.RolledBack.Error = a.ui.errorOf(out.back.err)
	}
}

// showBack tells of the rollback that followed an apply.
func (a *app) showBack(out outcome) {
	back := out.back
	switch {
	case back == nil:
		return
	case back.to == 0:
		a.ui.warn(back.err.Error())
		return
	case back.r == nil:
		a.ui.showError(fmt.Errorf("cannot roll back to generation %d: %w", back.to, back.err))
		return
	}
	a.ui.report(back.r, back.err)
	if back.err == nil {
		a.ui.hint(fmt.Sprintf("the apply failed, and generation %d is back, as generation %d; instar apply %s tries again", back.to, back.r.Generation, back.r.Instance))
	}
}

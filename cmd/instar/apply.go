package main

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/pflag"

	"instar/runtime/control"
	"instar/runtime/report"
	"instar/runtime/service"
	"instar/runtime/service/native"
	"instar/runtime/state"
)

const applyDoc = `Evaluates the profile, makes the machine match it, waits for runs and promises,
and prints what was changed. An error in the profile changes nothing. The
second apply finds nothing to do.

The flags from --name to --wait are remembered: the next apply of the instance,
by its name or its profile, repeats them. Parameters are changed one by one, in
this order: --reset, --unset, --params, --set-file and --set. While an up or the
node serves the instance, it is that which does the work.

FILE is a plan that was saved by ` + "`instar plan -o FILE`" + `, under whatever name.
It is performed if all is as it was and the same would be done; else nothing is
done, and the exit code is 6. It has its own settings, and takes of their flags
only those that give the secrets which it does not hold. See instar help
saved-plans.

With --rollback-on-failure, an apply whose promises or runs do not hold in time,
or that fails after it has changed something, is followed by a rollback to the
last generation of which they did; the exit code stays that of the failure.`

func applyFlags(o *options, f *pflag.FlagSet) {
	f.BoolVar(&o.verify, "verify", false, "read everything, and trust no timestamps")
	f.BoolVar(&o.idempotent, "verify-idempotent", false, "plan again afterwards, and exit with 5 when there are changes")
	f.BoolVar(&o.rollbackOnFailure, "rollback-on-failure", false, "return to the last good generation when it fails")
}

// apply converges an instance: by the `up` that serves it, else here.
func (a *app) apply(ctx context.Context, args []string) error {
	if err := checkManager(a.opts.manager); err != nil {
		return err
	}
	if saved, err := a.isSaved(args[0]); err != nil {
		return err
	} else if saved {
		return a.applySaved(ctx, args[0])
	}
	in, st, err := a.resolve(args[0], true)
	if err != nil {
		return err
	}
	return a.applied(ctx, in, control.Action{
		Verb: "apply", Settings: &in.settings, Base: &st.Settings, Reveal: a.opts.reveal, Diffs: a.opts.verbose,
		Verify: a.opts.verify, VerifyIdempotent: a.opts.idempotent,
	})
}

// applied has the instance converged by what serves it, else here, and what fails
// rolled back where that was asked for.
func (a *app) applied(ctx context.Context, in *instance, action control.Action) error {
	out := a.act(ctx, in.folder, action)
	if !out.served {
		manager, err := in.manager()
		if err != nil {
			return err
		}
		if out, err = a.process(ctx, in, manager, in.revived()); err != nil {
			return err
		}
	}
	if a.ui.json { // it is one document
		a.rollBackAfter(ctx, in, &out)
		a.noteBack(&out)
		return a.show(ctx, out)
	}
	err := a.show(ctx, out)
	a.rollBackAfter(ctx, in, &out)
	a.showBack(out)
	return err
}

// converge makes the machine match an instance's profile, and shows what came of
// it. Requested, if not "", is what the instance shall be from now on.
func (a *app) converge(ctx context.Context, in *instance, manager service.Manager, requested string) error {
	out, err := a.process(ctx, in, manager, requested)
	if err != nil {
		return err
	}
	return a.show(ctx, out)
}

// process makes the machine match an instance's profile.
func (a *app) process(ctx context.Context, in *instance, manager service.Manager, requested string) (outcome, error) {
	endsSoon()
	unlock, err := in.lock()
	if err != nil {
		return outcome{}, err
	}
	defer unlock()
	a.hintRoot(in)
	e, done := in.real(manager, a.ui.follow(false))
	defer done()
	f := &family{app: a, manager: manager}
	f.adopt(e, in)
	f.wire(e)
	e.Requested, e.Verify = requested, a.opts.verify
	e.Saved, e.VerifyIdempotent = in.saved, a.opts.idempotent
	if manager != nil {
		if text := native.Hint(manager); text != "" {
			a.ui.hint(text)
		}
	}
	r, err := e.Converge(ctx)
	if noted := in.recorded("apply", "asked: "+in.verbOf(requested), r); noted != nil {
		a.ui.warn(noted.Error())
	}
	if noted := in.rerequest(); noted != nil {
		a.ui.warn(noted.Error())
	}
	return outcome{r: r, err: err}, nil
}

// revived is what an apply asks for that stays stopped if it is, but not
// destroyed: "started" for a destroyed instance, else "", which keeps things.
func (in *instance) revived() string {
	st, err := in.folder.Brief()
	if err == nil && st.Requested == state.Destroyed {
		return state.Started
	}
	return "" // a state that cannot be read is an error soon
}

// finish shows the outcome of a processing and turns it into the error that
// main makes an exit code of.
func (a *app) finish(ctx context.Context, r *report.Report, err error) error {
	err = unsignalled(ctx, err)
	if stop := (signalled{}); errors.As(err, &stop) && r.Error != nil {
		r.Error.Message = stop.Error()
	}
	a.ui.report(r, err)
	switch {
	case err != nil:
		return reported{err}
	case isPending(r):
		return exitWith(exitPending)
	}
	return nil
}

// isPending reports whether an instance, or one that it requests, waits for a
// value.
func isPending(r *report.Report) bool {
	return r.Pending != nil || slices.ContainsFunc(r.Requests, func(q report.Requested) bool { return q.Pending != nil })
}

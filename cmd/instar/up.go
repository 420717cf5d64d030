package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"instar/runtime/control"
	"instar/runtime/engine"
	"instar/runtime/node"
	"instar/runtime/report"
	"instar/runtime/secret"
	"instar/runtime/service"
	"instar/runtime/service/supervise"
	"instar/runtime/state"
)

const upDoc = `Applies, then supervises the services itself until Ctrl-C, which stops them in
reverse order; a second Ctrl-C ends them at once. It needs neither a service
manager nor root. Commands from other terminals go through it. What an up that
was killed has left running is ended first.

A service that ends is started again, at once the first time, and the instance
is processed again. When the first apply fails, up ends with its exit code; when
only a promise, a run or a requested instance fails, it goes on. Other instances
that the profile requests it serves, too. With --json it prints one document,
the outcome of the first apply, and says nothing more on stdout.`

// up converges an instance and supervises its services in the foreground, until
// it is told to stop. Commands from elsewhere go through it meanwhile.
func (a *app) up(ctx context.Context, args []string) error {
	in, st, err := a.resolve(args[0], true)
	if err != nil {
		return err
	}
	if err := checkManager(a.opts.manager); err != nil {
		return err
	}
	if err := a.notRequested(st, "serve"); err != nil {
		return err
	}
	if err := in.notElsewhere(ctx); err != nil {
		return err
	}
	release, err := in.serveAlone()
	if err != nil {
		return err
	}
	defer release()
	patient.Store(true)
	ctx, hurry, stop := withHangup(ctx)
	defer stop()
	a.hintRoot(in)
	return a.serve(ctx, hurry, in)
}

// withHangup returns a context that ends with ctx, and when the terminal is
// closed, unless that is ignored (nohup); and one that a second signal ends.
// Whoever reads our output may go away: nothing is stopped by that.
func withHangup(ctx context.Context) (soon, now context.Context, stop func()) {
	soon, end := context.WithCancelCause(ctx)
	now, hurry := context.WithCancel(context.WithoutCancel(ctx))
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	done := make(chan struct{})
	go func() {
		for second := ctx.Err() != nil; ; second = true {
			select {
			case s := <-signals:
				if second {
					hurry()
				}
				end(signalled{s})
			case <-done:
				return
			}
		}
	}()
	return soon, now, func() {
		signal.Stop(signals)
		close(done)
		end(nil)
		hurry()
	}
}

// serveAlone takes the lock of those who supervise the instance: one at a time.
func (in *instance) serveAlone() (release func(), err error) {
	unlock, err := in.folder.LockAs("up.lock")
	if errors.Is(err, state.ErrLocked) {
		return nil, hinted("commands such as `instar status "+in.name+"` go through it",
			"instance %q: another instar up serves it: %w", in.name, state.ErrLocked)
	}
	if err != nil {
		return nil, err
	}
	return func() {
		if !in.folder.Exists() {
			_ = os.Remove(in.folder.Path("logs")) // it is empty, or stays
		}
		unlock()
	}, nil
}

// serve runs the supervisor, the socket and the instance until ctx ends or the
// instance is destroyed. When now ends, what still runs is killed.
func (a *app) serve(ctx, now context.Context, in *instance) error {
	house := &household{app: a, mask: in.mask, members: map[string]*serving{}}
	supervisor, err := supervise.New(supervise.Options{
		LogDir:   func(name string) string { return a.home.Instance(name).Path("logs") },
		MarkBase: string(a.home),
		Mask:     func(string) func([]byte) []byte { return in.mask.Bytes },
		OnChange: house.changed,
	})
	if err != nil {
		return err
	}
	house.supervisor = supervisor
	served := house.member(in, newView(a.ui, in.name))
	first := control.Action{Verb: "start", Settings: &in.settings, Reveal: a.opts.reveal, Diffs: a.ui.verbose}
	err = house.serve(ctx, served, &first)
	if served.failure == nil && err == nil {
		served.view.stopping()
	}
	err = errors.Join(err, supervisor.Close(now))
	served.view.close(served.node.Destroyed())
	var why signalled
	switch {
	case err != nil:
		return errors.Join(err, served.failure)
	case errors.As(context.Cause(ctx), &why):
		return exitWith(why.code())
	}
	return served.failure
}

// answerTime is how long those who asked get to hear the end of it.
const answerTime = 2 * time.Second

// run serves the instance, on the socket too. It begins with first, unless that
// is nil.
func (s *serving) run(ctx context.Context, first *control.Action) error {
	// First of all, what an up that was killed has left comes to its end.
	if err := s.house.supervisor.Apply(ctx, s.instance.name, nil); err != nil {
		return err
	}
	listener, err := control.Listen(s.instance.folder.Path(socketName))
	if err != nil {
		return err
	}
	serveCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	answered := make(chan error, 1)
	go func() { answered <- control.Serve(serveCtx, listener, s.node, answerTime) }()
	var started func(*report.Report, error) bool
	if first != nil {
		started = func(r *report.Report, err error) bool { return s.started(ctx, r, err) }
	}
	close(s.ready)
	err = s.node.Run(ctx, first, started)
	stop()
	if late := <-answered; !errors.Is(late, context.DeadlineExceeded) {
		err = errors.Join(err, late)
	}
	return err
}

// serving is an instance while `up` serves it.
type serving struct {
	app      *app
	instance *instance
	node     *node.Instance
	view     *view
	history  *upHistory
	failure  error // of the first processing, when it keeps up from serving

	house *household
	ready chan struct{} // closed when commands are taken
	relations
}

func (s *serving) options(manager *supervise.Supervisor) node.Options {
	in := s.instance
	return node.Options{
		Name:    in.name,
		Manager: ownExits{manager, in.name},
		Engine: func(action control.Action) (*engine.Engine, func(), error) {
			return s.engine(manager, action)
		},
		Lock:    in.lock,
		Load:    in.folder.Load,
		Save:    in.folder.Save,
		Checker: in.checker(in.mask),
		Mask:    in.mask,
		Status:  s.status,
		Exit:    s.exit,
		Sink:    s.history.sink(s.hear),
		Version: versionText(),
	}
}

// engine builds what processes the instance for an action.
func (s *serving) engine(manager service.Manager, action control.Action) (*engine.Engine, func(), error) {
	s.history.begin(action)
	in := *s.instance
	st, err := in.folder.Load()
	if err != nil {
		return nil, nil, err
	}
	stored := func() {}
	switch {
	case action.Verb == "rollback":
		if stored, err = in.goBack(st, action.Generation, false); err != nil {
			return nil, nil, err
		}
	case action.Settings != nil && action.Base != nil:
		in.settings = mergeSettings(st.Settings, *action.Base, *action.Settings)
	case action.Settings != nil:
		in.settings = *action.Settings
	case st.Settings.Root != "":
		in.settings = st.Settings
	}
	if action.Settings == nil && in.past == nil {
		in.stay(st)
	}
	requested, err := s.asRequested(&in)
	if err != nil {
		return nil, nil, err
	}
	if in.who, err = identify(in.settings.User, in.settings.Root, true); err != nil {
		return nil, nil, err
	}
	if err := in.who.still(st, in.settings.Root); err != nil {
		return nil, nil, err
	}
	e, done := in.real(manager, nil)
	s.relate(e, &in, requested, action)
	e.Reveal, e.Diffs, e.Verify = action.Reveal, action.Diffs || s.app.ui.verbose, action.Verify
	e.Unsupported = supervise.Unsupported
	return e, func() { done(); stored() }, nil
}

// started shows the first outcome. An instance that could not be converged is
// not served; one that works only in part is.
func (s *serving) started(ctx context.Context, r *report.Report, err error) bool {
	var unkept *engine.UnkeptError
	var below *engine.RequestsError
	if why := (signalled{}); errors.Is(err, node.ErrGone) && errors.As(context.Cause(ctx), &why) {
		err, r.Error = why, s.app.ui.errorOf(why)
	}
	if err != nil && !errors.As(err, &unkept) && !errors.As(err, &below) {
		s.failure = reported{err}
	}
	s.view.first(r, err, s.failure == nil)
	return s.failure == nil
}

func (s *serving) exit(r *report.Report, err error) int {
	switch {
	case err != nil:
		return exitCode(context.Background(), err)
	case isPending(r):
		return exitPending
	}
	return exitOK
}

// status completes what is shown of a served instance.
func (s *serving) status(st *state.State, reveal bool) (*report.Status, error) {
	status, err := restingStatus(s.instance.folder, st, secret.New(st.Secrets).Walk, reveal)
	if err != nil {
		return nil, err
	}
	status.Served = "up"
	return status, nil
}

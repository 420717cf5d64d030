package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gofrs/flock"

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
reverse order. It needs neither a service manager nor root. Commands from other
terminals go through it.`

// up converges an instance and supervises its services in the foreground, until
// it is told to stop. Commands from elsewhere go through it meanwhile.
func (a *app) up(ctx context.Context, args []string) error {
	in, _, err := a.resolve(args[0], true)
	if err != nil {
		return err
	}
	if err := checkManager(a.opts.manager); err != nil {
		return err
	}
	release, err := in.serveAlone()
	if err != nil {
		return err
	}
	defer release()
	patient.Store(true)
	a.hintRoot(in)
	return a.serve(ctx, in)
}

// serveAlone takes the lock of those who supervise the instance: one at a time.
func (in *instance) serveAlone() (release func(), err error) {
	if err := in.folder.Make(); err != nil {
		return nil, err
	}
	lock := flock.New(in.folder.Path("up.lock"), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, hinted("commands such as `instar status "+in.name+"` go through it",
			"instance %q: another instar up serves it: %w", in.name, state.ErrLocked)
	}
	return func() { _ = lock.Unlock() }, nil
}

// serve runs the supervisor, the socket and the instance until ctx ends or the
// instance is destroyed.
func (a *app) serve(ctx context.Context, in *instance) error {
	served := &serving{app: a, instance: in}
	supervisor, err := supervise.New(supervise.Options{
		LogDir:   func(string) string { return in.folder.Path("logs") },
		MarkBase: string(a.home),
		Mask:     func(string) func([]byte) []byte { return in.mask.Bytes },
		OnChange: func(_ string, s service.State) { served.node.Changed(describeState(s), s.Name) },
	})
	if err != nil {
		return err
	}
	served.node = node.New(served.options(supervisor))
	listener, err := control.Listen(in.folder.Path(socketName))
	if err != nil {
		return errors.Join(err, supervisor.Close(ctx))
	}
	serveCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	answered := make(chan error, 1)
	go func() { answered <- control.Serve(serveCtx, listener, served.node, 10*time.Second) }()

	first := control.Action{Verb: "start", Settings: &in.settings, Reveal: a.opts.reveal, Diffs: a.ui.verbose}
	runErr := served.node.Run(ctx, first, served.started)
	closeErr := a.closeSupervisor(ctx, supervisor, served)
	stop()
	if err := <-answered; err != nil && !errors.Is(err, context.DeadlineExceeded) {
		runErr = errors.Join(runErr, err)
	}
	switch err := errors.Join(runErr, closeErr); {
	case served.failure != nil:
		return errors.Join(served.failure, err)
	case err != nil:
		return err
	}
	var why signalled
	if errors.As(context.Cause(ctx), &why) {
		return exitWith(why.code())
	}
	return nil
}

// closeSupervisor stops all services, in reverse order. One more signal ends
// them at once.
func (a *app) closeSupervisor(ctx context.Context, s *supervise.Supervisor, served *serving) error {
	soon, hurry := context.WithCancel(context.WithoutCancel(ctx))
	defer hurry()
	more := make(chan os.Signal, 2)
	signal.Notify(more, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(more)
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-more:
			hurry()
		case <-done:
		}
	}()
	if served.failure == nil {
		a.ui.say("stopping %s", served.instance.name)
	}
	return s.Close(soon)
}

// serving is an instance while `up` serves it.
type serving struct {
	app      *app
	instance *instance
	node     *node.Instance
	failure  error // of the first processing, when it keeps up from serving
}

func (s *serving) options(manager *supervise.Supervisor) node.Options {
	in := s.instance
	return node.Options{
		Name:    in.name,
		Manager: manager,
		Engine: func(settings *state.Settings, action control.Action) (*engine.Engine, func(), error) {
			return s.engine(manager, settings, action)
		},
		Lock:    in.lock,
		Load:    in.folder.Load,
		Save:    in.folder.Save,
		Checker: in.checker(in.mask),
		Status:  s.status,
		Exit:    s.exit,
		Sink:    s.show,
	}
}

// engine builds what processes the instance with these settings, nil meaning
// those that are remembered.
func (s *serving) engine(manager service.Manager, settings *state.Settings, action control.Action) (*engine.Engine, func(), error) {
	in := *s.instance
	st, err := in.folder.Load()
	if err != nil {
		return nil, nil, err
	}
	switch {
	case settings != nil:
		in.settings = *settings
	case st.Settings.Root != "":
		in.settings = st.Settings
	}
	if in.who, err = identify(in.settings.User, in.settings.Root, true); err != nil {
		return nil, nil, err
	}
	e, done := in.real(manager, nil)
	e.Reveal, e.Diffs = action.Reveal, action.Diffs || s.app.ui.verbose
	e.Unsupported = supervise.Unsupported
	return e, done, nil
}

// started shows the first outcome. An instance that could not be converged is
// not served; one that works only in part is.
func (s *serving) started(r *report.Report, err error) bool {
	var unkept *engine.UnkeptError
	s.app.ui.report(r, err)
	if err != nil && !errors.As(err, &unkept) && !errors.Is(err, node.ErrPreempted) {
		s.failure = reported{err}
		return false
	}
	s.app.ui.say("serving %s until Ctrl-C", s.instance.name)
	return true
}

func (s *serving) exit(r *report.Report, err error) int {
	switch {
	case err != nil:
		return exitCode(context.Background(), err)
	case r.Pending != nil:
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

// show tells the operator what happens, whoever asked for it.
func (s *serving) show(ev report.Event) {
	switch ev.Kind {
	case "service":
		s.app.ui.say("%s: %s", ev.Name, ev.Text)
	case "bang":
		s.app.ui.warn(ev.Text)
	case "promise":
		state := "holds"
		if !ev.Promise.OK {
			state = "does not hold: " + ev.Promise.Message
		}
		s.app.ui.say("promise %s %s", ev.Promise.Name, state)
	case "done":
		if ev.Report.Error != nil && s.failure == nil {
			s.app.ui.progress(fmt.Sprintf("%s: %s", s.instance.name, ev.Report.Error.Message))
		}
	default:
		s.app.ui.follow(false)(ev)
	}
}

// describeState says what a service does: "running, pid 123".
func describeState(s service.State) string {
	text := string(s.Status)
	if s.PID > 0 {
		text += fmt.Sprintf(", pid %d", s.PID)
	}
	if s.Message != "" && s.Status != service.Running {
		text += " (" + s.Message + ")"
	}
	return text
}

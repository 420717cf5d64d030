package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"instar/runtime/control"
	"instar/runtime/engine"
	"instar/runtime/node"
	"instar/runtime/report"
	requests "instar/runtime/request"
	"instar/runtime/secret"
	"instar/runtime/service"
	"instar/runtime/service/native"
	"instar/runtime/service/supervise"
	"instar/runtime/state"
)

const nodeDoc = `The node keeps all instances that are requested of it converged: it processes
one when its request or its profile changes, when a service ends that nobody
stopped, when its promises fail, at boot, once a day, and, after a failure,
again and again. While it runs, commands go through it.

  run        serve in the foreground, until SIGTERM
  status     what the node serves, and what is wrong
  install    have the machine's service manager run it, from now on and after
             each boot; root's node is the machine's, another user's, under
             systemd and launchd alone, their own. Again, it upgrades what is
             installed
  uninstall  undo that; services run on

With --listen the node shows metrics for Prometheus at that address, and nothing
can be done there. install keeps the address that was installed before.

Where no service manager runs the machine, as in a container, the node
supervises the services itself: they end when it does. Otherwise they run on.`

// nodeLock and nodeSocket are files of the state folder.
const (
	nodeLock   = "node.lock"
	nodeSocket = "node.sock"
)

// node is `instar node`.
func (a *app) node(ctx context.Context, args []string) error {
	if err := a.openHome(); err != nil {
		return err
	}
	if (args[0] == "status" || args[0] == "uninstall") && (a.opts.given("listen") || a.opts.given("listen-token-file")) {
		return usagef("they are for run and install", "node %s takes no --listen", args[0])
	}
	switch args[0] {
	case "run":
		return a.nodeRun(ctx)
	case "status":
		return a.nodeStatus(ctx)
	case "install":
		return a.nodeInstall(ctx)
	case "uninstall":
		return a.nodeUninstall(ctx)
	}
	hint := didYouMean(args[0], nodeVerbs)
	if hint == "" {
		hint = "it is one of " + strings.Join(nodeVerbs, ", ")
	}
	return usagef(hint, "unknown command %q of node", args[0])
}

var nodeVerbs = []string{"run", "status", "install", "uninstall"}

// nodeRun serves all instances that are requested, until ctx ends.
func (a *app) nodeRun(ctx context.Context) error {
	public, err := a.listening()
	if err != nil {
		return err
	}
	token, err := public.token()
	if err != nil {
		return err
	}
	release, err := a.lockNode()
	if err != nil {
		return err
	}
	defer release()
	patient.Store(true)
	servesLong()
	wiring := &nodeWiring{app: a, masks: map[string]*secret.Masker{}, alone: map[string]time.Time{}}
	d := node.NewDaemon(node.DaemonOptions{
		Home:     a.home,
		Subject:  wiring.subject,
		Manager:  wiring.manager,
		Embedded: wiring.embedded,
		Settings: a.requestSettings,
		Merge:    mergeSettings,
		Trust:    requests.Mine(),
		Version:  versionText(),
		Calm:     debug.FreeOSMemory,
		Log:      wiring.log,
	})
	listener, err := control.Listen(filepath.Join(string(a.home), nodeSocket))
	if errors.Is(err, control.ErrNoSockets) {
		a.ui.warn("node: commands cannot reach it: " + err.Error() + "; requests are served")
		listener, err = nil, nil
	}
	if err != nil {
		return err
	}
	serveCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	answered := make(chan error, 1)
	serving := false
	var shown sync.WaitGroup
	err = d.Run(ctx, func() {
		serving = true
		if public.Address != "" {
			shown.Go(func() { public.show(serveCtx, d, token, a.ui.say) })
		}
		if listener != nil {
			go func() { answered <- control.Serve(serveCtx, listener, d, answerTime) }()
		}
		a.ui.say("node: serving %s in %s", counted(len(d.Instances()), "instance"), a.home)
	})
	stop()
	shown.Wait()
	switch {
	case listener == nil:
	case !serving:
		return errors.Join(err, listener.Close())
	default:
		if late := <-answered; !errors.Is(late, context.DeadlineExceeded) {
			err = errors.Join(err, late)
		}
	}
	if err == nil {
		a.ui.say("node: ended")
	}
	return err
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// nodeWiring builds what the node's daemon is made of.
type nodeWiring struct {
	app *app

	mu    sync.Mutex
	masks map[string]*secret.Masker
	alone map[string]time.Time // since when this node alone serves an instance
}

func (w *nodeWiring) log(name, text string) {
	if name != "" {
		text = name + ": " + text
	}
	w.app.ui.say("%s", text)
}

// mask hides the secrets of an instance, one masker for each.
func (w *nodeWiring) mask(name string) *secret.Masker {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.masks[name] == nil {
		w.masks[name] = secret.New(nil)
	}
	return w.masks[name]
}

// subject wires up one instance.
func (w *nodeWiring) subject(name string) node.Subject {
	in := &instance{home: w.app.home, folder: w.app.home.Instance(name), name: name,
		limits: w.app.opts.limits(), mask: w.mask(name)}
	index := w.app.home.Index()
	return node.Subject{
		Asked: func() { index.Asked(name) },
		Options: node.Options{
			Name: name, Lock: func() (func(), error) {
				unlock, err := in.lock()
				if err != nil {
					index.Done(name)
					return nil, err
				}
				index.Begin(name)
				return func() { index.Done(name); unlock() }, nil
			},
			Load: in.folder.Load, Save: in.folder.Save,
			Checker: in.checker(in.mask), Mask: in.mask, Exit: outcomeCode,
			Status: func(st *state.State, reveal bool) (*report.Status, error) {
				in.mask.Add(st.Secrets...)
				return restingStatus(in.folder, st, in.mask.Walk, reveal)
			},
		},
		Build: in.stored,
		Alone: func() (func(), error) {
			release, err := in.serveAlone()
			if err != nil {
				return nil, err
			}
			w.isAlone(name, time.Now())
			return func() {
				w.isAlone(name, time.Time{})
				release()
			}, nil
		},
	}
}

// isAlone notes since when this node alone serves an instance; zero: it does not.
func (w *nodeWiring) isAlone(name string, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if since.IsZero() {
		delete(w.alone, name)
	} else {
		w.alone[name] = since
	}
}

// stored builds what processes the instance by the stored copy of its profile.
func (in *instance) stored(s state.Settings, profile string, manager service.Manager, action control.Action) (*engine.Engine, func(), error) {
	now := *in
	now.settings, now.copied = s, profile
	var err error
	if now.who, err = identify(s.User, s.Root, true); err != nil {
		return nil, nil, err
	}
	st, err := now.folder.Brief()
	if err != nil {
		return nil, nil, err
	}
	if err := now.who.still(st, s.Root); err != nil {
		return nil, nil, err
	}
	switch {
	case action.Verb == "rollback":
		g, err := now.wholeGeneration(st, action.Generation)
		if err != nil {
			return nil, nil, err
		}
		now.past = &past{Generation: g, digest: now.storedDigest(profile), back: true}
	case action.Settings == nil:
		now.stay(st)
	}
	e, done := now.real(manager, nil)
	e.Reveal, e.Diffs, e.Verify = action.Reveal, action.Diffs, action.Verify
	e.Unsupported = func(s service.Spec) []string { return native.Unsupported(manager, s) }
	if _, own := manager.(*supervise.Supervisor); own {
		e.Unsupported = supervise.Unsupported
	}
	return e, done, nil
}

// outcomeCode is the exit code that goes with an outcome.
func outcomeCode(r *report.Report, err error) int {
	switch {
	case err != nil:
		return exitCode(context.Background(), err)
	case isPending(r):
		return exitPending
	}
	return exitOK
}

// manager returns the service manager that a setting means.
func (w *nodeWiring) manager(setting string) (service.Manager, error) {
	in := &instance{home: w.app.home, settings: state.Settings{Manager: setting}}
	m, err := in.manager()
	if errors.Is(err, errNoManager) {
		return nil, fmt.Errorf("%w (%w)", err, node.ErrNoManager)
	}
	return m, err
}

// embedded makes the supervisor of a machine without a service manager.
func (w *nodeWiring) embedded(changed func(string, service.State)) (node.Embedded, error) {
	return supervise.New(supervise.Options{
		LogDir:   func(name string) string { return w.app.home.Instance(name).Path("logs") },
		MarkBase: string(w.app.home),
		Alone: func(name string) time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.alone[name]
		},
		Mask:     func(name string) func([]byte) []byte { return w.mask(name).Bytes },
		OnChange: changed,
	})
}

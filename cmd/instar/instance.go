package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"instar/runtime/engine"
	"instar/runtime/generation"
	"instar/runtime/history"
	"instar/runtime/plan"
	"instar/runtime/planfile"
	"instar/runtime/process"
	"instar/runtime/promise"
	"instar/runtime/report"
	"instar/runtime/secret"
	"instar/runtime/service"
	"instar/runtime/state"
	"instar/starlark/eval"
)

// instance is what it takes to build engines for one instance: over the real
// machine ([instance.real]) or on paper ([instance.paper]). One instance may be
// converged many times, by one engine after another.
type instance struct {
	home     state.Home
	folder   state.Folder
	name     string
	settings state.Settings
	who      who
	limits   eval.Limits
	mask     *secret.Masker
	said     *history.Said      // by the commands of the last real engine
	copied   string             // the stored copy that is evaluated instead of the profile; ""
	past     *past              // the generation that it is evaluated by, or nil
	saved    *planfile.Forecast // that must be what would be done, if there is one
}

// evaluated are the settings to evaluate with.
func (in *instance) evaluated() state.Settings {
	s := in.settings
	if in.copied != "" {
		s.Profile = in.copied
	}
	return s
}

// resolve turns the argument PROFILE|NAME and the flags into an instance. With
// mine set, its root must be one that instar may change.
func (a *app) resolve(arg string, mine bool) (*instance, *state.State, error) {
	if err := a.openHome(); err != nil {
		return nil, nil, err
	}
	t, err := a.target(arg)
	if err != nil {
		return nil, nil, err
	}
	st, err := t.folder.Brief()
	if err != nil {
		return nil, nil, err
	}
	if st, err = a.wanted(t, st); err != nil {
		return nil, nil, err
	}
	s, err := a.settings(t, st)
	if err != nil {
		return nil, nil, err
	}
	in, err := a.instance(t, st, s, mine)
	if err == nil {
		err = a.asChild(in, st)
	}
	if old := st.Settings.Profile; err == nil && mine && old != "" && old != s.Profile {
		a.ui.hint(fmt.Sprintf("instance %q follows %s from now on, and no longer %s", t.name, s.Profile, old))
	}
	return in, st, err
}

// instance wires up an instance with the given settings.
func (a *app) instance(t target, st *state.State, s state.Settings, mine bool) (*instance, error) {
	a.ui.learn(st.Secrets)
	w, err := identify(s.User, s.Root, mine)
	if err != nil {
		return nil, err
	}
	if err := w.still(st, s.Root); err != nil {
		return nil, err
	}
	return &instance{
		home: a.home, folder: t.folder, name: t.name, settings: s,
		who: w, limits: a.opts.limits(), mask: a.ui.mask,
	}, nil
}

// engine is what real and paper engines have in common.
func (in *instance) engine(sink report.Sink) *engine.Engine {
	source, _, _, _ := eval.Locate(in.evaluated().Profile) // what is wrong with it the evaluation says
	e := &engine.Engine{
		Name:     in.name,
		Settings: in.settings,
		Identity: in.who.identity(in.settings.Root),
		Program:  selfPath,
		Evaluate: evaluator(in.home, in.name, in.evaluated(), in.who, in.limits),
		Source:   source,
		Cache:    in.folder,
		Key: func(st *state.State) (string, error) {
			return evaluationKey(in.home, in.name, in.evaluated(), in.who, st)
		},
		Build:    thisBuild,
		Children: &kin{parent: in},
		Wait:     waitOf(in.settings),
		Sink:     sink,
		Mask:     in.mask,
	}
	if in.past != nil {
		in.past.wire(e)
	}
	return e
}

// real returns an engine that changes the machine. The caller holds the
// instance's lock ([instance.lock]) while it converges, and calls done when it
// needs the engine no more. With a nil manager services are left alone.
func (in *instance) real(manager service.Manager, sink report.Sink) (e *engine.Engine, done func()) {
	d := &disk{dir: in.settings.Root, who: in.who}
	in.said = &history.Said{}
	e = in.engine(in.said.Watch(sink))
	e.Disk = d
	e.Store = in.folder
	e.Commands = engine.Native{Dir: in.folder.Path("commands"), Root: in.settings.Root}
	e.Prerm = engine.Native{Dir: in.folder.Path("prerm"), Root: in.settings.Root}
	e.Manager = manager
	e.Promises = in.checkPromises
	profile := in.evaluated().Profile
	e.Generations = generation.Keeper{Store: generation.In(in.folder), Profile: func() (dir, entry string, err error) {
		dir, entry, _, err = eval.Locate(profile)
		return dir, entry, err
	}, Skip: []string{string(in.home), in.settings.Root}}
	evaluate := &evaluatedOnce{evaluate: e.Evaluate}
	e.Evaluate = evaluate.take
	e.Paper = func() (*engine.Engine, func()) {
		paper, done := in.paper(manager, nil)
		paper.Evaluate = evaluate.keep
		return paper, done
	}
	return e, d.Close
}

// paper returns an engine that changes nothing: not the root, not the state,
// not the services, which manager observes (nil: none run).
func (in *instance) paper(manager service.Manager, sink report.Sink) (e *engine.Engine, done func()) {
	d := &paperDisk{dir: in.settings.Root, who: in.who}
	e = in.engine(sink)
	e.Disk = d
	e.Store = &paperStore{folder: in.folder}
	e.Commands = engine.Pretend{Dir: in.folder.Path("commands")}
	e.Manager = &service.Recorder{Real: manager}
	e.Planning, e.Diffs = true, true
	return e, d.Close
}

// lock takes the instance's lock, or fails with [state.ErrLocked].
func (in *instance) lock() (unlock func(), err error) {
	unlock, err = in.folder.Lock()
	if errors.Is(err, state.ErrLocked) {
		return nil, &hintedError{
			fmt.Errorf("instance %q: %w", in.name, err),
			"wait until it has ended; a run that was killed holds no lock"}
	}
	return unlock, err
}

// checkPromises checks promises for the engine, and remembers the outcome.
func (in *instance) checkPromises(ctx context.Context, promises []plan.Promise, mask *secret.Masker, wait time.Duration, progress func(report.Promise)) []report.Promise {
	results := in.checker(mask).WaitAll(ctx, promises, wait, func(_ string, r promise.Result) { progress(promiseReport(r)) })
	reports := make([]report.Promise, len(results))
	for i, r := range results {
		reports[i] = promiseReport(r)
	}
	if err := rememberPromises(in.folder, reports); err != nil {
		// What is remembered is for `status` alone.
		progress(report.Promise{Name: "status", Message: err.Error()})
	}
	return reports
}

// checker runs the instance's checks.
func (in *instance) checker(mask *secret.Masker) *promise.Checker {
	return &promise.Checker{Masker: mask, Mark: process.MarkPrefix(string(in.home), "promise", in.name)}
}

func promiseReport(r promise.Result) report.Promise {
	return report.Promise{Name: r.Name, OK: r.OK, Message: r.Message, At: r.At.UTC().Round(time.Millisecond)}
}

// paperStore is a state that is kept in memory once it was changed.
type paperStore struct {
	folder state.Folder
	state  *state.State
	gone   bool
}

// Load implements engine.Store.
func (s *paperStore) Load() (*state.State, error) {
	switch {
	case s.gone:
		return state.New(s.folder.Name()), nil
	case s.state != nil:
		return s.state.Whole()
	}
	return s.folder.Load()
}

// LoadPart loads a part of the state that is on the disk.
func (s *paperStore) LoadPart(brief *state.State, paths []string) (*state.State, error) {
	if s.gone || s.state != nil {
		return nil, errors.New("it is in memory")
	}
	return s.folder.LoadPart(brief, paths)
}

// Save implements engine.Store.
func (s *paperStore) Save(st *state.State) error {
	s.state, s.gone = st, false
	return nil
}

// Remove implements engine.Store.
func (s *paperStore) Remove() error {
	s.state, s.gone = nil, true
	return nil
}

// hintRoot tells, when instar runs as root and nobody chose another user, as
// whom the instance will run.
func (a *app) hintRoot(in *instance) {
	if in.who.superuser && in.who.uid == 0 && in.who.byDefault {
		a.ui.hint(fmt.Sprintf("instance %q runs as root, since you are; choose another user with --user", in.name))
	}
}

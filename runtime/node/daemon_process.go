package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"time"

	"instar/runtime/control"
	"instar/runtime/engine"
	"instar/runtime/generation"
	"instar/runtime/history"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/request"
	"instar/runtime/secret"
	"instar/runtime/state"
)

// processing is what is known of one processing while it is at work.
type processing struct {
	why     string
	said    history.Said
	request string // digest of the request's file when it began
	// accept makes what the processing was begun with what counts from now on;
	// it is called when the evaluation has succeeded, and once.
	accept func() error
}

// errDestroying ends a processing of an instance that is to be destroyed.
var errDestroying = errors.New("the instance is being destroyed")

// engine builds what processes the instance for an action: with the settings
// that came with it, else those of a request that is not fulfilled yet, else
// those remembered.
func (k *kept) engine(action control.Action) (*engine.Engine, func(), error) {
	_, _ = k.reread() // what is wrong with it, problem tells
	st, err := k.subject.Options.Load()
	if err != nil {
		return nil, nil, err
	}
	run := &processing{}
	s, requested, err := k.settings(st, action)
	if err != nil {
		return nil, nil, err
	}
	var c *request.Copy
	followed := false
	// What is run already is not made so again when the evaluation has succeeded:
	// somebody may have stored another copy by then.
	mine := action.Settings != nil || action.Verb == "rollback"
	switch action.Verb {
	case "destroy":
	case "rollback":
		if s, c, err = k.back(st, action.Generation); err != nil {
			return nil, nil, err
		}
	default:
		if c, followed, err = k.copy(s, action); err != nil {
			return nil, nil, err
		}
	}
	run.why = k.why(action, followed)
	k.mu.Lock()
	k.run, run.request = run, k.digest
	var use *request.Copy
	if mine || c != nil && c == k.staged {
		use = c
	}
	if c != nil {
		k.copied = c.Digest
	}
	if k.told == "" && st.Exists() {
		k.told = NewsOf(st, true) // what is remembered, its requester has seen
	}
	k.mu.Unlock()
	ctx := k.context()
	if st.Settings.Root != "" && !k.share.isChosen() {
		_, _ = k.share.choose(ctx, st.Settings.Manager) // where the services have been
	}
	m, err := k.share.choose(ctx, s.Manager)
	if err != nil {
		return nil, nil, err
	}
	path := ""
	if c != nil {
		path = c.Path()
	}
	e, done, err := k.subject.Build(s, path, m, action)
	if err != nil {
		return nil, nil, err
	}
	e.Requested = requested
	run.accept = func() error { return k.accept(use, s, requested, action, st) }
	k.wire(e, run, path)
	k.wireChildren(e, action)
	return e, done, nil
}

// settings decides with which settings, and in which state, the instance is
// processed; "" keeps the state.
func (k *kept) settings(st *state.State, action control.Action) (s state.Settings, requested string, err error) {
	k.mu.Lock()
	pending, r := k.pending(), k.request
	k.mu.Unlock()
	s = st.Settings
	asked := pending && r.State != state.Destroyed
	if asked {
		requested = r.State
	}
	switch {
	case action.Settings != nil && action.Base != nil:
		if asked {
			if s, err = k.options.Settings(r); err != nil {
				return s, "", err
			}
		}
		s = k.options.Merge(s, *action.Base, *action.Settings)
	case action.Settings != nil:
		s = *action.Settings
	case action.Verb == "rollback": // it brings its own
	case action.Verb != "destroy" && doomed(st, r, pending):
		k.submit("request changed")
		return s, "", errDestroying
	case asked, pending && s.Root == "":
		s, err = k.options.Settings(r)
	}
	if err == nil && s.Root == "" {
		err = fmt.Errorf("instance %q was never applied, and nothing that can be meant is requested", k.name)
	}
	return s, requested, err
}

// doomed reports whether an instance is to be destroyed, or is.
func doomed(st *state.State, r *request.Request, pending bool) bool {
	if pending {
		return r.State == state.Destroyed
	}
	return st.Requested == state.Destroyed
}

// doomedSince reports whether the instance was requested to be destroyed since a
// processing has begun.
func (k *kept) doomedSince(run *processing) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pending() && k.request.State == state.Destroyed && k.digest != run.request
}

// copy returns the profile to run. With settings from an operator it is copied
// now; else the stored copy is run, made anew where the source may be followed
// and has changed.
func (k *kept) copy(s state.Settings, action control.Action) (c *request.Copy, followed bool, err error) {
	if s.Requester != nil {
		c, err = k.childCopy(s.Profile)
		return c, false, err
	}
	skip := append(k.skip(), s.Root)
	if action.Settings != nil {
		k.watch(s.Profile, skip)
		c, err = request.Stage(k.folder, s.Profile, skip...)
		return c, false, err
	}
	c, err = request.Current(k.folder)
	if err != nil && !errors.Is(err, request.ErrNoCopy) {
		return nil, false, err
	}
	stored := err == nil && c.Source == s.Profile
	trust := k.watch(s.Profile, skip)
	switch {
	case trust != nil && !stored:
		return nil, false, &NotStoredError{Instance: k.name, Profile: s.Profile, Why: trust}
	case trust != nil:
		c.Prune()
		return c, false, nil
	}
	if stored {
		c.Prune()
		if seen, err := request.See(s.Profile, skip...); err == nil && seen == c.Seen {
			return c, false, nil
		}
	}
	next, err := request.Store(k.folder, s.Profile, skip...)
	if err != nil && stored {
		k.log(fmt.Errorf("the profile is not followed: %w", err))
		return c, false, nil
	}
	return next, stored, err
}

// back returns the settings of a generation, and its profile, stored: until the
// source changes, the instance is processed by that.
func (k *kept) back(st *state.State, number int) (s state.Settings, c *request.Copy, err error) {
	g, err := generation.In(k.folder).Read(st, number)
	if err != nil {
		return s, nil, err
	}
	if err = g.Verify(); err != nil {
		return s, nil, err
	}
	c, err = g.Copy(k.folder, append(k.skip(), st.Settings.Root)...)
	if g.Settings.Root != st.Settings.Root && err == nil {
		err = &generation.MovedError{Number: number, Had: g.Settings.Root, Has: st.Settings.Root}
	}
	return g.Settings, c, err
}

// watch has changes of a profile's source noticed where it may be followed, and
// says why not elsewhere.
func (k *kept) watch(source string, skip []string) (trust error) {
	var folders []string
	if trust = k.options.Trust.Profile(source); trust == nil {
		folders, _ = request.Folders(source, skip...) // a scan does what this cannot
	}
	k.files.watch(k.name, folders[:min(len(folders), maxWatched)])
	return trust
}

// maxWatched bounds the folders of one profile that are watched; what lies in
// others is found by the scan.
const maxWatched = 200

// NotStoredError says that the node has no copy of a profile, and may not make
// one by itself.
type NotStoredError struct {
	Instance, Profile string
	Why               error
	Requester         string // the instance that requests it; ""
}

func (e *NotStoredError) Error() string {
	return fmt.Sprintf("no copy of the profile %s is stored, and the node does not follow it by itself: %v", e.Profile, e.Why)
}

func (e *NotStoredError) Unwrap() error { return e.Why }

// Hint says what the operator can do.
func (e *NotStoredError) Hint() string {
	if e.Requester != "" {
		return "instar apply " + e.Requester + " stores a copy"
	}
	return "instar request " + e.Profile + " --name " + e.Instance + " stores a copy"
}

// why says why an instance is processed.
func (k *kept) why(action control.Action, followed bool) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	bang, news := k.bang, k.news
	k.bang, k.news = "", ""
	switch {
	case action.Verb == "bang", bang != "" && action.Reason == "":
		return bang
	case action.Reason != "":
		return action.Reason
	case news != "":
		return news
	case followed:
		return "profile changed"
	case k.last != nil && (k.last.Error != nil || k.last.Pending != nil):
		return "retry"
	}
	return "periodic"
}

// wire has the engine tell what the daemon must know.
func (k *kept) wire(e *engine.Engine, run *processing, profile string) {
	evaluate, key, promises := e.Evaluate, e.Key, e.Promises
	e.Evaluate = func(ctx context.Context, st *state.State, view plan.View) (*plan.Plan, error) {
		p, err := evaluate(ctx, st, view)
		if err == nil && k.doomedSince(run) {
			err = ErrInterrupted
		}
		if err != nil {
			return nil, err
		}
		return p, run.accepted()
	}
	if key != nil {
		e.Key = func(st *state.State) (string, error) {
			text, err := key(st)
			return text + "\n" + profile, err
		}
	}
	if promises != nil {
		e.Promises = func(ctx context.Context, list []plan.Promise, mask *secret.Masker, wait time.Duration, progress func(report.Promise)) []report.Promise {
			k.waiting()
			return promises(ctx, list, mask, wait, progress)
		}
	}
}

func (p *processing) accepted() error {
	if p == nil || p.accept == nil {
		return nil
	}
	err := p.accept()
	if err == nil {
		p.accept = nil
	}
	return err
}

// accept makes c, a copy of the profile that is not run yet, or nil, the one that
// is. What an operator has applied becomes the request, too: a daemon that is killed now continues it.
func (k *kept) accept(c *request.Copy, s state.Settings, requested string, action control.Action, st *state.State) error {
	if c != nil {
		if err := c.Use(); err != nil {
			return err
		}
		k.mu.Lock()
		if k.staged == c {
			k.staged = nil
		}
		k.mu.Unlock()
	}
	if action.Settings == nil && action.Verb != "rollback" {
		return nil
	}
	if requested == "" {
		requested = st.Requested
	}
	if action.Verb == "start" || requested == state.Destroyed {
		requested = state.Started
	}
	return k.rewrite(request.Of(k.name, s, requested))
}

// rewrite replaces the request. It is no change that was noticed, since it is
// about to be fulfilled. One that somebody has written meanwhile is the last word,
// and stays.
func (k *kept) rewrite(r *request.Request) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, there, err := request.Read(k.options.Home, k.name); !errors.Is(err, fs.ErrNotExist) && there != k.digest {
		return nil
	}
	digest, err := request.Write(k.options.Home, r)
	if err != nil {
		return err
	}
	k.request, k.digest, k.bad, k.left = r, digest, nil, false
	return nil
}

// done takes the outcome of a processing, or of what could not even begin.
func (k *kept) done(r *report.Report) {
	if r.Error != nil && (r.Error.Message == errDestroying.Error() || r.Error.Message == ErrGone.Error()) {
		return
	}
	k.mu.Lock()
	run := k.run
	k.run = nil
	k.mu.Unlock()
	switch {
	case run == nil && operated(r):
		run = &processing{why: "asked: " + r.Changes[0].Op}
	case run == nil:
		run = &processing{why: k.why(control.Action{}, false)}
	}
	if r.Error == nil {
		if err := run.accepted(); err != nil {
			k.log(err)
		}
	} else {
		k.options.Log(k.name, r.Error.Message)
	}
	if err := history.Append(k.folder, history.Of(r, "node", run.why, run.said.Take())); err != nil {
		k.log(err)
	}
	k.fulfilled()
	k.mu.Lock()
	k.last = r
	k.mu.Unlock()
	k.tellParent(r)
}

// operated reports whether all that was done is one operation on services, which
// somebody asked for: the profile is not looked at for that.
func operated(r *report.Report) bool {
	for _, c := range r.Changes {
		if c.Op != r.Changes[0].Op || !slices.Contains([]plan.Op{plan.OpStart, plan.OpStop, plan.OpRestart}, plan.Op(c.Op)) {
			return false
		}
	}
	return len(r.Changes) > 0
}

// fulfilled remembers when the state is what the request asks for.
func (k *kept) fulfilled() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.pending() || k.request.State == state.Destroyed {
		return
	}
	st, err := k.subject.Options.Load()
	if err != nil || st.Requested != k.request.State {
		return
	}
	if want, err := k.options.Settings(k.request); err != nil || !sameSettings(want, st.Settings) {
		return
	}
	k.remember(memo{Applied: k.digest}) // and no retention: it is not destroyed
}

// sameSettings reports whether two settings mean the same, as they are stored.
func sameSettings(a, b state.Settings) bool {
	one, err1 := json.Marshal(a)
	two, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && reflect.DeepEqual(one, two)
}

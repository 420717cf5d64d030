package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	"instar/builtins"
	"instar/runtime/engine"
	"instar/runtime/fsys"
	requests "instar/runtime/request"
	"instar/runtime/state"
	"instar/starlark/eval"
)

// kin is the way from an instance to those that its profile requests. What it
// does with them, if anything, is up to carry and end: for each kind of command
// another one.
type kin struct {
	parent *instance
	carry  func(context.Context, []*engine.Child) []engine.Outcome
	end    func(ctx context.Context, names []string, purge bool) []engine.Outcome
}

// State implements [engine.Children]. An instance for which there is a request
// counts as one although it was not made yet.
func (k *kin) State(name string) (*state.State, error) {
	folder := k.parent.home.Instance(name)
	st, err := folder.Brief()
	if err != nil || st.Exists() {
		return st, err
	}
	r, _, err := requests.Read(k.parent.home, name)
	if err != nil {
		return st, nil // none, or one that cannot be meant
	}
	if r.Requester != nil {
		st.Settings = r.Settings()
		return st, nil
	}
	a := &app{home: k.parent.home}
	st.Settings, err = a.requestSettings(r)
	return st, err
}

// Complete implements [engine.Children].
func (k *kin) Complete(c *engine.Child) error {
	err := k.complete(c)
	if err == nil {
		return nil
	}
	failed := &engine.RequestError{Name: c.Name, Pos: c.Request.At, Why: err.Error()}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		failed.Help = hint.Hint()
	}
	return failed
}

func (k *kin) complete(c *engine.Child) error {
	parent := k.parent.settings
	now, err := k.State(c.Instance)
	if err != nil {
		return err
	}
	c.Settings = state.Settings{
		Release: c.Request.Release, Manager: parent.Manager, Wait: parent.Wait,
		Requester: &state.Requester{Instance: k.parent.name, Name: c.Name}, Secrets: c.Secrets,
	}
	s := &c.Settings
	if s.Profile, c.From, err = k.profile(c.Request.Profile); err != nil {
		return err
	}
	if s.Release == "" {
		s.Release = parent.Release
	}
	if k.parent.who.superuser {
		s.User = k.parent.who.user
	}
	if s.Root = now.Settings.Root; s.Root == "" {
		if s.Root, err = k.root(c.Instance); err != nil {
			return err
		}
	}
	for name, value := range c.Request.Params {
		if s.Params == nil {
			s.Params = map[string]state.Given{}
		}
		s.Params[name] = state.Given{Value: value}
	}
	copied, err := requests.Current(k.parent.home.Instance(c.Instance))
	if err != nil || copied.Source != s.Profile {
		c.Stale, c.Touched = true, true
		return nil
	}
	skip := k.skip(s.Root)
	if seen, err := requests.See(c.From, skip...); err == nil && seen == copied.Seen {
		return nil
	}
	digest, err := requests.DigestOf(c.From, skip...)
	c.Stale, c.Touched = err != nil || digest != copied.Digest, true
	return nil
}

// skip is what is no part of a profile, wherever it lies.
func (k *kin) skip(root string) []string { return []string{string(k.parent.home), root} }

// profile returns what a request's profile is called, and where it is now: one
// in the requesting profile's folder is part of what is evaluated of that.
func (k *kin) profile(ref string) (source, from string, err error) {
	ref = filepath.FromSlash(ref)
	if filepath.IsAbs(ref) {
		_, _, _, err := eval.Locate(ref)
		return ref, ref, err
	}
	evaluated, _, _, err := eval.Locate(k.parent.evaluated().Profile)
	if err != nil {
		return "", "", err
	}
	dir, _, _, err := eval.Locate(k.parent.settings.Profile)
	if err != nil { // it is gone, and the copy is not
		dir = k.parent.settings.Profile
		if filepath.Ext(dir) == ".star" {
			dir = filepath.Dir(dir)
		}
	}
	source = filepath.Join(dir, ref)
	from = source
	if filepath.IsLocal(ref) {
		from = filepath.Join(evaluated, ref)
	}
	real, _, _, err := eval.Locate(from)
	if err == nil && filepath.IsLocal(ref) && !inside(real, evaluated) {
		err = fmt.Errorf("profile %q leads out of the folder of the profile", ref)
	}
	return source, from, err
}

// root is where a new child lives: beside its parent, unless somebody else could
// put something there.
func (k *kin) root(name string) (string, error) {
	beside := filepath.Dir(k.parent.settings.Root)
	if k.parent.who.superuser && !safeFolder(beside) {
		dir, err := defaultFolder("/srv/instar", "XDG_DATA_HOME", ".local/share")
		if err != nil {
			return "", err
		}
		beside = dir
	}
	root := filepath.Join(beside, name)
	a := &app{home: k.parent.home}
	return root, a.checkRoot(target{name: name, folder: k.parent.home.Instance(name)}, root)
}

// safeFolder reports whether nobody but root can put anything into a folder, or
// something else in its place. What does not exist is judged by what is above it.
func safeFolder(dir string) bool {
	for _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) && dir != filepath.Dir(dir); _, err = os.Lstat(dir) {
		dir = filepath.Dir(dir)
	}
	if real, err := filepath.EvalSymlinks(dir); err != nil || real != dir {
		return false
	}
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil || !info.IsDir() {
			return false
		}
		sig, _ := fsys.Stat(info)
		// Where anybody may put something, but only its owner may take it away,
		// what root has put stays.
		if sig.UID > 0 || info.Mode().Perm()&0o022 != 0 && (at == dir || info.Mode()&os.ModeSticky == 0) {
			return false
		}
		if at == filepath.Dir(at) {
			return true
		}
	}
}

var errNotCarried = errors.New("requests cannot be carried out here")

// Fulfil implements [engine.Children].
func (k *kin) Fulfil(ctx context.Context, children []*engine.Child) []engine.Outcome {
	if k.carry != nil {
		return k.carry(ctx, children)
	}
	return refused(len(children))
}

// Destroy implements [engine.Children].
func (k *kin) Destroy(ctx context.Context, names []string, purge bool) []engine.Outcome {
	if k.end != nil {
		return k.end(ctx, names, purge)
	}
	return refused(len(names))
}

func refused(n int) []engine.Outcome {
	outcomes := make([]engine.Outcome, n)
	for i := range outcomes {
		outcomes[i].Err = errNotCarried
	}
	return outcomes
}

// published is what the instances that one requests have published.
func published(home state.Home, st *state.State) (map[string]builtins.Requested, error) {
	var all map[string]builtins.Requested
	for name, req := range st.Requests {
		child, err := home.Instance(req.Instance).Brief()
		me := &state.Requester{Instance: st.Instance, Name: name}
		if err != nil || !child.Settings.Requester.IsBy(me) || len(child.Published) == 0 {
			continue // nothing that can be read is published
		}
		from := builtins.Requested{Published: map[string]json.RawMessage{}, Secrets: child.Secrets}
		for key, value := range child.Published {
			if from.Published[key], err = json.Marshal(value); err != nil {
				return nil, err
			}
		}
		if all == nil {
			all = map[string]builtins.Requested{}
		}
		all[name] = from
	}
	return all, nil
}

// asChild has an instance that another one requests be evaluated by the stored
// copy of its profile, with nothing but what was requested. One that is requested
// no more becomes the operator's.
func (a *app) asChild(in *instance, st *state.State) error {
	if st.Settings.Requester == nil {
		return nil
	}
	by, err := a.home.RequestedBy(st)
	if err != nil {
		return err
	}
	if by == nil {
		in.settings.Requester, in.settings.Secrets = nil, nil
		return nil
	}
	if !reflect.DeepEqual(in.settings, st.Settings) {
		return a.notRequested(st, "change")
	}
	c, err := requests.Current(in.folder)
	if err != nil {
		return err
	}
	in.copied = c.Path()
	return nil
}

// notRequested refuses what an operator wants of an instance that another one
// requests: it would be undone.
func (a *app) notRequested(st *state.State, what string) error {
	by, err := a.home.RequestedBy(st)
	if err != nil || by == nil {
		return err
	}
	return hinted(fmt.Sprintf("change the request in the profile of %s; what is asked of %s, %s follows", by.Instance, by.Instance, st.Instance),
		"cannot %s instance %q: instance %q requests it, as %q", what, st.Instance, by.Instance, by.Name)
}

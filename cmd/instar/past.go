package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"instar/runtime/engine"
	"instar/runtime/generation"
	"instar/runtime/plan"
	requests "instar/runtime/request"
	"instar/runtime/state"
)

// past is a generation that an instance returns to, or that it follows since it
// did.
type past struct {
	*generation.Generation
	digest string         // of the stored copy of its profile; "" on paper
	back   bool           // it is being returned to
	use    *requests.Copy // to be made the one that is run; nil: it is, or somebody else does it
	err    error          // why it cannot be evaluated
}

// goBack has the instance return to a generation: what it is evaluated from is
// that of then, but for the root. On paper, nothing is stored, and done removes
// what was written elsewhere.
func (in *instance) goBack(st *state.State, number int, paper bool) (done func(), err error) {
	g, err := in.wholeGeneration(st, number)
	if err != nil {
		return nil, err
	}
	if err := in.settle(st, g); err != nil {
		return nil, err
	}
	in.past = &past{Generation: g, back: true}
	if paper {
		dir, err := g.CheckOut()
		if err != nil {
			return nil, err
		}
		in.copied = filepath.Join(dir, g.Entry)
		return func() { _ = os.RemoveAll(dir) }, nil
	}
	c, err := g.Copy(in.folder, string(in.home), st.Settings.Root)
	if err != nil {
		return nil, err
	}
	in.copied, in.past.use, in.past.digest = c.Path(), c, c.Digest
	return c.Prune, nil
}

// wholeGeneration reads a generation and all that is kept of it.
func (in *instance) wholeGeneration(st *state.State, number int) (*generation.Generation, error) {
	if st.Requested == state.Destroyed {
		return nil, hinted("instar apply "+in.name+" makes it anew", "instance %q is destroyed", in.name)
	}
	g, err := generation.In(in.folder).Read(st, number)
	if err != nil {
		return nil, err
	}
	in.mask.Add(g.Texts()...)
	if g.Torn != "" {
		return nil, &generation.TornError{Number: number, Why: g.Torn}
	}
	return g, g.Verify()
}

// settle takes over the settings of a generation.
func (in *instance) settle(st *state.State, g *generation.Generation) error {
	if g.Settings.Root != st.Settings.Root {
		return &generation.MovedError{Number: g.Number, Had: g.Settings.Root, Has: st.Settings.Root}
	}
	in.settings = g.Settings
	who, err := identify(in.settings.User, in.settings.Root, true)
	if err != nil {
		return err
	}
	in.who = who
	return who.still(st, in.settings.Root)
}

// stay has an instance that was rolled back follow that generation, and not the
// source of its profile, unless another copy of the profile was stored since.
func (in *instance) stay(st *state.State) {
	if st.RolledBack == nil {
		return
	}
	c, err := requests.Current(in.folder)
	if err != nil || c.Digest != st.RolledBack.Copy {
		return
	}
	in.copied = c.Path()
	in.past = &past{digest: c.Digest}
	in.past.Generation, in.past.err = generation.In(in.folder).Read(st, st.RolledBack.Generation)
}

// wire has an engine evaluate by what was then.
func (p *past) wire(e *engine.Engine) {
	if p.err != nil {
		err := p.err
		e.Evaluate = func(context.Context, *state.State, plan.View) (*plan.Plan, error) { return nil, err }
		return
	}
	evaluate, key, use := p.Evaluator(e.Evaluate), e.Key, p.use
	e.Evaluate = func(ctx context.Context, st *state.State, view plan.View) (*plan.Plan, error) {
		plan, err := evaluate(ctx, st, view)
		if err == nil && use != nil {
			err, use = use.Use(), nil
		}
		return plan, err
	}
	e.Key = func(st *state.State) (string, error) {
		text, err := key(st)
		return fmt.Sprintf("%s\ngeneration %d %s", text, p.Number, p.digest), err
	}
	e.RolledBack = &state.RolledBack{Generation: p.Number, Copy: p.digest}
	if p.back {
		e.RollbackOf = p.Number
	}
}

// storedDigest is the digest of the copy of a profile that a path leads into.
func (in *instance) storedDigest(path string) string {
	rel, err := filepath.Rel(in.folder.Path("profile"), path)
	if err != nil {
		return ""
	}
	digest, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
	return digest
}

// errNothingBefore says that a rollback has nowhere to go.
var errNothingBefore = errors.New("there is no generation before the current one")

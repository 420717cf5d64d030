package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"instar/builtins"
	"instar/runtime/apply"
	"instar/runtime/engine"
	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/state"
	"instar/starlark/eval"
	"instar/starlark/interp"
)

// profileError is what is wrong with a profile, as reports carry it.
type profileError struct{ cause *interp.Error }

func (e *profileError) Error() string { return e.cause.Error() }
func (e *profileError) Unwrap() error { return e.cause }

// At returns the place, "instance.star:12:5".
func (e *profileError) At() string { return e.cause.Pos.String() }

// Hint says what can be done.
func (e *profileError) Hint() string { return e.cause.Hint }

// Detail is the error as people are shown it, with the source line and a caret.
func (e *profileError) Detail() string {
	var text strings.Builder
	_ = e.cause.Render(&text, false) // a builder does not fail
	return text.String()
}

// asProfileError gives the error of an evaluation the methods that reports look
// for.
func asProfileError(err error) error {
	var e *interp.Error
	if !errors.As(err, &e) || errors.Is(err, context.Canceled) {
		return err
	}
	return &profileError{e}
}

// limits are the bounds of an evaluation, as the flags say.
func (o *options) limits() eval.Limits {
	return eval.Limits{Source: o.maxSource, Steps: o.maxSteps, Time: o.maxTime, Memory: o.maxMemory}
}

// evaluator returns what evaluates an instance's profile for the engine.
func evaluator(home state.Home, name string, s state.Settings, w who, limits eval.Limits) engine.Evaluator {
	return func(ctx context.Context, st *state.State, view plan.View) (*plan.Plan, error) {
		req, err := request(s.Profile)
		if err != nil {
			return nil, err
		}
		if req.Inputs, err = inputs(home, name, s, w, st); err != nil {
			return nil, err
		}
		req.Inputs.Values, req.Inputs.HeldPorts = st.Values, heldPorts(home, name)
		p, err := eval.Evaluate(ctx, req, observer(view, ownedBy(st, home.Instance(name))), limits)
		if err != nil {
			return nil, asProfileError(err)
		}
		return p, nil
	}
}

// evaluationKey covers all that an evaluation starts from but files and the
// state: with the same key, they alone decide. The program itself is part of it.
func evaluationKey(home state.Home, name string, s state.Settings, w who, st *state.State) (string, error) {
	in, err := inputs(home, name, s, w, st)
	if err != nil {
		return "", err
	}
	self, err := thisBuild()
	if err != nil {
		return "", err
	}
	key, err := json.Marshal(struct {
		Inputs  builtins.Inputs
		Profile string
		Build   string
	}{in, s.Profile, self})
	return string(key), err
}

// thisBuild tells this program from any other build of it.
func thisBuild() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	info, err := os.Stat(self)
	if err != nil {
		return "", err
	}
	sig, _ := fsys.Stat(info) // size and time alone may be those of another one
	return fmt.Sprintf("%s %+v", version, sig), nil
}

// request asks for a profile, a folder or a file.
func request(profile string) (eval.Request, error) {
	dir, entry, _, err := eval.Locate(profile)
	return eval.Request{Dir: dir, Entry: entry}, err
}

// inputs are what an evaluation starts from, but for the remembered values, and
// the ports of others, which only matter for ports that are not chosen yet.
func inputs(home state.Home, name string, s state.Settings, w who, st *state.State) (builtins.Inputs, error) {
	node, err := facts(s.Manager)
	if err != nil {
		return builtins.Inputs{}, err
	}
	in := builtins.Inputs{
		Instance: builtins.Instance{
			Name: name, Root: s.Root, User: w.user, Group: w.group,
			UID: w.uid, GID: w.gid, Groups: w.groups, Superuser: w.superuser,
		},
		Node:    node,
		Release: s.Release,
		Secrets: s.Secrets,
	}
	if in.Params, err = given(s.Params); err != nil {
		return in, err
	}
	in.Requested, err = published(home, st)
	return in, err
}

// given converts remembered parameters to what the builtins take.
func given(params map[string]state.Given) (map[string]builtins.Given, error) {
	out := make(map[string]builtins.Given, len(params))
	for name, g := range params {
		if g.Text != nil {
			out[name] = builtins.GivenText(*g.Text)
			continue
		}
		value, err := json.Marshal(g.Value)
		if err != nil {
			return nil, fmt.Errorf("cannot encode parameter %q: %w", name, err)
		}
		out[name] = builtins.GivenJSON(value)
	}
	return out, nil
}

// heldPorts returns the ports that other instances of this node have chosen, as
// far as their state can be read.
func heldPorts(home state.Home, name string) []int {
	var ports []int
	err := home.Index().Others(name, func(other state.Holding) {
		ports = append(ports, other.Ports...)
	})
	if err != nil {
		return nil
	}
	slices.Sort(ports)
	return ports
}

// ownedBy returns what the instance owns: of a brief state that is in its folder.
func ownedBy(st *state.State, folder state.Folder) func() (map[string]state.Owned, error) {
	return sync.OnceValues(func() (map[string]state.Owned, error) {
		if len(st.Owned) > 0 {
			return st.Owned, nil
		}
		full, err := folder.Load()
		if err != nil {
			return nil, err
		}
		return full.Owned, nil
	})
}

// observer reads what commands and services made, for the profile.
// What an earlier profile had put there, and this one does not declare, is as good
// as gone.
func observer(view plan.View, owned func() (map[string]state.Owned, error)) eval.Observe {
	return func(path string) ([]byte, error) {
		info, err := view.Lstat(path)
		if err != nil {
			return nil, err
		}
		records, err := owned()
		if err != nil {
			return nil, err
		}
		left, err := apply.Leftover(records, view, path, info)
		if left && err == nil {
			err = &fs.PathError{Op: "observe", Path: path, Err: fs.ErrNotExist}
		}
		if err != nil {
			return nil, err
		}
		if info.Kind == plan.KindFile && info.Size > builtins.MaxObserved {
			return nil, fmt.Errorf("%s has %d bytes, and at most %d are read", path, info.Size, builtins.MaxObserved)
		}
		return view.ReadFile(path)
	}
}

// evaluatedOnce has the machine be changed by the evaluation that was held against
// a saved plan, and no other one.
type evaluatedOnce struct {
	evaluate engine.Evaluator
	kept     *plan.Plan
	done     bool
}

// keep evaluates on paper; the first outcome is kept.
func (o *evaluatedOnce) keep(ctx context.Context, st *state.State, view plan.View) (*plan.Plan, error) {
	p, err := o.evaluate(ctx, st, view)
	if err == nil && !o.done {
		o.kept, o.done = p, true
	}
	return p, err
}

// take returns what was kept, once, and otherwise evaluates.
func (o *evaluatedOnce) take(ctx context.Context, st *state.State, view plan.View) (*plan.Plan, error) {
	p := o.kept
	o.kept, o.done = nil, true
	if p != nil {
		return p, nil
	}
	return o.evaluate(ctx, st, view)
}

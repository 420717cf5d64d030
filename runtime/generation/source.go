package generation

import (
	"context"
	"fmt"
	"os"

	"instar/runtime/plan"
	"instar/runtime/request"
	"instar/runtime/state"
)

// entryOfFolder is what evaluation begins with in a profile that is a folder.
const entryOfFolder = "instance.star"

// CheckOut writes the profile's files into a new folder, which the caller
// removes. The generation was verified.
func (g *Generation) CheckOut() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "instar-generation-"); err != nil {
		return "", err
	}
	if err := g.Unpack(dir); err != nil {
		_ = os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}

// entry is the file that evaluation begins with; "" in a folder.
func (g *Generation) entry() string {
	if g.Entry == entryOfFolder {
		return ""
	}
	return g.Entry
}

// Copy stores the profile as a copy that stands for its source. It is not run
// yet. The generation was verified.
func (g *Generation) Copy(f state.Folder, skip ...string) (*request.Copy, error) {
	dir, err := g.CheckOut()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	return request.Put(f, dir, g.entry(), g.Settings.Profile, skip...)
}

// Evaluator evaluates the profile of an instance.
type Evaluator = func(context.Context, *state.State, plan.View) (*plan.Plan, error)

// Evaluator returns evaluate, which goes by the generation's sources and
// settings, with the values and contents that the generation had. The generation
// is verified when that is first needed.
func (g *Generation) Evaluator(evaluate Evaluator) Evaluator {
	return func(ctx context.Context, st *state.State, view plan.View) (*plan.Plan, error) {
		if g.index == nil {
			if err := g.Verify(); err != nil {
				return nil, err
			}
		}
		then := *st
		then.Values = g.Overlay(st.Values)
		p, err := evaluate(ctx, &then, view)
		if err != nil {
			return p, err
		}
		changed, err := g.Restore(p, view)
		for i, name := range changed {
			text := name + ": its profile gives it another content now"
			if i == maxTold {
				text = fmt.Sprintf("and %d more", len(changed)-i)
			}
			p.Prints = append(p.Prints, plan.Print{At: plan.Pos{File: fmt.Sprintf("generation %d is restored", g.Number)}, Text: text})
			if i == maxTold {
				break
			}
		}
		return p, err
	}
}

// maxTold bounds how many restored paths are told of.
const maxTold = 20

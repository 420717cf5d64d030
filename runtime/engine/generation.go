package engine

import (
	"errors"

	"instar/runtime/apply"
	"instar/runtime/generation"
	"instar/runtime/plan"
	"instar/runtime/state"
)

// owed reports whether an earlier apply has changed something that is part of no
// generation, and that is settled now: it did not come to its end, or its plan
// was incomplete.
func (w *work) owed(settled map[string]state.Owned) bool {
	for name, rec := range w.before.Owned {
		if rec.Generation > w.before.Generation {
			return true
		}
		if now, left := settled[name]; rec.Claim != nil && (!left || now.Claim == nil) {
			return true
		}
	}
	return false
}

// keepGeneration keeps what this apply made, which next is about to say. One
// that cannot be kept does not undo what was done: nothing can return to it.
func (w *work) keepGeneration(next *state.State) {
	if w.Generations == nil || w.Planning {
		return
	}
	made := &generation.Made{State: next, Plan: w.plan, Content: w.content, RollbackOf: w.RollbackOf}
	if w.part != nil {
		made.Before, made.Since = w.before.Owned, w.part.planned.Kept
	}
	if err := w.Generations.Keep(made); err != nil {
		w.warn(err.Error() + ": nothing can return to this generation")
		return
	}
	w.kept = next.Generation
}

// content is what the plan says of a declared path, as long as it has that hash:
// the source of a copy may have changed meanwhile.
func (w *work) content(name, hash string) ([]byte, bool, error) {
	declared, ok := w.cmp.Resource(name)
	if !ok {
		return nil, false, nil
	}
	switch r := declared.(type) {
	case *plan.Dir:
		return nil, false, nil
	case *plan.Link:
		return []byte(r.To), true, nil
	case *plan.File:
		return r.Content, true, nil
	}
	data, err := plan.Bytes(declared, w.view)
	return data, err == nil && apply.Hash(data) == hash, err
}

// judge tells whether the promises and runs of what is applied held, where they
// were waited for to the end.
func (r *run) judge(err error) {
	if r.Generations == nil || !r.checked || r.report.Generation == 0 {
		return
	}
	var unkept *UnkeptError
	failure := ""
	switch {
	case errors.As(err, &unkept):
		failure = r.Mask.String(unkept.Error())
	case err != nil:
		return
	}
	if err := r.Generations.Judge(r.report.Generation, failure); err != nil {
		r.report.Warnings = append(r.report.Warnings, r.Mask.String(err.Error()))
	}
}

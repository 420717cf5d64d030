package engine

import (
	"context"

	"instar/runtime/apply"
	"instar/runtime/command"
	"instar/runtime/plan"
)

// maker finds out, after an apply that was broken off, whose the files are that
// commands make and that were ours before it: it may have come to having another
// command make one anew, or not. Where the record of the command that the plan has
// says that it made what is there, it did; else that must go before it runs.
func (w *work) maker(ctx context.Context) error {
	for _, res := range w.plan.Resources {
		cmd, ok := res.(*plan.Command)
		if !ok {
			continue
		}
		for _, name := range cmd.Creates {
			owned, ok := w.state.Owned[name]
			if !ok || owned.Once || owned.Claim == nil || owned.Claim.Was != "ours" {
				continue
			}
			rec, err := w.recordOf(ctx, cmd.Name)
			if err != nil {
				return err
			}
			info, there, err := plan.Lookup(w.view, name)
			if err != nil || !there || info.Kind != plan.KindFile && info.Kind != plan.KindLink {
				continue // that is for the comparison
			}
			owned.By = ""
			if w.isMade(rec, name, info.Kind) {
				owned.By = cmd.Name
			}
			w.state.Owned[name] = owned
		}
	}
	return nil
}

// isMade reports whether name is what an attempt that succeeded made.
func (w *work) isMade(rec *command.Record, name string, kind plan.Kind) bool {
	if !succeeded(rec) {
		return false
	}
	if kind == plan.KindLink {
		text, err := w.view.Readlink(name)
		return err == nil && rec.Creates[name] == "link:"+text
	}
	data, err := w.view.ReadFile(name)
	return err == nil && rec.Creates[name] == "sha256:"+apply.Hash(data)
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/report"
)

// purge removes all that an apply created, and then the state.
func (w *work) purge(ctx context.Context, missing bool) error {
	if !missing {
		if err := w.purgeRoot(ctx); err != nil {
			return err
		}
	}
	return w.Store.Remove()
}

func (w *work) purgeRoot(ctx context.Context) error {
	if err := w.open(); err != nil {
		return err
	}
	if err := w.dropNotes(ctx); err != nil {
		return err
	}
	names, err := w.doomed()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := w.removeAll(name); err != nil {
			return explain(fmt.Errorf("cannot remove %q: %w", name, err), w.Settings.Root)
		}
		w.removed["path:"+name] = true
		w.record(report.Change{Op: string(plan.OpRemove), Path: name, Why: "purged", At: w.state.Owned[name].At.String()})
	}
	if root, made := w.state.Owned["."]; made && !root.Foreign {
		if err := w.Disk.Remove(); err != nil {
			return fmt.Errorf("cannot remove the root: %w", err)
		}
	}
	return nil
}

// removeAll removes name and all below it, also from folders that their owner may
// not change as they are.
func (w *work) removeAll(name string) error {
	err := w.disk.RemoveAll(name)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		if rec, owned := w.state.Owned[dir]; owned && !rec.Foreign {
			w.unlock(dir, false)
		}
		if dir == "." {
			break
		}
	}
	w.unlock(name, true)
	return w.disk.RemoveAll(name)
}

// unlock has its owner be able to change a folder, and, if deep, those below it.
// It reports whether it changed one. What it cannot do shows in what follows.
func (w *work) unlock(name string, deep bool) bool {
	info, ok, err := plan.Lookup(w.view, name)
	if err != nil || !ok || info.Kind != plan.KindDir {
		return false
	}
	const all = 0o700
	changed := info.Mode&all != all && w.disk.Chmod(name, fs.FileMode(info.Mode&0o777|all)) == nil
	if !deep {
		return changed
	}
	names, err := w.view.ReadDir(name)
	if err != nil {
		return changed
	}
	for _, inner := range names {
		changed = w.unlock(path.Join(name, inner), true) || changed
	}
	return changed
}

// unlockOwned has its owner be able to change every folder that an apply made.
func (w *work) unlockOwned() bool {
	if w.open() != nil {
		return false
	}
	changed := false
	for _, name := range plan.SortedKeys(w.state.Owned) {
		if !w.state.Owned[name].Foreign {
			changed = w.unlock(name, false) || changed
		}
	}
	return changed
}

// doomed returns what a purge removes, outermost first: all that lies in a root
// that instar made, else each thing that an apply created.
func (w *work) doomed() ([]string, error) {
	if root, made := w.state.Owned["."]; made && !root.Foreign {
		return w.view.ReadDir(".")
	}
	var names []string
	for _, name := range plan.SortedKeys(w.state.Owned) {
		rec := w.state.Owned[name]
		if rec.Foreign {
			continue
		}
		switch _, ok, err := plan.Lookup(w.view, name); {
		case errors.Is(err, fsys.ErrRefused):
			w.warn(name + " is left alone: a link stands where its folder was")
		case err != nil:
			return nil, err
		case ok:
			names = append(names, name)
		}
	}
	return outermost(names), nil
}

// outermost drops what lies below another of names.
func outermost(names []string) []string {
	all := map[string]bool{}
	for _, name := range names {
		all[name] = true
	}
	var top []string
next:
	for _, name := range names {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if all[dir] {
				continue next
			}
		}
		top = append(top, name)
	}
	return top
}

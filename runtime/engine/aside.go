package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"instar/runtime/command"
	"instar/runtime/fsys"
	"instar/runtime/plan"
)

// What a command makes anew is set aside while it runs, and comes back when it
// fails; what an attempt left that counts no more goes.

// setAside moves away the files that an earlier run of cmd made, so that what
// stands there afterwards was made anew. It returns their paths. What lies in an
// `_once` folder is data, and stays.
func (w *work) setAside(cmd *plan.Command) ([]string, error) {
	if w.Planning {
		return nil, nil // nothing will make them anew
	}
	var aside []string
	for _, name := range cmd.Creates {
		rec, owned := w.state.Owned[name]
		if _, mine := w.cmp.Created[name]; !mine || !owned || rec.Once || rec.By != cmd.Name {
			continue
		}
		err := w.disk.Rename(name, asideName(name))
		if missing(err) {
			continue
		}
		if err != nil {
			return aside, fmt.Errorf("%s: cannot move %q aside for command %q: %w", cmd.At, name, cmd.Name, err)
		}
		aside = append(aside, name)
	}
	return aside, nil
}

// asideName is where name is moved to: beside it, and always the same.
func asideName(name string) string { return fsys.TempName(name + ".aside") }

// putBack ends what setAside began: after a failure what was there before is
// there again.
func (w *work) putBack(aside []string, succeeded bool) error {
	for _, name := range aside {
		tmp := asideName(name)
		var err error
		if succeeded {
			err = w.disk.Remove(tmp)
		} else {
			err = w.disk.Rename(tmp, name)
			// After a power cut both may name one file: then rename does nothing.
			if left := w.disk.Remove(tmp); err == nil && !errors.Is(left, fs.ErrNotExist) {
				err = left
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recoverAside ends what a deployer that was killed had set aside.
func (w *work) recoverAside(cmd *plan.Command, rec *command.Record) error {
	for _, name := range cmd.Creates {
		if w.state.Owned[name].By != cmd.Name {
			continue
		}
		if _, left, err := plan.Lookup(w.view, asideName(name)); err != nil || !left {
			continue
		}
		if err := w.open(); err != nil {
			return err
		}
		_, made, err := plan.Lookup(w.view, name)
		if err != nil {
			return err
		}
		if err := w.putBack([]string{name}, made && succeeded(rec)); err != nil {
			return err
		}
	}
	return nil
}

// undeclared waits for the commands that a deployer which was killed left running
// and that the plan has no more: what they make must be there before it is
// compared. Then it ends what that deployer had set aside for them.
func (w *work) undeclared(ctx context.Context) error {
	names, err := w.Commands.Names()
	if err != nil {
		return err
	}
	records := map[string]*command.Record{}
	for _, name := range names {
		if w.declaresCommand(name) {
			continue // its turn comes
		}
		rec, err := w.recordOf(ctx, name)
		if err != nil {
			return err
		}
		records[name] = rec
		w.madeBy(name, rec)
	}
	if err := w.maker(ctx); err != nil {
		return err
	}
	creates := map[string]bool{}
	for _, r := range w.plan.Resources {
		if cmd, ok := r.(*plan.Command); ok {
			for _, name := range cmd.Creates {
				creates[cmd.Name+"\x00"+name] = true
			}
		}
	}
	for name, rec := range w.state.Owned {
		if rec.By == "" || creates[rec.By+"\x00"+name] {
			continue
		}
		made := records[rec.By]
		if made == nil && w.declaresCommand(rec.By) {
			if made, err = w.recordOf(ctx, rec.By); err != nil {
				return err
			}
		}
		if err := w.endAside(name, made); err != nil {
			return err
		}
	}
	return nil
}

// madeBy takes what a command's record says that it made for ours: the deployer
// that ran it may not have come to saying so in the state.
func (w *work) madeBy(name string, rec *command.Record) {
	if rec == nil {
		return
	}
	for made, what := range rec.Creates {
		owned, ok := w.state.Owned[made]
		hash, isFile := strings.CutPrefix(what, "sha256:")
		if ok && isFile && owned.By == name && owned.Kind == plan.KindFile && owned.Hash != hash {
			owned.Hash = hash
			w.state.Owned[made] = owned
		}
	}
}

// endAside puts back what was set aside, or removes it where it was made anew by an
// attempt that succeeded.
func (w *work) endAside(name string, rec *command.Record) error {
	if _, left, err := plan.Lookup(w.view, asideName(name)); err != nil || !left {
		return nil // a parent that is a link now is for the comparison to refuse
	}
	_, made, err := plan.Lookup(w.view, name)
	if err == nil {
		err = w.open()
	}
	if err == nil {
		err = w.putBack([]string{name}, made && succeeded(rec))
	}
	return err
}

func succeeded(rec *command.Record) bool { return rec != nil && rec.Status == command.Succeeded }

// dropNotes removes the notes of attempts that count no more: of commands that
// have succeeded, and, after a complete plan, of those no longer declared.
func (w *work) dropNotes(ctx context.Context) error {
	names, err := w.view.ReadDir(".")
	if err != nil {
		return nil // there is no root yet
	}
	for _, file := range names {
		name, ok := command.NoteOf(file)
		if !ok {
			continue
		}
		if w.declaresCommand(name) {
			rec, err := w.recordOf(ctx, name)
			if err != nil {
				return err
			}
			if !succeeded(rec) {
				continue
			}
		}
		if info, err := w.view.Lstat(file); err != nil || info.Kind != plan.KindFile {
			continue // whoever put that there may keep it
		}
		if err := w.open(); err != nil {
			return err
		}
		if err := w.disk.Remove(file); err != nil {
			return explain(err, w.Settings.Root)
		}
	}
	return nil
}

func (w *work) declaresCommand(name string) bool {
	for _, r := range w.plan.Resources {
		if cmd, ok := r.(*plan.Command); ok && cmd.Name == name {
			return true
		}
	}
	return false
}

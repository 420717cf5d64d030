package apply

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/afero"

	"instar/runtime/fsys"
	"instar/runtime/plan"
)

// EditError is an edit that could not be performed. What stood at the path
// stands there still.
type EditError struct {
	Edit plan.Edit
	Err  error
}

func (e *EditError) Error() string {
	return fmt.Sprintf("%s: cannot %s %q: %v", e.Edit.At, e.Edit.Op, e.Edit.Path, e.Err)
}
func (e *EditError) Unwrap() error { return e.Err }

// At returns the place of the declaration that asked for the edit.
func (e *EditError) At() string { return e.Edit.At.String() }

// Do performs one edit of a path on disk, atomically: it is done whole or not
// at all. Sources of copies are read through v. Of a file that was written it
// returns what lstat says, where that vouches for its content; else the zero Sig.
func Do(disk afero.Fs, v plan.View, e plan.Edit) (sig fsys.Sig, err error) {
	if e.Op == plan.OpWrite {
		sig, err = fsys.WriteFileSeen(disk, e.Path, e.Data, uint32(e.Mode), e.UID, e.GID)
	} else {
		err = do(disk, v, e)
	}
	if err != nil {
		return fsys.Sig{}, &EditError{e, err}
	}
	return sig, nil
}

func do(disk afero.Fs, v plan.View, e plan.Edit) error {
	switch e.Op {
	case plan.OpMkdir:
		return fsys.MakeDir(disk, e.Path, uint32(e.Mode), e.UID, e.GID)
	case plan.OpCopy:
		data, err := v.ReadFile(e.From)
		if err != nil {
			return err
		}
		return fsys.WriteFile(disk, e.Path, data, uint32(e.Mode), e.UID, e.GID)
	case plan.OpLink:
		return fsys.WriteLink(disk, e.Path, e.To, e.UID, e.GID)
	case plan.OpChmod:
		return fsys.Chmod(disk, e.Path, uint32(e.Mode))
	case plan.OpChown:
		return fsys.Chown(disk, e.Path, e.UID, e.GID)
	case plan.OpRemove:
		if err := disk.Remove(e.Path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return fmt.Errorf("%q is no edit of a path", e.Op)
}

// Empty removes all that stands below the folder name, or the file or link
// that it is, and leaves the folder itself. What is missing is empty.
func Empty(disk afero.Fs, v plan.View, name string) error {
	info, ok, err := plan.Lookup(v, name)
	if err != nil || !ok {
		return err
	}
	if info.Kind != plan.KindDir {
		return disk.Remove(name)
	}
	names, err := v.ReadDir(name)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := disk.RemoveAll(join(name, n)); err != nil {
			return err
		}
	}
	return nil
}

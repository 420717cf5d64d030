package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/afero"

	"instar/runtime/fsys"
)

// Real is the root on disk. It is created, with the given owner (-1: whoever
// runs instar), when it is first opened for writing.
type Real struct {
	Dir      string // absolute
	UID, GID int

	root *fsys.Root
}

// Peek implements [Disk].
func (d *Real) Peek() (afero.Fs, error) {
	if d.root != nil {
		return d.root, nil
	}
	root, err := fsys.OpenRoot(d.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return absent{fsys.NewOverlay(nil)}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the root %s: %w", d.Dir, err)
	}
	d.root = root
	return root, nil
}

// Open implements [Disk].
func (d *Real) Open() (afero.Fs, error) {
	if d.root == nil {
		if err := d.create(); err != nil {
			return nil, fmt.Errorf("cannot create the root: %w", err)
		}
	}
	return d.Peek()
}

func (d *Real) create() error {
	if _, err := os.Stat(d.Dir); err == nil {
		return nil
	}
	// Folders above the root are the machine's: as mkdir -p makes them.
	if err := os.MkdirAll(filepath.Dir(d.Dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(d.Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if d.UID >= 0 || d.GID >= 0 {
		if err := os.Lchown(d.Dir, d.UID, d.GID); err != nil {
			return err
		}
	}
	return os.Chmod(d.Dir, rootMode)
}

// Remove implements [Disk].
func (d *Real) Remove() error {
	if err := d.Close(); err != nil {
		return err
	}
	return os.Remove(d.Dir)
}

// Close gives up the handle of the root.
func (d *Real) Close() error {
	if d.root == nil {
		return nil
	}
	root := d.root
	d.root = nil
	return root.Close()
}

// Imagined is an overlay in memory over the root, or over nothing when the root
// does not exist: what a plan and a dry run write to.
type Imagined struct {
	Real    *Real
	overlay *fsys.Overlay
	opened  bool // the root exists, if only in imagination
}

// Peek implements [Disk].
func (d *Imagined) Peek() (afero.Fs, error) {
	if d.overlay == nil {
		base, err := d.Real.Peek()
		if err != nil {
			return nil, err
		}
		if _, missing := base.(absent); missing {
			base = nil
		} else {
			d.opened = true
		}
		d.overlay = fsys.NewOverlay(base).NoFollow().SetUmask(0o027)
	}
	if !d.opened {
		return absent{d.overlay}, nil
	}
	return d.overlay, nil
}

// Open implements [Disk].
func (d *Imagined) Open() (afero.Fs, error) {
	if _, err := d.Peek(); err != nil {
		return nil, err
	}
	d.opened = true
	return d.overlay, nil
}

// Remove implements [Disk].
func (d *Imagined) Remove() error {
	d.overlay, d.opened = nil, false
	return nil
}

// Overlay returns what was imagined.
func (d *Imagined) Overlay() *fsys.Overlay { return d.overlay }

// absent is a root that does not exist: nothing stands in it, and it does not
// stand itself.
type absent struct{ *fsys.Overlay }

// LstatIfPossible implements afero.Lstater.
func (a absent) LstatIfPossible(name string) (fs.FileInfo, bool, error) {
	return nil, true, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
}

// Stat implements afero.Fs.
func (a absent) Stat(name string) (fs.FileInfo, error) {
	fi, _, err := a.LstatIfPossible(name)
	return fi, err
}

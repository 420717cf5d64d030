package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/afero"

	"instar/runtime/fsys"
)

// rootMode is the mode of a root that instar creates.
const rootMode = 0o750

// disk is the real root of an instance, as the engine wants it. It holds the
// folder open between Peek and the next one.
type disk struct {
	dir  string
	who  who
	root *fsys.Root // nil while there is none
}

// Peek implements engine.Disk.
func (d *disk) Peek() (afero.Fs, error) {
	d.Close()
	root, err := openRoot(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return absent{fsys.NewOverlay(nil).NoFollow()}, nil
	}
	if err != nil {
		return nil, err
	}
	d.root = root
	return root, nil
}

// Open implements engine.Disk.
func (d *disk) Open() (afero.Fs, error) {
	if d.root != nil {
		return d.root, nil
	}
	if err := d.create(); err != nil {
		return nil, fmt.Errorf("cannot create the root: %w", err)
	}
	root, err := openRoot(d.dir)
	if err != nil {
		return nil, err
	}
	d.root = root
	return root, nil
}

// create makes the root, which belongs to the instance's user, and the folders
// above it that are missing. As root those are open to all, since the
// instance's user must get through them.
func (d *disk) create() error {
	mode, uid, gid := uint32(rootMode), -1, -1
	if d.who.superuser {
		mode, uid, gid = 0o755, d.who.uid, d.who.gid
	}
	if err := makeFolders(filepath.Dir(d.dir), mode); err != nil {
		return err
	}
	return makeFolder(d.dir, rootMode, uid, gid)
}

// makeFolders makes dir and what is missing above it, with mode whatever the
// umask.
func makeFolders(dir string, mode uint32) error {
	if dir == filepath.Dir(dir) {
		return nil // of a drive, where there are such, or the only one
	}
	err := makeFolder(dir, mode, -1, -1)
	switch {
	case err == nil || errors.Is(err, fs.ErrExist):
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := makeFolders(filepath.Dir(dir), mode); err != nil {
		return err
	}
	return makeFolders(dir, mode)
}

// makeFolder makes one folder below one that exists, so that nobody who may
// write there can have another one changed in its place.
func makeFolder(dir string, mode uint32, uid, gid int) error {
	parent, err := fsys.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	return fsys.MakeDir(parent, filepath.Base(dir), mode, uid, gid)
}

// Remove implements engine.Disk.
func (d *disk) Remove() error {
	d.Close()
	parent, err := fsys.OpenRoot(filepath.Dir(d.dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	return parent.Remove(filepath.Base(d.dir))
}

// Close releases the folder.
func (d *disk) Close() {
	if d.root != nil {
		_ = d.root.Close() // nothing was written through the descriptor itself
		d.root = nil
	}
}

// openRoot opens the root, and says what stands there instead of a folder.
func openRoot(dir string) (*fsys.Root, error) {
	root, err := fsys.OpenRoot(dir)
	if err == nil {
		return root, nil
	}
	if info, statErr := os.Stat(dir); statErr == nil && !info.IsDir() {
		return nil, hinted("move it away, or choose another --root", "the root %s is not a folder", dir)
	}
	return nil, badRoot(err)
}

// badRoot says what keeps the root from being looked at.
func badRoot(err error) error {
	if errors.Is(err, syscall.ENOTDIR) {
		return hinted("choose another --root", "cannot open the root: something above it is not a folder: %w", err)
	}
	return err
}

// paperDisk is a root of which everything is real but the changes.
type paperDisk struct {
	dir     string
	who     who
	real    *fsys.Root
	overlay *fsys.Overlay
	missing bool
}

// Peek implements engine.Disk.
func (d *paperDisk) Peek() (afero.Fs, error) {
	if d.overlay == nil {
		if err := d.begin(); err != nil {
			return nil, err
		}
	}
	if d.missing {
		return absent{d.overlay}, nil
	}
	return d.overlay, nil
}

func (d *paperDisk) begin() error {
	root, err := openRoot(d.dir)
	var base afero.Fs
	switch {
	case err == nil:
		d.real, base = root, root
	case errors.Is(err, fs.ErrNotExist):
		d.missing = true
	default:
		return err
	}
	d.overlay = fsys.NewOverlay(base).NoFollow().SetUmask(0o027)
	if d.who.superuser {
		d.overlay.SetOwner(d.who.uid, d.who.gid)
	}
	return nil
}

// Open implements engine.Disk.
func (d *paperDisk) Open() (afero.Fs, error) {
	if _, err := d.Peek(); err != nil || !d.missing {
		return d.overlay, err
	}
	if d.who.superuser {
		if err := fsys.Chown(d.overlay, ".", d.who.uid, d.who.gid); err != nil {
			return nil, err
		}
	}
	d.missing = false
	return d.overlay, fsys.Chmod(d.overlay, ".", rootMode)
}

// Remove implements engine.Disk.
func (d *paperDisk) Remove() error {
	d.missing = true
	return nil
}

// Close releases the folder.
func (d *paperDisk) Close() {
	if d.real != nil {
		_ = d.real.Close()
		d.real = nil
	}
}

// absent is a root that does not exist: an empty folder but for its top, which
// is not there either.
type absent struct{ *fsys.Overlay }

// LstatIfPossible implements afero.Lstater.
func (a absent) LstatIfPossible(name string) (fs.FileInfo, bool, error) {
	if name == "." || name == "" || name == "/" {
		return nil, true, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
	}
	return a.Overlay.LstatIfPossible(name)
}

// Stat implements afero.Fs.
func (a absent) Stat(name string) (fs.FileInfo, error) {
	info, _, err := a.LstatIfPossible(name)
	return info, err
}

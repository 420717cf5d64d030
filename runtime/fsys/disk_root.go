package fsys

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// A rootDisk is a folder as os.Root has it, for systems without openat2. os.Root
// follows links that stay inside; so every folder on the way is opened singly, and
// taken only if it is the one that lstat saw under that name.
type rootDisk struct {
	root *os.Root
}

func openRootDisk(dir string) (disk, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, cause(err)
	}
	return &rootDisk{root}, nil
}

func (d *rootDisk) close() error { return d.root.Close() }

// folder opens a folder; the caller closes it.
func (d *rootDisk) folder(rel string) (*os.Root, error) {
	at, err := d.root.OpenRoot(".")
	if err != nil || rel == "." {
		return at, cause(err)
	}
	for _, part := range strings.Split(rel, "/") {
		next, err := descend(at, part)
		at.Close()
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

// descend opens a folder directly in at, and no link.
func descend(at *os.Root, part string) (*os.Root, error) {
	before, err := at.Lstat(part)
	if err != nil {
		return nil, cause(err)
	}
	if before.Mode()&fs.ModeSymlink != 0 {
		return nil, syscall.ELOOP
	}
	if !before.IsDir() {
		return nil, syscall.ENOTDIR
	}
	next, err := at.OpenRoot(part)
	if err != nil {
		return nil, cause(err)
	}
	after, err := next.Stat(".")
	if err == nil && !os.SameFile(before, after) {
		err = syscall.ELOOP
	}
	if err != nil {
		next.Close()
		return nil, cause(err)
	}
	return next, nil
}

// in calls fn with the folder that rel is in and its name there.
func (d *rootDisk) in(rel string, fn func(at *os.Root, base string) error) error {
	folder, base := split(rel)
	at, err := d.folder(folder)
	if err != nil {
		return err
	}
	defer at.Close()
	return cause(fn(at, base))
}

// onFile is in, for what must not be a link or a shared file.
func (d *rootDisk) onFile(rel string, fn func(at *os.Root, base string) error) error {
	return d.in(rel, func(at *os.Root, base string) error {
		fi, err := at.Lstat(base)
		if err != nil {
			return err
		}
		sig, _ := Stat(fi)
		if sig.isLink() {
			return syscall.ELOOP
		}
		if sig.shared() {
			return errShared
		}
		return fn(at, base)
	})
}

func (d *rootDisk) lstat(rel string) (Sig, error) {
	var sig Sig
	err := d.in(rel, func(at *os.Root, base string) error {
		fi, err := at.Lstat(base)
		if err == nil {
			sig, _ = Stat(fi)
		}
		return err
	})
	return sig, err
}

// entries relies on os, which looks from the descriptor on Unix.
func (d *rootDisk) entries(f *os.File, n int) ([]fs.FileInfo, error) {
	list, err := f.Readdir(n)
	for i, fi := range list {
		sig, _ := Stat(fi)
		list[i] = &info{fi.Name(), sig}
	}
	return list, err
}

func (d *rootDisk) open(name, rel string, flag int, perm uint32) (*os.File, error) {
	var f *os.File
	err := d.in(rel, func(at *os.Root, base string) (err error) {
		const tries = 100 // against somebody who creates and removes all the time
		for range tries {
			f, err = openIn(at, base, flag, perm)
			if !errors.Is(err, errMoved) {
				return err
			}
		}
		return syscall.ELOOP
	})
	return f, err
}

// errMoved says that the name changed its object meanwhile.
var errMoved = errors.New("changed while opening")

// openIn opens what lstat sees, or creates where it sees nothing.
func openIn(at *os.Root, base string, flag int, perm uint32) (*os.File, error) {
	const fresh = os.O_CREATE | os.O_EXCL
	before, err := at.Lstat(base)
	if errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0 {
		f, err := createIn(at, base, flag|fresh, perm)
		if flag&fresh != fresh && errors.Is(err, fs.ErrExist) {
			return nil, errMoved
		}
		return f, err
	}
	if err != nil {
		return nil, err
	}
	if flag&fresh == fresh {
		return nil, syscall.EEXIST
	}
	if before.Mode()&fs.ModeSymlink != 0 {
		return nil, syscall.ELOOP
	}
	if before.IsDir() && flag&os.O_CREATE != 0 {
		return nil, syscall.EISDIR
	}
	f, err := at.OpenFile(base, flag&^(os.O_CREATE|os.O_TRUNC)|nonblock, 0)
	if err != nil {
		return nil, err
	}
	if err := admit(at, base, f, before, flag); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// createIn creates a file. os.Root takes nine bits of the mode only.
func createIn(at *os.Root, base string, flag int, perm uint32) (*os.File, error) {
	f, err := at.OpenFile(base, flag, fs.FileMode(perm&0o777))
	if err != nil || perm&^0o777 == 0 {
		return f, err
	}
	fi, err := f.Stat()
	if err == nil {
		err = f.Chmod(fi.Mode() | fileMode(perm&^0o777))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// admit checks that f is what was there before and may be written, and
// truncates it if asked to.
func admit(at *os.Root, base string, f *os.File, before fs.FileInfo, flag int) error {
	after, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(before, after) {
		return errMoved
	}
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_TRUNC) == 0 {
		return nil
	}
	sig, _ := Stat(after)
	if sig.shared() {
		return errShared
	}
	switch {
	case flag&os.O_TRUNC == 0:
		return nil
	case sig.isDir():
		return syscall.EISDIR
	case !sig.isFile():
		return nil
	}
	if flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		w, err := openIn(at, base, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			return err
		}
		return w.Close()
	}
	return f.Truncate(0)
}

func (d *rootDisk) mkdir(rel string, perm uint32) error {
	return d.in(rel, func(at *os.Root, base string) error {
		if perm&^0o777 == 0 {
			return at.Mkdir(base, fs.FileMode(perm))
		}
		// os.Root takes the nine bits only.
		if err := at.Mkdir(base, fs.FileMode(perm&0o777)); err != nil {
			return err
		}
		fi, err := at.Lstat(base)
		if err != nil {
			return err
		}
		return at.Chmod(base, fi.Mode()|fileMode(perm&^0o777))
	})
}

func (d *rootDisk) remove(rel string) error {
	if rel == "." {
		return syscall.EINVAL
	}
	return d.in(rel, func(at *os.Root, base string) error { return at.Remove(base) })
}

func (d *rootDisk) removeAll(rel string) error {
	err := d.in(rel, func(at *os.Root, base string) error { return at.RemoveAll(base) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// rename across folders names both from the top; a link that somebody plants
// in the instant after the check leads no further than inside the root.
func (d *rootDisk) rename(from, to string) error {
	return d.in(from, func(src *os.Root, old string) error {
		return d.in(to, func(dst *os.Root, base string) error {
			if done, err := replace(src, old, dst, base); done || err != nil {
				return err
			}
			oldFolder, _ := split(from)
			newFolder, _ := split(to)
			if oldFolder == newFolder {
				return src.Rename(old, base)
			}
			return d.root.Rename(from, to)
		})
	})
}

// replace refuses what os.Rename refuses, to replace a folder, and reports
// whether there is nothing to do since the two are the same.
func replace(src *os.Root, old string, dst *os.Root, base string) (done bool, err error) {
	there, err := dst.Lstat(base)
	if err != nil || !there.IsDir() {
		return false, nil
	}
	here, err := src.Lstat(old)
	if err != nil {
		return false, err
	}
	if !os.SameFile(here, there) {
		return false, syscall.EEXIST
	}
	return true, nil
}

func (d *rootDisk) symlink(target, rel string) error {
	return d.in(rel, func(at *os.Root, base string) error { return at.Symlink(target, base) })
}

func (d *rootDisk) readlink(rel string) (string, error) {
	var target string
	err := d.in(rel, func(at *os.Root, base string) (err error) {
		target, err = at.Readlink(base)
		return err
	})
	return target, err
}

func (d *rootDisk) chmod(rel string, mode uint32) error {
	return d.onFile(rel, func(at *os.Root, base string) error { return at.Chmod(base, fileMode(mode)) })
}

func (d *rootDisk) chown(rel string, uid, gid int, linkOnly bool) error {
	return d.in(rel, func(at *os.Root, base string) error {
		fi, err := at.Lstat(base)
		if err != nil {
			return err
		}
		sig, _ := Stat(fi)
		if linkOnly && !sig.isLink() {
			return errReplaced
		}
		if sig.shared() {
			return errShared
		}
		return at.Lchown(base, uid, gid)
	})
}

func (d *rootDisk) chtimes(rel string, atime, mtime time.Time) error {
	return d.onFile(rel, func(at *os.Root, base string) error { return at.Chtimes(base, atime, mtime) })
}

func (d *rootDisk) sub(rel string) (disk, error) {
	at, err := d.folder(rel)
	if err != nil {
		return nil, err
	}
	return &rootDisk{at}, nil
}

// sync asks the system to write out everything; os has no call for one file
// system, and Windows none at all.
func (d *rootDisk) sync() error {
	syncAll()
	return nil
}

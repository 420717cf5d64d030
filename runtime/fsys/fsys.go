// Package fsys is the disk as instar sees it: two afero.Fs that behave as
// the operating system does, errors included.
//
// Root is a real folder and what is below it. Overlay is a tree in memory
// over a read-only base, or over nothing. What is common to both, and works on
// any other afero.Fs as far as that one can, are plain functions: WriteFile,
// WriteLink and MakeDir change one object atomically, ReadRegular reads without
// being trapped, Lstat, Stat, Owner and Unix look.
//
// The invariant: no operation on a Root reaches anything outside it, whatever
// symbolic links, hard links, pipes and renames others plant below it, also
// while the operation runs. No symbolic link below a Root is ever followed.
//
// Names are separated by slashes and relative to the top: "etc/x"; "." is the
// top itself; a leading slash is ignored; ".." that would leave the top is an
// error. Errors are *fs.PathError and *os.LinkError around a syscall.Errno, with
// the name as it was given; what is refused by rule is a *RefusedError.
package fsys

import (
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/afero"
)

// Lchowner is an afero.Fs that can change who owns a symbolic link itself.
type Lchowner interface {
	// LchownIfPossible is os.Lchown: -1 leaves the user or the group as it is.
	LchownIfPossible(name string, uid, gid int) error
}

// Syncer is an afero.Fs that can be asked to make durable all that was written.
type Syncer interface {
	// SyncFS returns when everything written before is on the disk.
	SyncFS() error
}

// fileOwner is an open file that can be given a mode and an owner.
// *os.File is one, and so are the files of Root and Overlay.
type fileOwner interface {
	Chmod(mode fs.FileMode) error
	Chown(uid, gid int) error
}

// lchmoder is an afero.Fs whose chmod can be told to refuse links.
type lchmoder interface {
	lchmod(name string, mode fs.FileMode) error
}

// Lstat describes the named object itself, not what it links to.
func Lstat(fsys afero.Fs, path string) (fs.FileInfo, error) {
	if l, ok := fsys.(afero.Lstater); ok {
		fi, _, err := l.LstatIfPossible(path)
		return fi, err
	}
	return fsys.Stat(path)
}

// Readlink returns the text of a symbolic link.
// What is no link is EINVAL; a file system without links says ErrNoReadlink.
func Readlink(fsys afero.Fs, path string) (string, error) {
	if l, ok := fsys.(afero.LinkReader); ok {
		return l.ReadlinkIfPossible(path)
	}
	return "", &fs.PathError{Op: "readlink", Path: path, Err: afero.ErrNoReadlink}
}

// Chmod sets the 12 permission bits of a file or folder exactly, whatever the
// umask. It refuses a symbolic link with a *RefusedError.
func Chmod(fsys afero.Fs, path string, mode uint32) error {
	if l, ok := fsys.(lchmoder); ok {
		return l.lchmod(path, fileMode(mode&bits12))
	}
	fi, err := Lstat(fsys, path)
	if err != nil {
		return err
	}
	if fi.Mode()&fs.ModeSymlink != 0 {
		return &RefusedError{Op: "chmod", Path: path, Link: path}
	}
	return fsys.Chmod(path, fileMode(mode&bits12))
}

// Chown sets the owner of the object itself, a symbolic link included; -1
// leaves the user or the group as it is. Linux clears setuid and setgid with it.
func Chown(fsys afero.Fs, path string, uid, gid int) error {
	if l, ok := fsys.(Lchowner); ok {
		return l.LchownIfPossible(path, uid, gid)
	}
	fi, err := Lstat(fsys, path)
	if err != nil {
		return err
	}
	if fi.Mode()&fs.ModeSymlink != 0 {
		return &RefusedError{Op: "lchown", Path: path, Link: path}
	}
	return fsys.Chown(path, uid, gid)
}

// SyncFS makes durable what was written to fsys before. It does nothing where
// there is nothing to do, as in memory.
func SyncFS(fsys afero.Fs) error {
	if s, ok := fsys.(Syncer); ok {
		return s.SyncFS()
	}
	return nil
}

// cause is the innermost reason of an error that os or afero made, without
// operation and path.
func cause(err error) error {
	var pe *fs.PathError
	var le *os.LinkError
	var se *os.SyscallError
	switch {
	case errors.As(err, &pe):
		return pe.Err
	case errors.As(err, &le):
		return le.Err
	case errors.As(err, &se):
		return se.Err
	}
	return err
}

// pathError wraps the reason of err as os does; nil stays nil, and a
// *RefusedError, which names its path, stays as it is.
func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	var refused *RefusedError
	if errors.As(err, &refused) {
		return err
	}
	return &fs.PathError{Op: op, Path: path, Err: cause(err)}
}

// linkError is pathError for an operation on two names.
func linkError(op, from, to string, err error) error {
	if err == nil {
		return nil
	}
	var refused *RefusedError
	if errors.As(err, &refused) {
		return err
	}
	return &os.LinkError{Op: op, Old: from, New: to, Err: cause(err)}
}

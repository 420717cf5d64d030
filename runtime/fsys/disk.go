package fsys

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// A disk does what Root asks of the operating system. Every rel is clean and
// without ".."; no method follows a symbolic link in any part of it. Where a link
// is in the way the error is syscall.ELOOP, where a file has further names it is
// errShared; else it is the syscall.Errno that os would wrap.
//
// There are two: fdDisk works with descriptors and openat2 (Linux), rootDisk with
// os.Root (everywhere).
type disk interface {
	lstat(rel string) (Sig, error)
	// open is os.OpenFile; it neither waits for the other end of a pipe nor
	// opens a shared file for writing. The file is called name.
	open(name, rel string, flag int, perm uint32) (*os.File, error)
	// entries is f.Readdir for a file that open returned.
	entries(f *os.File, n int) ([]fs.FileInfo, error)
	mkdir(rel string, perm uint32) error
	remove(rel string) error
	removeAll(rel string) error
	// rename is os.Rename, but that a folder may take its own name.
	rename(from, to string) error
	symlink(target, rel string) error
	readlink(rel string) (string, error)
	chmod(rel string, mode uint32) error
	// chown changes a link itself; with linkOnly it changes nothing else, and says
	// errReplaced.
	chown(rel string, uid, gid int, linkOnly bool) error
	chtimes(rel string, atime, mtime time.Time) error
	// sub is the same disk, seen from a folder.
	sub(rel string) (disk, error)
	sync() error
	close() error
}

// errShared refuses a change to a file that has more than one name: one of
// them may be outside.
var errShared = errors.New("it is a hard link: the file has another name")

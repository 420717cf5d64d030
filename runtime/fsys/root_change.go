package fsys

import (
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/afero"
)

// Open opens for reading.
func (r *Root) Open(name string) (afero.File, error) { return r.OpenFile(name, os.O_RDONLY, 0) }

// Create is os.Create. It refuses a link and a file that has further names.
func (r *Root) Create(name string) (afero.File, error) {
	return r.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
}

// OpenFile is os.OpenFile. It refuses a link, and to write to a file that has
// further names. Reading and writing ends of a pipe open at once (for writing
// with ENXIO, if nobody reads).
func (r *Root) OpenFile(name string, flag int, perm fs.FileMode) (afero.File, error) {
	s, err := r.spot("open", name)
	if err != nil {
		return nil, err
	}
	switch {
	case s.slash && flag&os.O_CREATE != 0:
		return nil, r.fail("open", name, s.rel, r.creating(s, flag))
	case s.slash:
		err = r.mustBeDir("open", name, s.rel)
	}
	if err != nil {
		return nil, err
	}
	f, err := r.disk.open(r.prefix+name, s.rel, flag, unixMode(perm)&bits12)
	if err != nil {
		return nil, r.fail("open", name, s.rel, err)
	}
	return &rootFile{File: f, name: r.prefix + name, disk: r.disk}, nil
}

// creating says why a name that ends in a slash can't be created as a file.
func (r *Root) creating(s spot, flag int) error {
	if !s.dot {
		if err := r.parentError(s.rel); err != nil {
			return err
		}
		return syscall.EISDIR
	}
	if err := r.occupied(s.rel); err != syscall.EEXIST || flag&os.O_EXCL != 0 {
		return err
	}
	return syscall.EISDIR
}

// Mkdir is os.Mkdir: Linux ignores setuid and setgid here.
func (r *Root) Mkdir(name string, perm fs.FileMode) error {
	s, err := r.spot("mkdir", name)
	if err != nil {
		return err
	}
	if s.dot {
		return r.fail("mkdir", name, s.rel, r.occupied(s.rel))
	}
	return r.fail("mkdir", name, s.rel, r.disk.mkdir(s.rel, unixMode(perm)&mkdirBits))
}

// occupied says why a name that ends in a dot can't be created.
func (r *Root) occupied(rel string) error {
	if _, err := r.spotted(spot{rel: rel, slash: true}); err != nil {
		return err
	}
	return syscall.EEXIST
}

// MkdirAll is os.MkdirAll; a link on the way is refused.
func (r *Root) MkdirAll(name string, perm fs.FileMode) error { return mkdirAll(r, name, perm) }

// SymlinkIfPossible is os.Symlink: target is taken as it is.
func (r *Root) SymlinkIfPossible(target, name string) error {
	s, err := r.spot("symlink", name)
	if err != nil {
		return renamed(err, target, name)
	}
	switch {
	case s.slash:
		err = r.occupied(s.rel)
		if err == syscall.ENOTDIR && !s.dot {
			err = syscall.EEXIST
		}
	default:
		err = r.disk.symlink(target, s.rel)
	}
	if refused := r.refusal("symlink", name, s.rel, err); refused != nil {
		return refused
	}
	return linkError("symlink", target, r.prefix+name, err)
}

// renamed is err of a name's check, for an operation on two.
func renamed(err error, from, to string) error {
	if pe, ok := err.(*fs.PathError); ok {
		return &os.LinkError{Op: pe.Op, Old: from, New: to, Err: pe.Err}
	}
	return err
}

// Rename is os.Rename: it replaces a file or a link, never a folder.
func (r *Root) Rename(from, to string) error {
	src, err := r.spot("rename", from)
	if err != nil {
		return renamed(err, from, to)
	}
	dst, err := r.spot("rename", to)
	if err != nil {
		if srcErr := r.parentError(src.rel); srcErr != nil { // it comes first
			return r.renameError(from, to, src.rel, ".", srcErr)
		}
		return renamed(err, from, to)
	}
	if src.slash || dst.slash || from == to {
		if err := r.renamable(src, dst, from == to); err != nil {
			return r.renameError(from, to, src.rel, dst.rel, err)
		}
	}
	err = r.disk.rename(src.rel, dst.rel)
	return r.renameError(from, to, src.rel, dst.rel, err)
}

func (r *Root) renameError(from, to, src, dst string, err error) error {
	if refused := r.refusal("rename", from, src, err); refused != nil {
		if e := refused.(*RefusedError); e.Link == "" && e.Reason != errShared.Error() {
			return r.refusal("rename", to, dst, err)
		}
		return refused
	}
	return linkError("rename", r.prefix+from, r.prefix+to, err)
}

// renamable holds the rules for names that end in a slash or a dot, and for
// those that are the same. What it lets pass the system call decides.
func (r *Root) renamable(src, dst spot, same bool) error {
	here, hereErr := r.spotted(src)
	there, thereErr := r.spotted(dst)
	if thereErr == nil && there.isDir() {
		if hereErr != nil {
			return hereErr
		}
		if src.rel != dst.rel || same {
			return syscall.EEXIST
		}
	}
	if err := r.wayTo(src, hereErr); err != nil {
		return err
	}
	if err := r.wayTo(dst, thereErr); err != nil {
		return err
	}
	switch {
	case src.dot || dst.dot:
		return syscall.EBUSY
	case hereErr == syscall.ENOTDIR, hereErr == nil && !here.isDir() && dst.slash:
		return syscall.ENOTDIR
	}
	return nil
}

// wayTo says why the folder that s names an entry of can't be entered; err is
// what was said of s itself.
func (r *Root) wayTo(s spot, err error) error {
	if s.dot || err == syscall.ELOOP {
		return err
	}
	return r.parentError(s.rel)
}

// spotted is what lstat says of a name with its slash.
func (r *Root) spotted(s spot) (Sig, error) {
	sig, err := r.disk.lstat(s.rel)
	switch {
	case err != nil || !s.slash:
	case sig.isLink():
		err = syscall.ELOOP
	case !sig.isDir():
		err = syscall.ENOTDIR
	}
	return sig, err
}

// parentError says why the folder that rel is in can't be entered.
func (r *Root) parentError(rel string) error {
	folder, _ := split(rel)
	_, err := r.spotted(spot{rel: folder, slash: true})
	return err
}

// Remove is os.Remove: a file, a link, or an empty folder.
func (r *Root) Remove(name string) error {
	s, err := r.spot("remove", name)
	if err != nil {
		return err
	}
	if s.slash && !s.dot {
		err = r.mustBeDir("remove", name, s.rel)
	} else if s.dot {
		err = r.fail("remove", name, s.rel, r.undeletable(s.rel))
	}
	if err != nil {
		return err
	}
	return r.fail("remove", name, s.rel, r.disk.remove(s.rel))
}

// undeletable says why a name that ends in a dot can't be removed.
func (r *Root) undeletable(rel string) error {
	if err := r.occupied(rel); err != syscall.EEXIST {
		return err
	}
	return syscall.EINVAL
}

// RemoveAll is os.RemoveAll: what is not there is no error. It follows no link.
func (r *Root) RemoveAll(name string) error {
	if name == "" {
		return nil
	}
	if endsInDot(name) {
		return pathError("RemoveAll", r.prefix+name, syscall.EINVAL)
	}
	s, err := r.spot("RemoveAll", name)
	if err != nil {
		return ifExists(err)
	}
	if s.dot {
		return pathError("RemoveAll", r.prefix+name, syscall.EINVAL)
	}
	return r.fail("unlinkat", name, s.rel, r.disk.removeAll(s.rel))
}

// endsInDot is what os.RemoveAll asks before it looks at anything.
func endsInDot(name string) bool { return name == "." || strings.HasSuffix(name, "/.") }

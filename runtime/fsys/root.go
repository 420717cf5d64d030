package fsys

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/afero"
)

// A Root is a folder of the machine as an afero.Fs that can't be left. It
// follows no symbolic link below that folder, in any part of a name and at any
// moment: such an operation fails with a *RefusedError, and so does Stat of a link.
// Lstat, Readlink, Remove, Rename, Symlink and Chown act on the link itself.
//
// A file with further names (a hard link) may be read, renamed and removed;
// opening it for writing, Chmod and Chown are refused. Opening never waits for the
// other end of a pipe.
//
// A Root is safe for concurrent use, but for Close.
type Root struct {
	dir    string // absolute
	prefix string // of a Root made by at: what to put before names in errors
	disk   disk
}

var (
	_ afero.Fs        = (*Root)(nil)
	_ afero.Symlinker = (*Root)(nil)
	_ Lchowner        = (*Root)(nil)
	_ Syncer          = (*Root)(nil)
)

// OpenRoot opens an existing folder. Links on the way to it are followed, once, and
// on Linux only those that nobody but root and whoever runs this could have made;
// renaming it later does not change what the Root is.
func OpenRoot(dir string) (*Root, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	d, err := openDisk(abs)
	if err != nil {
		return nil, pathError("open", dir, err)
	}
	return &Root{dir: abs, disk: d}, nil
}

// Close releases the folder. It must not run while an operation does.
func (r *Root) Close() error { return pathError("close", r.dir, r.disk.close()) }

// Dir returns the absolute path of the folder.
func (r *Root) Dir() string { return r.dir }

// Name returns "Root".
func (r *Root) Name() string { return "Root" }

// locate reads a name for an operation on what exists.
func (r *Root) locate(op, name string) (string, error) {
	s, err := r.spot(op, name)
	if err != nil {
		return "", err
	}
	if s.slash {
		err = r.mustBeDir(op, name, s.rel)
	}
	return s.rel, err
}

// spot reads a name, and makes sure that what a ".." leaves is there.
func (r *Root) spot(op, name string) (spot, error) {
	s, err := parse(op, name)
	if err != nil {
		return s, err
	}
	for _, via := range s.via {
		if err := r.mustBeDir(op, name, via); err != nil {
			return s, err
		}
	}
	return s, nil
}

// mustBeDir is what a slash at the end of a name asks for.
func (r *Root) mustBeDir(op, name, rel string) error {
	_, err := r.spotted(spot{rel: rel, slash: true})
	return r.fail(op, name, rel, err)
}

// fail gives err the form in which Root returns it.
func (r *Root) fail(op, name, rel string, err error) error {
	if err == nil {
		return nil
	}
	if refused := r.refusal(op, name, rel, err); refused != nil {
		return refused
	}
	return pathError(op, r.prefix+name, err)
}

// refusal turns ELOOP, errShared and errReplaced into a *RefusedError; else it is nil.
func (r *Root) refusal(op, name, rel string, err error) error {
	if err == errShared || err == errReplaced {
		return &RefusedError{Op: op, Path: r.prefix + name, Reason: err.Error()}
	}
	if err != syscall.ELOOP {
		return nil
	}
	if link := r.findLink(rel); link != "" {
		return &RefusedError{Op: op, Path: r.prefix + name, Link: r.prefix + link}
	}
	return &RefusedError{Op: op, Path: r.prefix + name, Reason: "a symbolic link was in the way"}
}

// findLink returns the first part of rel that is a link, for the message.
func (r *Root) findLink(rel string) string {
	for i := 1; i <= len(rel); i++ {
		if i < len(rel) && rel[i] != '/' {
			continue
		}
		if sig, err := r.disk.lstat(rel[:i]); err == nil && sig.isLink() {
			return rel[:i]
		}
	}
	return ""
}

// Stat describes a file or folder; it refuses a link.
func (r *Root) Stat(name string) (fs.FileInfo, error) {
	rel, err := r.locate("stat", name)
	if err != nil {
		return nil, err
	}
	sig, err := r.disk.lstat(rel)
	if err == nil && sig.isLink() {
		err = syscall.ELOOP
	}
	if err != nil {
		return nil, r.fail("stat", name, rel, err)
	}
	return &info{baseName(name), sig}, nil
}

// LstatIfPossible describes the object itself.
func (r *Root) LstatIfPossible(name string) (fs.FileInfo, bool, error) {
	rel, err := r.locate("lstat", name)
	if err != nil {
		return nil, true, err
	}
	sig, err := r.disk.lstat(rel)
	if err != nil {
		return nil, true, r.fail("lstat", name, rel, err)
	}
	return &info{baseName(name), sig}, true, nil
}

// ReadlinkIfPossible returns a link's text.
func (r *Root) ReadlinkIfPossible(name string) (string, error) {
	rel, err := r.locate("readlink", name)
	if err != nil {
		return "", err
	}
	target, err := r.disk.readlink(rel)
	return target, r.fail("readlink", name, rel, err)
}

// Chmod is os.Chmod; it refuses a link.
func (r *Root) Chmod(name string, mode fs.FileMode) error {
	rel, err := r.locate("chmod", name)
	if err == nil {
		err = r.fail("chmod", name, rel, r.disk.chmod(rel, unixMode(mode)&bits12))
	}
	return err
}

// Chown is os.Lchown.
func (r *Root) Chown(name string, uid, gid int) error { return r.LchownIfPossible(name, uid, gid) }

// LchownIfPossible is os.Lchown.
func (r *Root) LchownIfPossible(name string, uid, gid int) error {
	rel, err := r.locate("lchown", name)
	if err == nil {
		err = r.fail("lchown", name, rel, r.disk.chown(rel, uid, gid, false))
	}
	return err
}

// Chtimes is os.Chtimes: a zero time leaves things as they are. It refuses a link.
func (r *Root) Chtimes(name string, atime, mtime time.Time) error {
	rel, err := r.locate("chtimes", name)
	if err == nil {
		err = r.fail("chtimes", name, rel, r.disk.chtimes(rel, atime, mtime))
	}
	return err
}

// SyncFS is syncfs on Linux, sync on other Unixes, nothing on Windows.
func (r *Root) SyncFS() error { return pathError("sync", r.dir, r.disk.sync()) }

// at returns a Root of the folder that name is in, and the last part of name: for
// several operations in one folder. The caller closes it.
func (r *Root) at(op, name string) (*Root, string, error) {
	s, err := r.spot(op, name)
	if err != nil {
		return nil, "", err
	}
	folder, base := split(s.rel)
	d, err := r.disk.sub(folder)
	if err != nil {
		return nil, "", r.fail(op, name, folder, err)
	}
	sub := &Root{dir: filepath.Join(r.dir, filepath.FromSlash(folder)), prefix: r.prefix, disk: d}
	if folder != "." {
		sub.prefix += folder + "/"
	}
	if s.slash {
		base += "/"
	}
	return sub, base, nil
}

// baseName is what os calls an object of this name.
func baseName(name string) string {
	if plain(name) {
		_, base := split(name)
		return base
	}
	for len(name) > 1 && os.IsPathSeparator(name[len(name)-1]) {
		name = name[:len(name)-1]
	}
	if _, base := split(name); base != "" {
		return base
	}
	return name
}

package fsys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/afero"
	"golang.org/x/sys/unix"
)

// osFS is the real thing: package os with a folder put before every name, which is
// otherwise passed on as it is.
type osFS struct {
	afero.OsFs
	dir string
}

func (o osFS) at(name string) string {
	if name == "" {
		return ""
	}
	return o.dir + "/" + name
}

func file(f *os.File, err error) (afero.File, error) {
	if f == nil {
		return nil, err
	}
	return f, err
}

func (o osFS) Create(name string) (afero.File, error) { return file(os.Create(o.at(name))) }
func (o osFS) Open(name string) (afero.File, error)   { return file(os.Open(o.at(name))) }
func (o osFS) OpenFile(name string, flag int, perm fs.FileMode) (afero.File, error) {
	return file(os.OpenFile(o.at(name), flag, perm))
}
func (o osFS) Mkdir(name string, perm fs.FileMode) error    { return os.Mkdir(o.at(name), perm) }
func (o osFS) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(o.at(name), perm) }
func (o osFS) Remove(name string) error                     { return os.Remove(o.at(name)) }
func (o osFS) RemoveAll(name string) error                  { return os.RemoveAll(o.at(name)) }
func (o osFS) Rename(from, to string) error                 { return os.Rename(o.at(from), o.at(to)) }
func (o osFS) Stat(name string) (fs.FileInfo, error)        { return os.Stat(o.at(name)) }
func (o osFS) Chmod(name string, mode fs.FileMode) error    { return os.Chmod(o.at(name), mode) }
func (o osFS) Chown(name string, uid, gid int) error        { return os.Chown(o.at(name), uid, gid) }
func (o osFS) LchownIfPossible(name string, uid, gid int) error {
	return os.Lchown(o.at(name), uid, gid)
}
func (o osFS) Chtimes(name string, a, m time.Time) error      { return os.Chtimes(o.at(name), a, m) }
func (o osFS) SymlinkIfPossible(target, name string) error    { return os.Symlink(target, o.at(name)) }
func (o osFS) ReadlinkIfPossible(name string) (string, error) { return os.Readlink(o.at(name)) }
func (o osFS) LstatIfPossible(n string) (fs.FileInfo, bool, error) {
	fi, err := os.Lstat(o.at(n))
	return fi, true, err
}

// A recorder does things to a file system and notes what came of them, so that
// two file systems can be compared by their notes.
type recorder struct {
	t    *testing.T
	fs   afero.Fs
	out  []string
	must bool // in a preparation: everything has to work
}

func (r *recorder) note(err error, format string, args ...any) {
	r.t.Helper()
	if err != nil && r.must {
		r.t.Fatalf("preparation: %s: %v", fmt.Sprintf(format, args...), err)
	}
	r.out = append(r.out, fmt.Sprintf(format, args...)+": "+outcome(err))
}

// outcome is an error as the caller can tell it apart: type and number.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	if errors.Is(err, io.EOF) {
		return "EOF"
	}
	var refused *RefusedError
	if errors.As(err, &refused) {
		return "refused " + refused.Link + refused.Reason
	}
	kind := fmt.Sprintf("%T", err)
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		return kind + " " + unix.ErrnoName(errno)
	case errors.Is(err, os.ErrClosed), strings.HasSuffix(err.Error(), "use of closed file"):
		return kind + " closed"
	}
	text := err.Error()
	return kind + text[strings.LastIndex(text, ":")+1:]
}

func describe(fi fs.FileInfo) string {
	if fi == nil {
		return "-"
	}
	s := fmt.Sprintf("%s %v", fi.Name(), fi.Mode())
	if fi.Mode().IsRegular() {
		s += fmt.Sprintf(" %d bytes", fi.Size())
	}
	if uid, gid, ok := Owner(fi); !ok || uid != os.Geteuid() || gid != os.Getegid() {
		s += fmt.Sprintf(" of %d:%d", uid, gid)
	}
	return s
}

func (r *recorder) umask(mask int) {
	unix.Umask(mask)
	if o, ok := r.fs.(*Overlay); ok {
		o.SetUmask(uint32(mask))
	}
}

func (r *recorder) mkdir(name string, mode fs.FileMode) {
	r.t.Helper()
	r.note(r.fs.Mkdir(name, mode), "mkdir %.20s", name)
}
func (r *recorder) mkdirAll(name string, mode fs.FileMode) {
	r.t.Helper()
	r.note(r.fs.MkdirAll(name, mode), "mkdirAll %s", name)
}
func (r *recorder) symlink(target, name string) {
	r.t.Helper()
	r.note(r.fs.(afero.Linker).SymlinkIfPossible(target, name), "symlink %.20s", name)
}
func (r *recorder) rename(from, to string) {
	r.t.Helper()
	r.note(r.fs.Rename(from, to), "rename %s %.20s", from, to)
}
func (r *recorder) remove(name string) { r.t.Helper(); r.note(r.fs.Remove(name), "remove %s", name) }
func (r *recorder) removeAll(name string) {
	r.t.Helper()
	r.note(r.fs.RemoveAll(name), "removeAll %s", name)
}
func (r *recorder) chmod(name string, mode fs.FileMode) {
	r.t.Helper()
	r.note(r.fs.Chmod(name, mode), "chmod %s", name)
}
func (r *recorder) chown(name string, uid, gid int) {
	r.t.Helper()
	r.note(r.fs.Chown(name, uid, gid), "chown %s", name)
}
func (r *recorder) lchown(name string, uid, gid int) {
	r.t.Helper()
	r.note(Chown(r.fs, name, uid, gid), "lchown %s", name)
}
func (r *recorder) chtimes(name string, atime, mtime time.Time) {
	r.t.Helper()
	r.note(r.fs.Chtimes(name, atime, mtime), "chtimes %s", name)
}
func (r *recorder) mtime(name string) {
	fi, err := r.fs.Stat(name)
	if err != nil {
		r.note(err, "mtime %s", name)
		return
	}
	r.note(nil, "mtime %s %v", name, fi.ModTime().UnixNano())
}

func (r *recorder) stat(name string) {
	fi, err := r.fs.Stat(name)
	r.note(err, "stat %.20s = %s", name, describe(fi))
}
func (r *recorder) lstat(name string) {
	fi, err := Lstat(r.fs, name)
	r.note(err, "lstat %.20s = %s", name, describe(fi))
}
func (r *recorder) readlink(name string) {
	target, err := Readlink(r.fs, name)
	r.note(err, "readlink %s = %q", name, target)
}

// open opens and returns the file for more; nil if that failed.
func (r *recorder) open(name string, flag int, perm fs.FileMode) *openFile {
	r.t.Helper()
	f, err := r.fs.OpenFile(name, flag, perm)
	r.note(err, "open %.20s", name)
	if err != nil {
		return nil
	}
	return &openFile{r, f}
}

// put writes a whole file.
func (r *recorder) put(name, content string) {
	r.t.Helper()
	if f := r.open(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644); f != nil {
		f.write(content)
		f.close()
	}
}

// cat reads a whole file.
func (r *recorder) cat(name string) {
	data, err := afero.ReadFile(r.fs, name)
	r.note(err, "cat %s = %q", name, data)
}

func (r *recorder) ls(name string) {
	if f := r.open(name, os.O_RDONLY, 0); f != nil {
		f.names(-1)
		f.close()
	}
}

type openFile struct {
	r *recorder
	f afero.File
}

func (f *openFile) close() { f.r.note(f.f.Close(), "close") }
func (f *openFile) write(s string) {
	f.r.t.Helper()
	n, err := f.f.WriteString(s)
	f.r.note(err, "write %d", n)
}
func (f *openFile) writeAt(s string, off int64) {
	n, err := f.f.WriteAt([]byte(s), off)
	f.r.note(err, "writeAt %d", n)
}
func (f *openFile) read(n int) {
	buf := make([]byte, n)
	n, err := f.f.Read(buf)
	f.r.note(err, "read %q", buf[:n])
}
func (f *openFile) readAt(n int, off int64) {
	buf := make([]byte, n)
	n, err := f.f.ReadAt(buf, off)
	f.r.note(err, "readAt %q", buf[:n])
}
func (f *openFile) seek(off int64, whence int) {
	pos, err := f.f.Seek(off, whence)
	f.r.note(err, "seek = %d", pos)
}
func (f *openFile) truncate(size int64) { f.r.note(f.f.Truncate(size), "truncate %d", size) }
func (f *openFile) sync()               { f.r.note(f.f.Sync(), "sync") }
func (f *openFile) stat() {
	fi, err := f.f.Stat()
	f.r.note(err, "fstat = %s", describe(fi))
}
func (f *openFile) chmod(mode fs.FileMode) { f.r.note(f.f.(fileOwner).Chmod(mode), "fchmod") }
func (f *openFile) chown(uid, gid int)     { f.r.note(f.f.(fileOwner).Chown(uid, gid), "fchown") }

// names notes all names sorted, or else how many came: the order is the system's.
func (f *openFile) names(n int) {
	names, err := f.f.Readdirnames(n)
	sort.Strings(names)
	if n > 0 {
		f.r.note(err, "names(%d) = %d", n, len(names))
		return
	}
	f.r.note(err, "names = %q", names)
}
func (f *openFile) infos(n int) {
	infos, err := f.f.Readdir(n)
	sort.Slice(infos, func(i, j int) bool { return infos[i].Name() < infos[j].Name() })
	var all []string
	for _, fi := range infos {
		all = append(all, describe(fi))
	}
	if n > 0 {
		f.r.note(err, "infos(%d) = %d", n, len(infos))
		return
	}
	f.r.note(err, "infos = %q", all)
}

// dump lists everything with mode, owner and content.
func dump(t *testing.T, fsys afero.Fs) []string {
	t.Helper()
	var out []string
	var walk func(dir string)
	walk = func(dir string) {
		f, err := fsys.Open(dir)
		if err != nil {
			t.Fatalf("dump: %v", err)
		}
		names, err := f.Readdirnames(-1)
		f.Close()
		if err != nil {
			t.Fatalf("dump: %v", err)
		}
		sort.Strings(names)
		for _, name := range names {
			at := path.Join(dir, name)
			fi, err := Lstat(fsys, at)
			if err != nil {
				t.Fatalf("dump: %v", err)
			}
			line := at + " " + describe(fi)
			switch {
			case fi.IsDir():
				out = append(out, line)
				walk(at)
				continue
			case fi.Mode()&fs.ModeSymlink != 0:
				target, err := Readlink(fsys, at)
				line += fmt.Sprintf(" -> %s %v", target, err)
			case fi.Mode().IsRegular() && Unix(fi)&0o400 != 0: // others only root can read
				data, err := ReadRegular(fsys, at, 1<<20)
				line += fmt.Sprintf(" %q %v", data, err)
			}
			out = append(out, line)
		}
	}
	walk(".")
	return out
}

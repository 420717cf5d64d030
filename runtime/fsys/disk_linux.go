package fsys

import (
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// contained is how every path is resolved: by the kernel, below the root, through
// no link of any sort.
const contained = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// An fdDisk is a folder held open by its descriptor. Handles of the folders below
// it are opened for one operation and not kept: openat2 costs less than a
// microsecond, and a kept handle would go on writing into a folder that has been
// moved out of the root meanwhile.
type fdDisk struct {
	fd    int
	probe sync.Once // for vouches
	fine  bool
}

// openDisk opens the top folder, to which links may lead that can be trusted.
func openDisk(dir string) (disk, error) {
	fd, err := reach(dir)
	if err != nil {
		return nil, err
	}
	d := &fdDisk{fd: fd}
	probe, err := d.openat2(".", unix.O_PATH, 0)
	if err == nil {
		unix.Close(probe)
		return d, nil
	}
	defer unix.Close(fd)
	// Kernels before 5.6, and sandboxes that do not know the call.
	if err == unix.ENOSYS || err == unix.EPERM {
		return openRootDisk(procPath(fd))
	}
	return nil, err
}

func (d *fdDisk) close() error {
	fd := d.fd
	d.fd = -1
	return unix.Close(fd)
}

// openat2 returns a descriptor of rel.
func (d *fdDisk) openat2(rel string, flag int, perm uint32) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flag) | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: contained,
	}
	if flag&unix.O_CREAT != 0 {
		how.Mode = uint64(perm)
	}
	for {
		fd, err := unix.Openat2(d.fd, rel, &how)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// A place is an open folder and a name in it.
type place struct {
	fd   int
	base string
	own  bool
}

func (p place) close() {
	if p.own {
		unix.Close(p.fd)
	}
}

// place opens the folder that rel is in.
func (d *fdDisk) place(rel string) (place, error) {
	folder, base := split(rel)
	if folder == "." {
		return place{fd: d.fd, base: base}, nil
	}
	fd, err := d.folder(folder)
	if err != nil {
		return place{}, err
	}
	return place{fd: fd, base: base, own: true}, nil
}

// folder returns a descriptor of a folder, good for naming what is in it.
func (d *fdDisk) folder(rel string) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: contained}
	for {
		fd, err := unix.Openat2(d.fd, rel, &how)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// in calls fn with the folder that rel is in and its name there.
func (d *fdDisk) in(rel string, fn func(fd int, base string) error) error {
	p, err := d.place(rel)
	if err != nil {
		return err
	}
	defer p.close()
	for {
		if err := fn(p.fd, p.base); err != unix.EINTR {
			return err
		}
	}
}

// on calls fn with a descriptor that names the object itself, link or not, and
// what it is.
func (d *fdDisk) on(rel string, fn func(fd int, sig Sig) error) error {
	fd, err := d.openat2(rel, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	for {
		if err := fn(fd, sigOf(&st)); err != unix.EINTR {
			return err
		}
	}
}

func statAt(fd int, base string) (Sig, error) {
	var st unix.Stat_t
	for {
		switch err := unix.Fstatat(fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err {
		case nil:
			return sigOf(&st), nil
		case unix.EINTR:
		default:
			return Sig{}, err
		}
	}
}

func (d *fdDisk) lstat(rel string) (Sig, error) {
	if strings.IndexByte(rel, '/') < 0 {
		return statAt(d.fd, rel)
	}
	var sig Sig
	err := d.on(rel, func(_ int, s Sig) error { sig = s; return nil })
	return sig, err
}

// entries looks at every name from the folder's descriptor.
func (d *fdDisk) entries(f *os.File, n int) ([]fs.FileInfo, error) {
	names, err := f.Readdirnames(n)
	conn, connErr := f.SyscallConn()
	if connErr != nil {
		return nil, connErr
	}
	list := make([]fs.FileInfo, 0, len(names))
	ctl := conn.Control(func(fd uintptr) {
		for _, name := range names {
			switch sig, statErr := statAt(int(fd), name); {
			case statErr == nil:
				list = append(list, &info{name, sig})
			case statErr != unix.ENOENT && err == nil: // else it is gone since
				err = &fs.PathError{Op: "lstat", Path: f.Name() + "/" + name, Err: statErr}
			}
		}
	})
	if ctl != nil {
		err = ctl
	}
	return list, err
}

func (d *fdDisk) mkdir(rel string, perm uint32) error {
	return d.in(rel, func(fd int, base string) error { return unix.Mkdirat(fd, base, perm) })
}

func (d *fdDisk) symlink(target, rel string) error {
	return d.in(rel, func(fd int, base string) error { return unix.Symlinkat(target, fd, base) })
}

func (d *fdDisk) readlink(rel string) (string, error) {
	var target string
	err := d.in(rel, func(fd int, base string) error {
		for size := 256; ; size *= 2 {
			buf := make([]byte, size)
			n, err := unix.Readlinkat(fd, base, buf)
			if err != nil || n < size {
				target = string(buf[:max(n, 0)])
				return err
			}
		}
	})
	return target, err
}

func (d *fdDisk) rename(from, to string) error {
	src, err := d.place(from)
	if err != nil {
		return err
	}
	defer src.close()
	dst := place{fd: src.fd}
	folder, base := split(to)
	if old, _ := split(from); old == folder {
		dst.base = base
	} else if dst, err = d.place(to); err != nil {
		return err
	}
	defer dst.close()
	return renamePlace(src, dst)
}

// renamePlace is os.Rename: a folder is never replaced.
func renamePlace(src, dst place) error {
	if there, err := statAt(dst.fd, dst.base); err == nil && there.isDir() {
		here, err := statAt(src.fd, src.base)
		if err != nil {
			return err
		}
		if here.Ino != there.Ino || here.Dev != there.Dev {
			return unix.EEXIST
		}
	}
	for {
		if err := unix.Renameat(src.fd, src.base, dst.fd, dst.base); err != unix.EINTR {
			return err
		}
	}
}

func (d *fdDisk) chmod(rel string, mode uint32) error {
	return d.on(rel, func(fd int, sig Sig) error {
		if sig.isLink() {
			return unix.ELOOP
		}
		if sig.shared() {
			return errShared
		}
		err := unix.Fchmodat(fd, "", mode, unix.AT_EMPTY_PATH)
		if err == unix.EOPNOTSUPP || err == unix.ENOSYS { // before Linux 6.6
			return unix.Chmod(procPath(fd), mode)
		}
		return err
	})
}

func (d *fdDisk) chown(rel string, uid, gid int, linkOnly bool) error {
	return d.on(rel, func(fd int, sig Sig) error {
		if linkOnly && !sig.isLink() {
			return errReplaced
		}
		if sig.shared() {
			return errShared
		}
		return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH)
	})
}

func (d *fdDisk) chtimes(rel string, atime, mtime time.Time) error {
	ts := []unix.Timespec{timespec(atime), timespec(mtime)}
	return d.in(rel, func(fd int, base string) error {
		sig, err := statAt(fd, base)
		if err != nil {
			return err
		}
		if sig.isLink() {
			return unix.ELOOP
		}
		return unix.UtimesNanoAt(fd, base, ts, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// timespec is t for utimensat; the zero time leaves things as they are.
func timespec(t time.Time) unix.Timespec {
	if t.IsZero() {
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return unix.NsecToTimespec(t.UnixNano())
}

func (d *fdDisk) sub(rel string) (disk, error) {
	fd, err := d.folder(rel)
	if err != nil {
		return nil, err
	}
	return &fdDisk{fd: fd}, nil
}

// sync is syncfs of the file system that the top folder is on.
func (d *fdDisk) sync() error {
	fd, err := d.openat2(".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Syncfs(fd)
}

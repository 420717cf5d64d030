package fsys

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// open resolves and opens in one call, so there is no moment between the two.
// O_TRUNC is done by hand, after it is known what was opened.
func (d *fdDisk) open(name, rel string, flag int, perm uint32) (*os.File, error) {
	const fresh = unix.O_CREAT | unix.O_EXCL
	how := flag &^ unix.O_TRUNC
	if flag&fresh != fresh {
		how |= unix.O_NONBLOCK | unix.O_NOCTTY
	}
	fd, err := d.openat2(rel, how, perm)
	if err != nil {
		return nil, err
	}
	if flag&fresh != fresh && flag&(unix.O_ACCMODE|unix.O_TRUNC) != unix.O_RDONLY {
		if err := d.admit(fd, rel, flag); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// admit refuses an existing file that has further names, and then truncates if
// that was asked for.
func (d *fdDisk) admit(fd int, rel string, flag int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	sig := sigOf(&st)
	if sig.shared() {
		return errShared
	}
	switch {
	case flag&unix.O_TRUNC == 0:
		return nil
	case sig.isDir():
		return unix.EISDIR
	case !sig.isFile():
		return nil
	}
	if flag&unix.O_ACCMODE == unix.O_RDONLY {
		return d.truncate(rel, sig)
	}
	return unix.Ftruncate(fd, 0)
}

// truncate empties the file that is at rel if it is the one in sig: for
// O_RDONLY|O_TRUNC, which Linux allows.
func (d *fdDisk) truncate(rel string, sig Sig) error {
	fd, err := d.openat2(rel, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if now := sigOf(&st); now.Ino != sig.Ino || now.Dev != sig.Dev {
		return unix.ENOENT
	}
	return unix.Ftruncate(fd, 0)
}

// procPath names what a descriptor is open on.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func (d *fdDisk) remove(rel string) error {
	return d.in(rel, removeAt)
}

// removeAt is os.Remove.
func removeAt(fd int, base string) error {
	err := unix.Unlinkat(fd, base, 0)
	if err == nil || err == unix.EINTR {
		return err
	}
	if dirErr := unix.Unlinkat(fd, base, unix.AT_REMOVEDIR); dirErr != unix.ENOTDIR {
		return dirErr
	}
	return err
}

func (d *fdDisk) removeAll(rel string) error {
	err := d.in(rel, removeTree)
	if err == unix.ENOENT {
		return nil
	}
	return err
}

// removeTree removes a name and all below it, each folder by its descriptor.
func removeTree(fd int, base string) error {
	err := unix.Unlinkat(fd, base, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM && err != unix.EACCES {
		return err
	}
	inner := removeBelow(fd, base)
	if inner == unix.ENOTDIR {
		return err // a file that can't be removed
	}
	dirErr := unix.Unlinkat(fd, base, unix.AT_REMOVEDIR)
	switch {
	case dirErr == nil || dirErr == unix.ENOENT:
		return nil
	case inner != nil:
		return inner
	}
	return dirErr
}

// removeBelow empties a folder, going on after what can't be removed.
// It returns the first error.
func removeBelow(parent int, base string) error {
	var first error
	for {
		fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		folder := os.NewFile(uintptr(fd), base)
		names, _ := folder.Readdirnames(1024)
		removed := 0
		for _, name := range names {
			switch err := removeTree(fd, name); {
			case err == nil:
				removed++
			case first == nil:
				first = err
			}
		}
		folder.Close()
		if removed == 0 {
			return first
		}
	}
}

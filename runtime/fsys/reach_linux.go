package fsys

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// reach returns a descriptor of the folder dir, an absolute path. It follows a
// link only if nobody but root and whoever runs this could have put it there:
// else the user who owns the folder that the root is in would choose which
// folder it is, and root would write there.
func reach(dir string) (int, error) {
	fd, err := openTop()
	if err != nil {
		return -1, err
	}
	parts := strings.Split(dir, "/")
	for links := 0; len(parts) > 0; {
		part := parts[0]
		parts = parts[1:]
		if part == "" || part == "." {
			continue
		}
		next, target, err := enter(fd, part)
		if refused, ok := err.(*RefusedError); ok {
			refused.Path = dir
		}
		if err == nil && target != "" {
			if links++; links > maxLinks {
				err = unix.ELOOP
			}
			parts = append(strings.Split(target, "/"), parts...)
			if next = fd; target[0] == '/' && err == nil {
				next, err = openTop()
			}
		}
		if next != fd {
			unix.Close(fd)
		}
		if err != nil {
			if next == fd {
				unix.Close(fd)
			}
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

func openTop() (int, error) {
	return unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// enter opens the folder called part in the folder fd, or returns the text of the
// link that it is.
func enter(fd int, part string) (next int, target string, err error) {
	next, err = unix.Openat(fd, part, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", err
	}
	var st unix.Stat_t
	if err = unix.Fstat(next, &st); err == nil {
		switch sig := sigOf(&st); {
		case sig.isDir():
			return next, "", nil
		case !sig.isLink():
			err = unix.ENOTDIR
		default:
			if err = trusted(fd, part, sig); err == nil {
				target, err = (&fdDisk{fd: next}).readlink("")
			}
			if err == nil && target == "" {
				err = unix.ENOENT
			}
		}
	}
	unix.Close(next)
	return -1, target, err
}

// trusted refuses a link in the folder fd that others could have put there.
func trusted(fd int, name string, link Sig) error {
	me := os.Geteuid()
	if link.UID != 0 && link.UID != me {
		return &RefusedError{Op: "open", Reason: fmt.Sprintf(
			"%q is a symbolic link of user %d, who could have it lead anywhere", name, link.UID)}
	}
	if me != 0 {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	folder := sigOf(&st)
	open := folder.Mode&0o002 != 0 || folder.Mode&0o020 != 0 && folder.GID != 0
	if folder.UID != 0 || open && folder.Mode&bitSticky == 0 {
		return &RefusedError{Op: "open", Reason: fmt.Sprintf(
			"%q is a symbolic link in a folder that others than root can write", name)}
	}
	return nil
}

// OpenOS is os.OpenRoot, reached as [OpenRoot] reaches its folder.
func OpenOS(dir string) (*os.Root, error) {
	fd, err := reach(dir)
	if err != nil {
		return nil, pathError("open", dir, err)
	}
	defer unix.Close(fd)
	return os.OpenRoot(procPath(fd))
}

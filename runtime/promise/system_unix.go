//go:build unix

package promise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// nonblock keeps open from waiting for the other end of a FIFO.
const nonblock = unix.O_NONBLOCK

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

func isSocket(info fs.FileInfo) bool { return info.Mode()&fs.ModeSocket != 0 }

func freeBytes(path string) (uint64, error) {
	var s unix.Statfs_t
	for {
		err := unix.Statfs(path, &s)
		if err == nil {
			return uint64(s.Bavail) * uint64(s.Bsize), nil
		}
		if !errors.Is(err, unix.EINTR) {
			return 0, err
		}
	}
}

// maxSocketPath is what every system accepts as the address of a socket.
const maxSocketPath = 103

// shortPath returns a path that fits into the address of a socket, valid until
// release is called.
func shortPath(path string) (short string, release func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("%s is longer than the %d bytes that the address of a socket may have", path, maxSocketPath)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, missing(filepath.Dir(path), err)
	}
	short = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	return short, func() { dir.Close() }, nil
}

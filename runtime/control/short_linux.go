package control

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// throughFolder names a folder by a descriptor of it, which is short.
func throughFolder(dir string) (string, func(), error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), func() { _ = unix.Close(fd) }, nil
}

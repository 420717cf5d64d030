package promise

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/windows"
)

const nonblock = 0

func isRefused(err error) bool { return errors.Is(err, windows.WSAECONNREFUSED) }

// isSocket accepts anything: Windows does not tell sockets apart reliably.
func isSocket(info fs.FileInfo) bool { return !info.IsDir() }

func freeBytes(path string) (uint64, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	var free uint64
	err = windows.GetDiskFreeSpaceEx(name, &free, nil, nil)
	return free, err
}

func shortPath(path string) (short string, release func(), err error) {
	return path, func() {}, nil
}

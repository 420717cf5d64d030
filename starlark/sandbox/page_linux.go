package sandbox

import (
	"os"

	"golang.org/x/sys/unix"
)

func newPage() (*page, error) {
	fd, err := unix.MemfdCreate("instar-position", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "instar-position")
	if err := file.Truncate(pageSize); err != nil {
		file.Close()
		return nil, err
	}
	return &page{file: file}, nil
}

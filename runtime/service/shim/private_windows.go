package shim

import (
	"errors"
	"io/fs"
	"syscall"
)

// private says why a file is not one that only we could have written.
func private(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errors.New("it is not a file")
	}
	return nil
}

func setUmask(int) {}

func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// takeSignals are none that a process could get here.
var takeSignals = map[Take]syscall.Signal{Adopt: syscall.SIGINT, Reload: syscall.SIGHUP}

package command

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/windows"
)

const nonblock = 0

// detached gives the supervisor no console, so that closing ours does not end
// it.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.DETACHED_PROCESS}
}

// survive returns what receives the requests to end.
func survive() (asked <-chan os.Signal) {
	ask := make(chan os.Signal, 1)
	signal.Notify(ask, os.Interrupt)
	return ask
}

//go:build unix

package command

import (
	"os"
	"os/signal"
	"syscall"
)

// nonblock keeps open from waiting for the other end of a FIFO.
const nonblock = syscall.O_NONBLOCK

// detached puts the supervisor into a session of its own: neither Ctrl-C nor
// the end of the terminal reaches it.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// survive makes this process live on without its terminal and its parent. The
// signals are handled, not ignored, so that programs it starts have them as
// usual. asked receives the requests to end.
func survive() (asked <-chan os.Signal) {
	syscall.Umask(0o027)
	keepDescriptors()
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE) // never received: as good as ignored
	ask := make(chan os.Signal, 1)
	signal.Notify(ask, syscall.SIGINT, syscall.SIGTERM)
	return ask
}

//go:build unix

package sandbox

import (
	"os/signal"
	"syscall"
)

// ignoreSignals leaves to the parent those signals that come to a whole
// group of processes: it ends its child, and says why.
func ignoreSignals() { signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP) }

package sandbox

import (
	"os"
	"os/signal"
)

// ignoreSignals leaves Ctrl-C to the parent: it ends its child, and says
// why.
func ignoreSignals() { signal.Ignore(os.Interrupt) }

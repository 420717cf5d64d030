package process

import (
	"syscall"
	"time"
)

// Tree identifies a program and all that came from it. It may be stored, and
// used by a later process to end what a killed one left.
type Tree struct {
	PID   int    `json:"pid"`             // 0: only the mark counts
	Start uint64 `json:"start,omitempty"` // when the program started, in units of the system
	Boot  string `json:"boot,omitempty"`  // of the machine's run: another one has no such tree
	Mark  string `json:"mark,omitempty"`
}

// pause is how long one waits for the n-th time that processes go.
func pause(n int) time.Duration {
	return min(time.Millisecond<<min(n, 5), 25*time.Millisecond)
}

// killTime is how long killed processes get to go before they are given up:
// one in an uninterruptible call of the kernel can take for ever.
const killTime = 10 * time.Second

// kill is the signal that can't be ignored.
const kill = syscall.SIGKILL

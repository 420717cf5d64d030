package sandbox

import (
	"os"
	"syscall"
)

// executable returns the path of this binary: the very file that runs, even
// if another has been put in its place meanwhile.
func executable() (string, error) { return "/proc/self/exe", nil }

func peak(state *os.ProcessState) int64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return usage.Maxrss << 10
}

// endedBy returns the signal that ended a process, or 0.
func endedBy(state *os.ProcessState) syscall.Signal {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return status.Signal()
	}
	return 0
}

const (
	signalKill = syscall.SIGKILL
	signalCPU  = syscall.SIGXCPU
)

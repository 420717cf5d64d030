package sandbox

import (
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// executable returns the path of this binary: the very file that runs, even
// if another has been put in its place meanwhile.
func executable() (string, error) { return "/proc/self/exe", nil }

// closeInherited closes the files that this process got from its parent,
// apart from its own three and the page: a parent may itself have been
// started with files that are not closed on exec. Those of Go's runtime are.
func closeInherited() error {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || fd <= pageFD {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd) // it may not matter, and nothing else can be done
		}
	}
	return nil
}

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

// enlarge gives a pipe more room, so that both sides are woken less often. Where it
// cannot have that, it stays as it is.
func enlarge(pipe *os.File) {
	conn, err := pipe.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 1<<20)
	})
}

package process

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is one started program that was not waited for yet. With a pidfd,
// waiting costs a goroutine; without (before Linux 5.3), a thread.
type child struct {
	pid   int
	start uint64   // ticks since boot; 0 when not known
	pidfd *os.File // nil when the kernel has none
	// adopted is set when [Adopt] was in force at the start.
	adopted bool
}

// startChild forks and executes, in a new session.
func startChild(spec Spec, env []string, files [3]*os.File) (child, error) {
	resetSignals()
	closeInherited()
	argv, cred, err := spec.launch()
	if err != nil {
		return child{}, err
	}
	fd := -1
	attr := &syscall.ProcAttr{
		Dir: spec.Dir, Env: env,
		Sys: &syscall.SysProcAttr{Setsid: true, Credential: cred, PidFD: &fd},
	}
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	program := argv[0]
	if program == helperName || program == ownPath {
		program = selfProgram
	}
	c := child{adopted: adopting()}
	c.pid, err = forkExec(program, argv, attr, &fd)
	runtime.KeepAlive(files)
	if err != nil {
		return child{}, err
	}
	if fd >= 0 {
		unix.SetNonblock(fd, true) // so that os polls it
		c.pidfd = os.NewFile(uintptr(fd), "pidfd")
	}
	if e, err := readEntry(c.pid); err == nil {
		c.start = e.start
	}
	return c, nil
}

// forkExec retries while the program is "busy": another goroutine's fork holds
// the descriptor through which this process has just written it.
func forkExec(program string, argv []string, attr *syscall.ProcAttr, pidfd *int) (int, error) {
	for wait := time.Millisecond; ; wait *= 2 {
		*pidfd = -1
		pid, err := forkOwned(program, argv, attr)
		if !errors.Is(err, syscall.ETXTBSY) || wait > 100*time.Millisecond {
			return pid, err
		}
		time.Sleep(wait)
	}
}

func forkOwned(program string, argv []string, attr *syscall.ProcAttr) (int, error) {
	owned.forking.RLock()
	defer owned.forking.RUnlock()
	pid, err := syscall.ForkExec(program, argv, attr)
	if err == nil {
		owned.add(pid)
	}
	return pid, err
}

func (c child) tree(mark string) Tree {
	return Tree{PID: c.pid, Start: c.start, Boot: bootID(), Mark: mark}
}

// await returns when the program has ended, without reaping it.
func (c child) await() {
	if c.pidfd != nil {
		conn, err := c.pidfd.SyscallConn()
		if err == nil {
			err = conn.Read(func(fd uintptr) bool { return ended(unix.P_PIDFD, int(fd), unix.WNOHANG) })
		}
		if err == nil {
			return
		}
	}
	ended(unix.P_PID, c.pid, 0)
}

// ended reports whether the child has ended; without WNOHANG it waits for it.
func ended(kind, id, flag int) bool {
	for {
		var info unix.Siginfo
		err := unix.Waitid(kind, id, &info, unix.WEXITED|unix.WNOWAIT|flag, nil)
		if err == nil {
			return info.Signo != 0
		}
		if err != unix.EINTR {
			return true // not ours to wait for any more
		}
	}
}

// reap removes the zombie and returns how the program ended.
func (c child) reap() Exit {
	var status syscall.WaitStatus
	var err error
	for {
		_, err = syscall.Wait4(c.pid, &status, 0, nil)
		if err != syscall.EINTR {
			break
		}
	}
	owned.remove(c.pid)
	if c.pidfd != nil {
		c.pidfd.Close()
	}
	exit := Exit{Code: status.ExitStatus(), Core: status.CoreDump(), At: time.Now()}
	if status.Signaled() {
		exit.Signal = SignalName(status.Signal())
	}
	if err != nil {
		exit.Code = -1
	}
	return exit
}

// signal is called while the program is not reaped, so its PID is its own.
func (c child) signal(sig syscall.Signal) error { return syscall.Kill(c.pid, sig) }

// signalGroup signals all of the program's process group; called as signal.
func (c child) signalGroup(sig syscall.Signal) error { return syscall.Kill(-c.pid, sig) }

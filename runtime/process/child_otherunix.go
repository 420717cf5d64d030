//go:build unix && !linux

package process

import (
	"os"
	"syscall"
	"time"
)

// child is one started program that was not waited for yet.
type child struct {
	process *os.Process
	exit    *Exit // set by await
}

// startChild forks and executes, in a new session.
func startChild(spec Spec, env []string, files [3]*os.File) (child, error) {
	resetSignals()
	closeInherited()
	argv, cred, err := spec.launch()
	if err != nil {
		return child{}, err
	}
	program := argv[0]
	if program == helperName {
		program = selfProgram
	}
	p, err := os.StartProcess(program, argv, &os.ProcAttr{
		Dir: spec.Dir, Env: env, Files: files[:],
		Sys: &syscall.SysProcAttr{Setsid: true, Credential: cred},
	})
	return child{p, &Exit{Code: -1}}, err
}

func (c child) tree(mark string) Tree {
	t, err := Of(c.process.Pid)
	if err != nil {
		t = Tree{PID: c.process.Pid}
	}
	t.Mark = mark
	return t
}

// await waits for the program and reaps it.
func (c child) await() {
	state, err := c.process.Wait()
	c.exit.At = time.Now()
	if err != nil {
		return
	}
	c.exit.Code = state.ExitCode()
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		c.exit.Signal, c.exit.Core = SignalName(status.Signal()), status.CoreDump()
	}
}

func (c child) reap() Exit { return *c.exit }

func (c child) signal(sig syscall.Signal) error { return c.process.Signal(sig) }

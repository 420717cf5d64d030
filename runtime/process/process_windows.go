package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// ParseSignal knows the names that have a meaning here: KILL ends the job, all
// others become a Ctrl-Break.
func ParseSignal(name string) (syscall.Signal, error) {
	for sig, n := range signalNames {
		if strings.TrimPrefix(strings.ToUpper(name), "SIG") == n {
			return sig, nil
		}
	}
	return 0, fmt.Errorf("unknown signal %q", name)
}

// SignalName returns the name of sig without "SIG": "TERM".
func SignalName(sig syscall.Signal) string {
	if n, ok := signalNames[sig]; ok {
		return n
	}
	return fmt.Sprint(int(sig))
}

var signalNames = map[syscall.Signal]string{
	syscall.SIGHUP: "HUP", syscall.SIGINT: "INT", syscall.SIGQUIT: "QUIT",
	syscall.SIGKILL: "KILL", syscall.SIGTERM: "TERM",
}

// Helper does nothing here: limits are refused.
func Helper() {}

func (s Spec) checkPlatform() error {
	switch {
	case !filepath.IsAbs(s.Argv[0]):
		return errors.New("the program is not an absolute path")
	case s.NoFile > 0 || s.NProc > 0:
		return fmt.Errorf("limits of files and processes: %w", errors.ErrUnsupported)
	case s.Identity.UID >= 0:
		return fmt.Errorf("another user: %w", errors.ErrUnsupported)
	}
	return nil
}

func diagnose(_ Spec, err error) error { return err }

// child is one started program, in a job object of its own that ends with us.
type child struct {
	process *os.Process
	job     windows.Handle
	exit    *Exit
}

// startChild starts the program and puts it into its job. What it starts in
// the instant between is not part of the job.
func startChild(spec Spec, env []string, files [3]*os.File) (child, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return child{}, fmt.Errorf("cannot make a job object: %w", err)
	}
	info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	if _, err := windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info))); err != nil {
		windows.CloseHandle(job)
		return child{}, fmt.Errorf("cannot configure a job object: %w", err)
	}
	p, err := os.StartProcess(spec.Argv[0], spec.Argv, &os.ProcAttr{
		Dir: spec.Dir, Env: env, Files: files[:],
		Sys: &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP},
	})
	if err != nil {
		windows.CloseHandle(job)
		return child{}, err
	}
	c := child{process: p, job: job, exit: &Exit{Code: -1}}
	runtime.AddCleanup(c.exit, func(h windows.Handle) { windows.CloseHandle(h) }, job)
	var assigned error
	err = p.WithHandle(func(h uintptr) { assigned = windows.AssignProcessToJobObject(job, windows.Handle(h)) })
	if err = errors.Join(err, assigned); err != nil {
		p.Kill()
		p.Wait()
		return child{}, fmt.Errorf("cannot put it into a job object: %w", err)
	}
	return c, nil
}

func (c child) tree(mark string) Tree {
	t, err := Of(c.process.Pid)
	if err != nil {
		t = Tree{PID: c.process.Pid}
	}
	t.Mark = mark
	return t
}

func (c child) await() {
	state, err := c.process.Wait()
	c.exit.At = time.Now()
	if err == nil {
		c.exit.Code = state.ExitCode()
	}
}

func (c child) reap() Exit { return *c.exit }

func (c child) signal(sig syscall.Signal) error {
	if sig == kill {
		return c.process.Kill()
	}
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(c.process.Pid))
}

func (p *Process) end(ctx context.Context, sig syscall.Signal, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	if sig != kill && p.Signal(sig) == nil {
		select {
		case <-p.exited:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if err := windows.TerminateJobObject(p.child.job, 1); err != nil {
		return fmt.Errorf("cannot end the job of process %d: %w", p.tree.PID, err)
	}
	<-p.exited
	return nil
}

// End can't find a tree of another process; its job ended with it.
func (t Tree) End(context.Context, syscall.Signal, time.Duration) error { return nil }

// Leftovers finds nothing: a job ends with the process that made it.
func Leftovers(context.Context, string, syscall.Signal, time.Duration) (int, error) { return 0, nil }

// Marked finds nothing, as Leftovers.
func Marked(base, kind string) (map[string]bool, error) { return nil, nil }

// Memory is not known here.
func Memory([]Tree) ([]int64, error) { return nil, errors.ErrUnsupported }

// Adopt does nothing here.
func Adopt() (release func(), err error) { return func() {}, nil }

// Strays finds nothing here.
func Strays() int { return 0 }

// Alone is never sure here.
func (p *Process) Alone() bool { return false }

// readThere is for pipes with deadlines, which are none here.
func readThere(*os.File, []byte) int { return 0 }

// Package sandbox runs a function in a child process of the same binary,
// within hard bounds of time and memory.
//
// A program starts with Main, which takes over when the process is such a
// child, and gives it its Handlers by name. Run, in the parent, starts a
// child for one request. The child streams frames back while it works, can
// ask the parent and wait for the answer, and notes its position in a page
// that outlives it. However it ends, Run returns: when it runs out of time
// or memory, crashes or talks nonsense, the error is an *interp.Error with
// the position it had reached.
//
// The child has an empty environment, no open files but its pipes, and ends
// when its parent does. On Linux the kernel refuses it memory above the
// limit (RLIMIT_DATA), which ends a Go process. Elsewhere it watches its own
// heap and exits, a softer bound.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"instar/starlark/interp"
)

// Defaults of Limits.
const (
	DefaultTime   = 10 * time.Second
	DefaultMemory = 512 << 20
)

// MinMemory is the least memory that a child can be limited to: Go's runtime
// needs most of it before any work begins.
const MinMemory = 96 << 20

// Margin is how far a child's resident memory may exceed its memory limit:
// what the kernel does not count as data, mostly the binary's own pages.
const Margin = 48 << 20

// MaxFrame is the most bytes in one frame, request or answer.
const MaxFrame = 64 << 20

// Limits bound one run.
type Limits struct {
	Time   time.Duration // wall clock from start to end; 0 means DefaultTime
	Memory int64         // bytes of data of the child; 0 means DefaultMemory
}

// OnFrame receives a frame in the parent. The data is its own. For a frame
// of Child.Call, reply or err is the answer. For one of Child.Send the reply
// is ignored, and an error ends the run.
type OnFrame func(kind byte, data []byte) (reply []byte, err error)

// Usage is what a child used.
type Usage struct {
	Peak int64         // resident bytes at most; 0 where the system does not tell
	CPU  time.Duration // processor time, user and system
}

// withDefaults returns the limits to apply.
func (l Limits) withDefaults() (Limits, error) {
	if l.Time == 0 {
		l.Time = DefaultTime
	}
	if l.Memory == 0 {
		l.Memory = DefaultMemory
	}
	if l.Time < 0 {
		return l, fmt.Errorf("the time limit is negative: %v", l.Time)
	}
	if l.Memory < MinMemory {
		return l, fmt.Errorf("the memory limit is %d bytes, at least %d are needed", l.Memory, int64(MinMemory))
	}
	return l, nil
}

// output returns how many bytes a child may send in all: the parent keeps
// them, and the limit on memory is to protect it too.
func (l Limits) output() int64 { return l.Memory / 4 }

// Run runs the handler called kind in a child, with the request, and calls
// onFrame in the caller's goroutine for what it sends. It returns when the
// child has ended.
//
// The error is nil, or what onFrame returned, or an *interp.Error: the
// handler's own; or one that a limit was reached, that ctx ended (it wraps
// ctx.Err()), or that the child crashed. Errors lose what they wrap on their
// way out of the child.
func Run(ctx context.Context, l Limits, kind string, request []byte, onFrame OnFrame) error {
	_, err := Measure(ctx, l, kind, request, onFrame)
	return err
}

// Measure is Run, and tells what the child used.
func Measure(ctx context.Context, l Limits, kind string, request []byte, onFrame OnFrame) (Usage, error) {
	l, err := l.withDefaults()
	if err != nil {
		return Usage{}, err
	}
	if err := ctx.Err(); err != nil {
		return Usage{}, interp.Cancelled(err, interp.Position{})
	}
	p, err := start(l, kind)
	if err != nil {
		return Usage{}, fmt.Errorf("cannot start the evaluation process: %w", err)
	}
	defer p.page.close()
	expired := time.AfterFunc(l.Time, func() { p.kill(&p.expired) })
	defer expired.Stop()
	stop := context.AfterFunc(ctx, func() { p.kill(&p.cancelled) })
	defer stop()

	err = p.converse(request, onFrame)
	var death deathError
	dead := errors.As(err, &death)
	usage := p.end(!dead || death.garbage || death.output)
	if dead {
		err = p.died(ctx, death)
	}
	return usage, err
}

// A process is a child, seen from its parent.
type process struct {
	cmd    *exec.Cmd
	limits Limits
	page   *page
	stderr *head
	in     *os.File // to the child
	out    *os.File // from the child

	expired   atomic.Bool // killed by the time limit
	cancelled atomic.Bool // killed by the context
	killed    bool        // killed by end
}

// start starts a child.
func start(l Limits, kind string) (*process, error) {
	self, err := executable()
	if err != nil {
		return nil, err
	}
	page, err := newPage()
	if err != nil {
		return nil, err
	}
	p := &process{limits: l, page: page, stderr: &head{limit: 16 << 10}}
	childIn, in, err := os.Pipe()
	if err != nil {
		page.close()
		return nil, err
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		closeAll(childIn, in)
		page.close()
		return nil, err
	}
	p.in, p.out = in, out
	enlarge(out)
	p.cmd = &exec.Cmd{
		Path:   self,
		Args:   append([]string{os.Args[0], argument, kind}, l.arguments()...),
		Env:    environment(l),
		Stdin:  childIn,
		Stdout: childOut,
		Stderr: p.stderr,
	}
	page.attach(p.cmd)
	err = p.cmd.Start()
	closeAll(childIn, childOut)
	if err != nil {
		closeAll(in, out)
		page.close()
		return nil, err
	}
	return p, nil
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// arguments are the limits as the child's Main reads them.
func (l Limits) arguments() []string {
	return []string{
		strconv.FormatInt(l.Memory, 10),
		strconv.FormatInt(int64(l.Time/time.Second), 10),
	}
}

// environment is all that a child gets of it: settings of Go's runtime.
func environment(l Limits) []string {
	env := []string{
		"GOMAXPROCS=" + strconv.Itoa(min(2, runtime.NumCPU())),
		"GOMEMLIMIT=" + strconv.FormatInt(l.Memory/10*6, 10), // collect harder well before the end
		"GOGC=" + strconv.Itoa(l.collect()),
		"GOTRACEBACK=single",
		"GODEBUG=containermaxprocs=0,updatemaxprocs=0", // neither files nor a goroutine to watch cgroups
	}
	if root, ok := os.LookupEnv("SystemRoot"); ok && runtime.GOOS == "windows" {
		env = append(env, "SystemRoot="+root)
	}
	return env
}

// GOGC of a child: usually, and until its first collection where the limit is far.
const (
	usualCollect = 200
	lateCollect  = 1600
)

// collect returns the GOGC that a child begins with, see collectAsUsual. Go takes
// memory in pieces of 64 MiB, so a small limit is near from the beginning.
func (l Limits) collect() int {
	if l.Memory < 384<<20 {
		return usualCollect
	}
	return lateCollect
}

// kill ends the child and notes why, if nothing else had done so before.
func (p *process) kill(why *atomic.Bool) {
	why.Store(true)
	_ = p.cmd.Process.Kill() // it may have ended by itself
}

// end waits for the child, and returns what it used. A child whose work is
// over is killed; one that has closed its pipe is ending by itself, and how
// it does matters.
func (p *process) end(kill bool) Usage {
	if kill {
		p.killed = true
		_ = p.cmd.Process.Kill()
	}
	closeAll(p.in, p.out)
	_ = p.cmd.Wait() // its state is looked at instead
	state := p.cmd.ProcessState
	if state == nil {
		return Usage{}
	}
	return Usage{Peak: peak(state), CPU: state.UserTime() + state.SystemTime()}
}

// Package process starts programs for an instance and ends all that came from
// them.
//
// A [Process] is one started program: its own session, an exact environment,
// an identity, and a mark. A [Tree] is that program with everything it
// started, also what left its session, lost its parent or both; [Process.End]
// and [Tree.End] return when all of a tree is gone. A mark (see [Mark]) is a
// variable in the environment by which the tree is found again, by whoever
// looks for it: a later instar too, with [Leftovers].
//
// The invariant: no process is signalled unless it was proven, by a descriptor
// or by its start time, to be the one that was meant. A reused PID is safe.
//
// On Linux a tree is what carries the mark, what is in the session, what
// descends from either, and, once [Adopt] is in force, nothing is lost by the
// death of a parent. Elsewhere on Unix a tree is the process group; on Windows
// it is a job object, and signals other than KILL become a Ctrl-Break.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"instar/runtime/plan"
)

// Spec says what is started. The umask is inherited: instar sets its own to
// 027 when it starts.
type Spec struct {
	Argv     []string // absolute program first
	Env      []string // "K=V", the whole environment but for the mark; the last of a K counts
	Dir      string   // absolute
	Identity plan.Identity
	Mark     string // see [Mark]; "" for none
	Stdin    []byte // nil: /dev/null

	// Stdout and Stderr receive the output; nil discards it. An *os.File is
	// handed to the process itself. Equal writers share one pipe, and Write is
	// never called for it by two goroutines at once. A writer with a method
	// Flush() error has it called when the output has ended.
	Stdout, Stderr io.Writer

	// NoFile and NProc bound open files and the user's processes, 0 meaning
	// that they are inherited. They are set by a helper that needs [Helper]
	// to be called by main.
	NoFile, NProc int64
}

// Exit is how a program ended.
type Exit struct {
	Code   int    // -1 when a signal ended it
	Signal string // "KILL", or "" when it exited by itself
	Core   bool   // it dumped core
	At     time.Time
}

// Ok reports whether the program exited with status 0.
func (e Exit) Ok() bool { return e.Code == 0 }

// String returns "exit status 3" or "signal: KILL".
func (e Exit) String() string {
	switch {
	case e.Signal != "" && e.Core:
		return "signal: " + e.Signal + " (core dumped)"
	case e.Signal != "":
		return "signal: " + e.Signal
	default:
		return fmt.Sprintf("exit status %d", e.Code)
	}
}

// Process is a program that was started. Its methods may be called from
// several goroutines.
type Process struct {
	tree   Tree
	child  child
	out    *output
	exited chan struct{} // closed once exit is set

	mu     sync.Mutex // guards what follows, and signals against reaping
	reaped bool
	exit   Exit
}

// drainTime is how long Wait waits for output after the program has ended:
// what it started in the background may hold the pipe for ever.
const drainTime = 500 * time.Millisecond

// Start starts what spec says. The caller calls [Process.Wait] or, later or
// instead, [Process.Drain]: until then goroutines and descriptors are held.
// The error says in words what is wrong with the program, its interpreter or
// its folder, and wraps the system's.
func Start(spec Spec) (*Process, error) {
	if err := spec.check(); err != nil {
		return nil, fmt.Errorf("cannot start %q: %w", spec.program(), err)
	}
	out, err := openOutput(spec)
	if err != nil {
		return nil, fmt.Errorf("cannot start %q: %w", spec.program(), err)
	}
	env := lastOf(spec.Env)
	if spec.Mark != "" {
		env = append(append(make([]string, 0, len(env)+1), env...), MarkVariable+"="+spec.Mark)
	}
	child, err := startChild(spec, env, out.files())
	if err != nil {
		out.abort()
		return nil, fmt.Errorf("cannot start %q: %w", spec.program(), diagnose(spec, err))
	}
	p := &Process{child: child, out: out, exited: make(chan struct{})}
	p.tree = child.tree(spec.Mark)
	out.begin()
	go p.watch()
	return p, nil
}

// lastOf returns an environment in which nothing is set twice: what is set last
// counts, where a program would find the first.
func lastOf(env []string) []string {
	at := make(map[string]int, len(env))
	once := make([]string, 0, len(env))
	for _, pair := range env {
		name, _, _ := strings.Cut(pair, "=")
		if i, twice := at[name]; twice {
			once[i] = pair
			continue
		}
		at[name] = len(once)
		once = append(once, pair)
	}
	return once
}

// Run starts what spec says and waits for it. When ctx ends first, the whole
// tree is ended, with sig and, after grace, with KILL; the error is then
// ctx's. What the program leaves in the background is left alone otherwise.
func Run(ctx context.Context, spec Spec, sig syscall.Signal, grace time.Duration) (Exit, error) {
	if err := ctx.Err(); err != nil {
		return Exit{Code: -1}, err
	}
	p, err := Start(spec)
	if err != nil {
		return Exit{Code: -1}, err
	}
	select {
	case <-p.Done():
		return p.Wait(), nil
	case <-ctx.Done():
	}
	err = p.End(context.WithoutCancel(ctx), sig, grace)
	return p.Wait(), errors.Join(ctx.Err(), err)
}

func (s Spec) program() string {
	if len(s.Argv) == 0 {
		return ""
	}
	return s.Argv[0]
}

func (s Spec) check() error {
	if len(s.Argv) == 0 {
		return errors.New("no program is given")
	}
	for _, words := range [][]string{s.Argv, s.Env, {s.Dir}} {
		for _, w := range words {
			if strings.IndexByte(w, 0) >= 0 {
				return fmt.Errorf("%q contains a NUL byte", w)
			}
		}
	}
	return s.checkPlatform()
}

// watch notices the end of the program.
func (p *Process) watch() {
	p.child.await()
	p.mu.Lock()
	p.exit = p.child.reap()
	p.reaped = true
	p.mu.Unlock()
	p.out.closeInput()
	close(p.exited)
}

// PID returns the program's process number, also after its end.
func (p *Process) PID() int { return p.tree.PID }

// Tree returns what identifies the program and all it starts.
func (p *Process) Tree() Tree { return p.tree }

// Done is closed when the program itself has ended. Its output may still come.
func (p *Process) Done() <-chan struct{} { return p.exited }

// Exit returns how the program ended, once Done is closed.
func (p *Process) Exit() Exit {
	<-p.exited
	return p.exit
}

// Wait waits until the program has ended and its output has been written, but
// for the output not longer than half a second after the end.
func (p *Process) Wait() Exit {
	<-p.exited
	p.Drain(drainTime)
	return p.exit
}

// Drain waits, at most d, until all output has been written, then stops
// reading it. All goroutines of p but the one that waits for the program have
// ended when it returns.
func (p *Process) Drain(d time.Duration) { p.out.drain(d) }

// Signal sends sig to the program itself. It is an error when the program has
// ended.
func (p *Process) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return fmt.Errorf("cannot signal process %d: it has ended", p.tree.PID)
	}
	if err := p.child.signal(sig); err != nil {
		return fmt.Errorf("cannot signal process %d: %w", p.tree.PID, err)
	}
	return nil
}

// End ends the whole tree: sig first, KILL once timeout is over or ctx ends,
// and returns when nothing of it lives; a zombie does not live. An error names
// what can't be ended. It may be called when the program itself has ended.
func (p *Process) End(ctx context.Context, sig syscall.Signal, timeout time.Duration) error {
	return p.end(ctx, sig, timeout)
}

package sandbox

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"instar/starlark/interp"
)

// died finds out why a child ended without saying so itself.
func (p *process) died(ctx context.Context, death deathError) error {
	pos, _ := p.page.read()
	state := p.cmd.ProcessState
	stderr := p.stderr.String()
	signal := endedBy(state)
	switch {
	case p.cancelled.Load() && ctx.Err() != nil:
		return interp.Cancelled(ctx.Err(), pos)
	case p.expired.Load(), signal == signalCPU:
		return interp.TimeLimit(p.limits.Time.String(), pos)
	case death.output:
		e := interp.MemoryLimit(p.limits.Memory, pos)
		e.Msg += ": what was declared is larger than a quarter of it"
		return e
	case death.garbage:
		return p.crashed(pos, "sent something unintelligible", stderr)
	case strings.Contains(stderr, "goroutine stack exceeds"):
		e := interp.MemoryLimit(p.limits.Memory, pos)
		e.Msg += ": values or calls are nested too deeply"
		return e
	case state.ExitCode() == exitMemory, outOfMemory(stderr):
		return interp.MemoryLimit(p.limits.Memory, pos)
	case signal == signalKill && !p.killed:
		e := interp.MemoryLimit(p.limits.Memory, pos)
		e.Msg = "the evaluation process was killed, probably because the machine is out of memory"
		e.Hint = ""
		return e
	}
	return p.crashed(pos, "ended: "+state.String(), stderr)
}

// crashed is the error for what should not happen.
func (p *process) crashed(pos interp.Position, how, stderr string) error {
	return &interp.Error{
		Msg:    fmt.Sprintf("internal error: the evaluation process %s", how),
		Pos:    pos,
		Hint:   "this is a bug of instar; please report it",
		Detail: stderr,
	}
}

// outOfMemory reports whether these are the last words of a Go process that
// was refused memory. Some places in Go's runtime do not check, and fault
// instead; a fault in Go code would be a panic, which is told apart by its
// words.
func outOfMemory(stderr string) bool {
	for _, words := range []string{
		"out of memory", "cannot allocate memory", "cannot map pages", "failed to create new OS thread", "pthread_create failed", "errno=12", "SIGSEGV: segmentation violation\nPC=",
	} {
		if strings.Contains(stderr, words) {
			return true
		}
	}
	return false
}

// A head keeps the beginning of what is written to it.
type head struct {
	mu    sync.Mutex
	limit int
	data  []byte
}

func (h *head) Write(data []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.data = append(h.data, data[:min(len(data), h.limit-len(h.data))]...)
	return len(data), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.data)
}

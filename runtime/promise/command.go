package promise

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"instar/runtime/plan"
	"instar/runtime/process"
)

const (
	// tailBytes and tailLines bound what a failing command's message holds of
	// its output.
	tailBytes = 4 << 10
	tailLines = 6

	// killGrace is what a command gets between TERM and KILL at its timeout.
	killGrace = 2 * time.Second
)

func program(check plan.Check) string {
	if check.Exec == nil || len(check.Exec.Argv) == 0 {
		return "command"
	}
	return filepath.Base(check.Exec.Argv[0])
}

// outputError is a failure together with what the command said.
type outputError struct {
	reason error
	output string
}

func (e *outputError) Error() string { return withOutput(e.reason.Error(), e) }
func (e *outputError) Unwrap() error { return e.reason }

// withOutput adds to text what a command had said, if err knows.
func withOutput(text string, err error) string {
	var said *outputError
	if errors.As(err, &said) && said.output != "" {
		return text + ": " + said.output
	}
	return text
}

// command holds when the program exits with status 0. What it leaves running
// is ended with it.
func (c *Checker) command(ctx context.Context, p plan.Promise) error {
	exec := p.Check.Exec
	if exec == nil {
		return errors.New("the check names no command")
	}
	tail := c.Masker.Tail(tailBytes)
	proc, err := process.Start(process.Spec{
		Argv:     exec.Argv,
		Env:      slices.Concat(exec.Identity.Environ(), exec.Env),
		Dir:      exec.Dir,
		Identity: exec.Identity,
		Mark:     c.mark(p.Name),
		Stdout:   tail,
		Stderr:   tail,
	})
	if err != nil {
		return err
	}
	reason := finish(ctx, proc)
	tail.Close() // a Tail's Close can't fail
	if reason == nil {
		return nil
	}
	return &outputError{
		reason: fmt.Errorf("%s: %w", program(p.Check), reason),
		output: strings.TrimSpace(tail.Lines(tailLines)),
	}
}

// finish waits for the program and ends what is left of it.
func finish(ctx context.Context, proc *process.Process) error {
	select {
	case <-proc.Done():
		left := proc.End(context.WithoutCancel(ctx), syscall.SIGKILL, killGrace)
		if exit := proc.Wait(); !exit.Ok() {
			return errors.New(exit.String())
		}
		return left
	case <-ctx.Done():
		left := proc.End(context.WithoutCancel(ctx), syscall.SIGTERM, killGrace)
		proc.Wait()
		return errors.Join(ctx.Err(), left)
	}
}

func (c *Checker) mark(name string) string {
	if c.Mark == "" {
		return ""
	}
	return c.Mark + name
}

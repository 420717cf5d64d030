package shim

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"instar/runtime/service"
)

// Exit codes, as the Linux Standard Base has them for scripts.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	// of status
	exitDead    = 1 // it should run
	exitStopped = 3
	exitUnknown = 4
)

// verbs are what the script of a service asks for, beside serving.
var verbs = map[string]func(p Place, stderr io.Writer) int{
	"--start":   func(p Place, stderr io.Writer) int { return report(stderr, start(p)) },
	"--stop":    func(p Place, stderr io.Writer) int { return report(stderr, Stop(p)) },
	"--restart": func(p Place, stderr io.Writer) int { return report(stderr, restart(p)) },
	"--reload":  func(p Place, stderr io.Writer) int { return report(stderr, Tell(p, Reload)) },
	"--status":  func(p Place, _ io.Writer) int { return printStatus(p, os.Stdout) },
	"--service": func(p Place, stderr io.Writer) int {
		return AsService(func(ctx context.Context) error { return serveUntil(ctx, p) }, stderr)
	},
}

// Main does what the arguments of `instar supervise` ask for: to serve SPEC, or
// a verb and SPEC. Ok is false when they ask for something else.
func Main(args []string) (code int, ok bool) {
	switch {
	case len(args) == 1 && isSpec(args[0]):
		return report(os.Stderr, serveUntil(context.Background(), Of(args[0]))), true
	case len(args) == 2 && verbs[args[0]] != nil && isSpec(args[1]):
		return verbs[args[0]](Of(args[1]), os.Stderr), true
	}
	return exitUsage, false
}

// isSpec reports whether path is that of a place's file.
func isSpec(path string) bool {
	return filepath.IsAbs(path) && Of(path).SpecPath() == filepath.Clean(path)
}

func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "instar: %v\n", err)
	return exitFailed
}

// serveUntil serves until it is told to end, or ctx ends. Whatever goes wrong is no reason for
// the guard to try it again, unless the shim did not get as far as to say so.
func serveUntil(parent context.Context, p Place) error {
	frugal()
	ctx, takes, done, err := hear(parent, p)
	if err != nil {
		return err
	}
	defer done()
	err = Serve(ctx, p, takes)
	if ctx.Err() != nil {
		return nil // it was stopped
	}
	return err
}

func start(p Place) error {
	binary, err := self()
	if err != nil {
		return err
	}
	return Start(p, binary)
}

func restart(p Place) error {
	if err := Stop(p); err != nil {
		return err
	}
	return start(p)
}

// printStatus says how the service is, with the exit code of its state.
func printStatus(p Place, stdout io.Writer) int {
	s, err := p.Status()
	lost, coming := s.Lost(p)
	switch {
	case err != nil:
		fmt.Fprintf(stdout, "unknown: %v\n", err)
		return exitUnknown
	case lost && coming:
		fmt.Fprintln(stdout, "its supervisor was killed, and is started again")
		return exitDead
	case lost:
		fmt.Fprintln(stdout, "its supervisor was killed")
		return exitDead
	case !s.Serving() && !s.Final():
		fmt.Fprintln(stdout, "stopped")
		return exitStopped
	}
	text := string(s.State.Status)
	if s.State.PID != 0 {
		text += fmt.Sprintf(", process %d", s.State.PID)
	}
	if s.State.Restarts > 0 {
		text += fmt.Sprintf(", started again %d times", s.State.Restarts)
	}
	if s.State.Message != "" {
		text += ": " + s.State.Message
	}
	fmt.Fprintln(stdout, text)
	switch s.State.Status {
	case service.Failed, service.Restarting:
		return exitDead
	case service.Stopped:
		return exitStopped
	}
	return exitOK
}

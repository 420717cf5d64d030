// Command instar deploys software instances from Starlark profiles.
//
// A command ([verb]) is one line of the table in table.go and one file; it
// is given the invocation ([app]): where the state is, what the flags say, and
// the one place that prints ([ui]). What most commands need, an instance with
// its settings and the engine that converges it, is wired together in
// instance.go, over the real machine or over a pretence of it.
//
// The invariant: data goes to stdout, all else to stderr; with --json stdout
// carries exactly one JSON document, on failure too.
package main

//go:generate go test -run ^TestCommandLinePage$ . -args -update

import (
	"context"
	"os"
)

// version is set by the linker, see the Makefile.
var version string

func main() {
	hiddenModes()
	os.Exit(run(os.Args[1:]))
}

// run executes one command line and returns the exit code.
func run(args []string) int { return runUntil(context.Background(), args) }

// runUntil is run, told to end when parent does as by Ctrl-C.
func runUntil(parent context.Context, args []string) int {
	setUmask()
	ctx, stop := withSignals(parent)
	defer stop()
	a := newApp(args)
	err := a.execute(ctx, args)
	a.ui.finish(ctx)
	if err == nil {
		return exitOK
	}
	a.ui.failed(ctx, err)
	return exitCode(ctx, err)
}

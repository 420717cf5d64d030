package main

import (
	"os"

	"instar/runtime/command"
	"instar/runtime/process"
	"instar/starlark/eval"
)

// hiddenModes takes over when the process is one that instar started as a part
// of its own work: to set limits, to evaluate a profile, to run one command.
// They need nothing of what a command line needs.
func hiddenModes() {
	process.Helper()
	eval.Main()
	if len(os.Args) == 3 && os.Args[1] == "supervise" && os.Args[2] == "--once" {
		os.Exit(command.Supervise(os.Stdin, os.Stdout, os.Stderr))
	}
}

package main

import (
	"os"
	"slices"

	"instar/runtime/command"
	"instar/runtime/process"
	"instar/runtime/rotate"
	"instar/runtime/service/shim"
	"instar/starlark/eval"
)

// hiddenModes takes over when the process is one that instar started as a part
// of its own work: to set limits, to evaluate a profile, to run one command, to
// rotate logs, to stand between a service manager and a service.
// They need nothing of what a command line needs.
func hiddenModes() {
	process.Helper()
	eval.Main()
	if len(os.Args) == 3 && os.Args[1] == "supervise" && os.Args[2] == "--once" {
		os.Exit(command.Supervise(os.Stdin, os.Stdout, os.Stderr))
	}
	if len(os.Args) == 4 && slices.Equal(os.Args[1:], rotate.Arguments(os.Args[3])) {
		os.Exit(rotate.Main(os.Args[3], os.Stdout))
	}
	if len(os.Args) > 2 && os.Args[1] == "supervise" {
		if code, ok := shim.Main(os.Args[2:]); ok {
			os.Exit(code)
		}
		if code, ok := nodeScript(os.Args[2:]); ok {
			os.Exit(code)
		}
	}
}

// selfPath is this program, "" where that cannot be known.
var selfPath, _ = os.Executable()

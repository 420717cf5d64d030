package main

import (
	"context"

	"github.com/spf13/pflag"
)

// verb is one command of instar: a line of [commands] and a file.
type verb struct {
	name    string
	args    string // as shown behind the name: "PROFILE|NAME"
	summary string // one line
	doc     string // what else there is to say, in lines of at most 80 columns
	min     int    // arguments, at least
	max     int    // and at most
	flags   []func(*options, *pflag.FlagSet)
	run     func(a *app, ctx context.Context, args []string) error
	// complete names what completion offers for an argument: "target",
	// "instance", "profile", "topic", "shell", "node" or "".
	complete string
}

// commands returns every command, in the order of `instar help`.
func commands() []verb {
	return []verb{
		{"plan", "PROFILE|NAME", "show what apply would do", planDoc, 1, 1,
			flagSets{profileFlags, limitFlags, revealFlag, detailedFlag, outFlag}, (*app).plan, "target"},
		{"apply", "PROFILE|NAME|FILE", "converge an instance, or perform a saved plan", applyDoc, 1, 1,
			flagSets{profileFlags, limitFlags, revealFlag, applyFlags}, (*app).apply, "target"},
		{"up", "PROFILE|NAME", "apply, then supervise the services in the foreground until Ctrl-C", upDoc, 1, 1,
			flagSets{profileFlags, limitFlags, revealFlag}, (*app).up, "target"},
		{"status", "[NAME]", "instances, or one with its services, promises and published values", statusDoc, 0, 1,
			flagSets{revealFlag}, (*app).status, "instance"},
		{"logs", "NAME [SERVICE]", "what services and commands wrote", logsDoc, 1, 2,
			flagSets{followFlags}, (*app).logs, "instance"},
		{"start", "NAME [SERVICE]", "start an instance, or one of its services", startDoc, 1, 2,
			flagSets{limitFlags}, (*app).start, "instance"},
		{"stop", "NAME [SERVICE]", "stop an instance, or one of its services", stopDoc, 1, 2,
			flagSets{limitFlags}, (*app).stop, "instance"},
		{"restart", "NAME [SERVICE]", "restart an instance's services, or one of them", restartDoc, 1, 2,
			flagSets{limitFlags}, (*app).restart, "instance"},
		{"destroy", "NAME", "stop and remove an instance; what was made once stays", destroyDoc, 1, 1,
			flagSets{purgeFlag, retentionFlag}, (*app).destroy, "instance"},
		{"request", "PROFILE|NAME", "ask the node for an instance", requestDoc, 1, 1,
			flagSets{profileFlags, stateFlag}, (*app).ask, "target"},
		{"node", "run|status|install|uninstall", "the daemon that keeps all requested instances converged", nodeDoc, 1, 1,
			flagSets{listenFlags, limitFlags}, (*app).node, "node"},
		{"generations", "NAME [diff [A [B]]]", "what successful applies made, and how two of them differ", generationsDoc, 1, 4,
			nil, (*app).generations, "instance"},
		{"rollback", "NAME [N]", "return to a generation", rollbackDoc, 1, 2,
			flagSets{rollbackFlags, limitFlags, revealFlag}, (*app).rollback, "instance"},
		{"verify", "[NAME]", "read everything, and list what is not as it was applied", verifyDoc, 0, 1,
			flagSets{verifyFlags}, (*app).verify, "instance"},
		{"history", "NAME", "what was done with an instance, when and why", historyDoc, 1, 1,
			flagSets{historyFlags}, (*app).history, "instance"},
		{"bang", "NAME", "raise an alert: the instance is processed again", bangDoc, 1, 1,
			flagSets{bangFlag, limitFlags}, (*app).bang, "instance"},
		{"promise", "NAME", "check an instance's promises now", promiseDoc, 1, 1,
			nil, (*app).promise, "instance"},
		{"params", "PROFILE", "parameters of a profile: types, defaults, docs", paramsDoc, 1, 1,
			flagSets{limitFlags, schemaFlag}, (*app).params, "profile"},
		{"why", "NAME PATH", "which line of which profile made this", whyDoc, 2, 2,
			nil, (*app).why, "instance"},
		{"help", "[COMMAND|BUILTIN|TOPIC]", "explain a command, a builtin or a topic", helpDoc, 0, 1,
			nil, (*app).help, "topic"},
		{"completion", "bash|zsh|fish|powershell", "print a script that completes command lines", completionDoc, 1, 1,
			nil, (*app).completion, "shell"},
		{"version", "", "print the version", versionDoc, 0, 0,
			nil, (*app).version, ""},
	}
}

// flagSets are the groups of flags that a command takes.
type flagSets = []func(*options, *pflag.FlagSet)

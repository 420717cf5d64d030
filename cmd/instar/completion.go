package main

import (
	"bytes"
	"context"
	"slices"

	"github.com/spf13/cobra"
)

var shells = []string{"bash", "zsh", "fish", "powershell"}

const completionDoc = `For bash:   source <(instar completion bash)
For zsh:    instar completion zsh > "${fpath[1]}/_instar"
For fish:   instar completion fish > ~/.config/fish/completions/instar.fish

Names of instances, services and topics are completed, too.`

// completion prints the script by which a shell completes command lines: it asks
// this program, so names of instances are completed too.
func (a *app) completion(_ context.Context, args []string) error {
	root := a.cobra()
	var script bytes.Buffer
	var err error
	switch args[0] {
	case "bash":
		err = root.GenBashCompletionV2(&script, true)
	case "zsh":
		err = root.GenZshCompletion(&script)
	case "fish":
		err = root.GenFishCompletion(&script, true)
	case "powershell":
		err = root.GenPowerShellCompletionWithDesc(&script)
	default:
		return usagef("it is one of bash, zsh, fish, powershell", "no completion for shell %q", args[0])
	}
	if err != nil {
		return err
	}
	a.ui.print(script.String())
	return nil
}

// completer returns what completes the arguments of a command.
func (a *app) completer(c verb) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= c.max {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		switch c.complete {
		case "shell":
			return shells, cobra.ShellCompDirectiveNoFileComp
		case "node":
			return nodeVerbs, cobra.ShellCompDirectiveNoFileComp
		case "topic":
			return helpNames(), cobra.ShellCompDirectiveNoFileComp
		case "profile":
			return nil, cobra.ShellCompDirectiveDefault
		case "target":
			return a.completeInstances(), cobra.ShellCompDirectiveDefault
		case "instance":
			return a.completeArgument(c, args), cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) completeInstances() []string {
	if a.openHome() != nil {
		return nil
	}
	names, err := a.names()
	if err != nil {
		return nil
	}
	return names
}

// completeArgument completes NAME, then what belongs to that instance: its
// services, or for why its paths.
func (a *app) completeArgument(c verb, args []string) []string {
	if len(args) == 0 {
		return a.completeInstances()
	}
	if a.openHome() != nil {
		return nil
	}
	st, err := a.home.Instance(args[0]).Load()
	if err != nil {
		return nil
	}
	var names []string
	for name := range st.Services {
		names = append(names, name)
	}
	if c.name == "why" {
		for path := range st.Owned {
			names = append(names, path)
		}
	}
	slices.Sort(names)
	return names
}

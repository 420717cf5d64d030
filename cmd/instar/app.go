package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"instar/runtime/state"
)

// app is one invocation of instar.
type app struct {
	ui   *ui
	opts options
	home state.Home
}

// newApp returns the invocation for args, of which it only looks whether the
// output must be JSON: that must be known also when they are wrong.
func newApp(args []string) *app {
	a := &app{ui: newUI()}
	for _, arg := range args {
		if arg == "--" {
			break
		}
		if arg == "--json" || arg == "--json=true" {
			a.ui.json = true
		}
	}
	a.ui.setColor("auto")
	return a
}

// execute finds the command and runs it.
func (a *app) execute(ctx context.Context, args []string) error {
	root := a.cobra()
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// cobra builds the command line from the table.
func (a *app) cobra() *cobra.Command {
	root := &cobra.Command{
		Use:               "instar",
		Short:             "deploys software instances from Starlark profiles",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              cobra.ArbitraryArgs,
		RunE:              a.bare,
	}
	globalFlags(&a.opts, root.PersistentFlags())
	root.Flags().BoolVar(&a.opts.version, "version", false, "print the version")
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(func(c *cobra.Command, _ []string) {
		name := ""
		if c != root {
			name = c.Name()
		}
		_ = a.help(c.Context(), slices.DeleteFunc([]string{name}, func(s string) bool { return s == "" })) // the names are known
	})
	for _, c := range commands() {
		sub := &cobra.Command{
			Use:                   strings.TrimSpace(c.name + " " + c.args),
			Short:                 c.summary,
			DisableFlagsInUseLine: true,
			Args:                  c.checkArgs,
			ValidArgsFunction:     a.completer(c),
			RunE: func(sub *cobra.Command, args []string) error {
				if err := a.settle(sub.Flags()); err != nil {
					return err
				}
				return c.run(a, sub.Context(), args)
			},
		}
		sub.Flags().SortFlags = false
		for _, register := range c.flags {
			register(&a.opts, sub.Flags())
		}
		if c.name == "help" {
			root.SetHelpCommand(sub)
		}
		root.AddCommand(sub)
	}
	return root
}

// bare is what happens without a known command.
func (a *app) bare(c *cobra.Command, args []string) error {
	if err := a.settle(c.Flags()); err != nil {
		return err
	}
	if a.opts.version {
		return a.version(c.Context(), nil)
	}
	if len(args) > 0 {
		var names []string
		for _, known := range commands() {
			names = append(names, known.name)
		}
		hint := didYouMean(args[0], names)
		if hint == "" {
			hint = "instar help lists the commands"
		}
		return usagef(hint, "unknown command %q", args[0])
	}
	if a.ui.json {
		return usagef("instar help lists the commands", "no command given")
	}
	a.ui.log(overview())
	return exitWith(exitUsage)
}

// checkArgs refuses too few or too many arguments.
func (c verb) checkArgs(_ *cobra.Command, args []string) error {
	usage := "usage: instar " + strings.TrimSpace(c.name+" "+c.args)
	switch {
	case len(args) < c.min:
		return usagef(usage, "%s needs %s", c.name, strings.Join(strings.Fields(c.args)[len(args):c.min], " and "))
	case len(args) > c.max:
		return usagef(usage, "%s does not take %q", c.name, args[c.max])
	}
	return nil
}

// flagError explains what is wrong with a flag.
func flagError(c *cobra.Command, err error) error {
	hint := "see instar help " + c.Name()
	if !c.HasParent() {
		hint = "see instar help"
	}
	if name, ok := strings.CutPrefix(err.Error(), "unknown flag: --"); ok {
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		c.InheritedFlags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		if near := didYouMean("--"+name, names); near != "" {
			hint = near
		}
		return usagef(hint, "unknown flag --%s", name)
	}
	return usagef(hint, "%s", err.Error())
}

// settle takes over the global flags.
func (a *app) settle(flags *pflag.FlagSet) error {
	a.opts.global = flags
	if !slices.Contains([]string{"auto", "always", "never"}, a.opts.color) {
		return usagef("it is auto, always or never", "--color %q", a.opts.color)
	}
	a.ui.setColor(a.opts.color)
	a.ui.json, a.ui.quiet, a.ui.verbose = a.opts.json, a.opts.quiet, a.opts.verbose
	return nil
}

// openHome finds the state folder, which need not exist.
func (a *app) openHome() error {
	dir := a.opts.state
	if dir == "" {
		dir = os.Getenv("INSTAR_STATE_DIR")
	}
	if dir == "" {
		var err error
		if dir, err = defaultFolder("/var/lib/instar", "XDG_STATE_HOME", ".local/state"); err != nil {
			return hinted("name one with --state-dir", "cannot find a folder for the state: %w", err)
		}
	}
	dir, err := filepath.Abs(dir)
	a.home = state.Home(dir)
	return err
}

// defaultFolder returns the system's folder for root, and instar's below the
// variable, else below the user's home, for others.
func defaultFolder(system, variable, below string) (string, error) {
	if os.Geteuid() == 0 {
		return system, nil
	}
	if dir := os.Getenv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "instar"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("%s is not set, and %w", variable, err)
	}
	return filepath.Join(home, filepath.FromSlash(below), "instar"), nil
}

package main

import (
	"slices"
	"strings"

	"instar/runtime/service"
	"instar/runtime/state"
)

// managers are the values of --manager. Those built into this version come
// first.
var managers = []string{"none", "systemd", "openrc", "sysv", "launchd", "windows"}

// checkManager refuses a --manager that cannot be meant.
func checkManager(name string) error {
	switch {
	case name == "" || name == "none":
		return nil
	case slices.Contains(managers, name):
		return hinted("use `instar up`, which supervises services itself, or --manager none",
			"service manager %q is not built into this version", name)
	}
	hint := didYouMean(name, managers)
	if hint == "" {
		hint = "it is one of " + strings.Join(managers, ", ")
	}
	return usagef(hint, "unknown service manager %q", name)
}

// pickManager returns the manager of an instance's services; nil, with none
// asked for, leaves them alone.
func pickManager(s state.Settings) (service.Manager, error) {
	if err := checkManager(s.Manager); err != nil {
		return nil, err
	}
	if s.Manager == "none" {
		return nil, nil
	}
	return nil, hinted("`instar up` supervises the services itself, in the foreground; --manager none converges files and commands only",
		"no service manager of this machine can be used: %s", whyNoManager())
}

// whyNoManager says what stands in the way of a native manager.
func whyNoManager() string {
	if running := runningManager(); running != "none" {
		return running + " runs it, and is not built into this version"
	}
	return "none runs it"
}

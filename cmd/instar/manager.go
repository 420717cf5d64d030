package main

import (
	"errors"
	"os"
	"slices"
	"strings"

	"instar/runtime/service"
	"instar/runtime/service/native"
)

// managers are the values of --manager.
var managers = []string{"none", "systemd", "openrc", "sysv", "launchd", "windows"}

// checkManager refuses a --manager that cannot be meant.
func checkManager(name string) error {
	if name == "" || slices.Contains(managers, name) {
		return nil
	}
	hint := didYouMean(name, managers)
	if hint == "" {
		hint = "it is one of " + strings.Join(managers, ", ")
	}
	return usagef(hint, "unknown service manager %q", name)
}

// errNoManager says that nothing on this machine would run the services.
var errNoManager = errors.New("no service manager of this machine can be used")

// manager returns what runs the instance's services when no `up` does; nil, with
// none asked for, leaves them alone. Where nothing can run them the error is
// [errNoManager].
func (in *instance) manager() (service.Manager, error) {
	name := in.settings.Manager
	if err := checkManager(name); err != nil {
		return nil, err
	}
	running := native.Detect()
	const remedy = "`instar up` supervises the services itself, in the foreground; --manager none converges files and commands only"
	switch {
	case name == "none":
		return nil, nil
	case name == "" && running == "none":
		return nil, hinted(remedy, "%w: %s", errNoManager, whyNoManager(running))
	case name == "":
		name = running
	case name == "sysv" && running == "none":
		// Scripts work without an init that calls them, though nothing then
		// starts them at boot.
	case name != running:
		return nil, hinted(remedy, "%w: %s does not run it (%s)", errNoManager, name, whyNoManager(running))
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return native.New(name, native.Options{StateDir: string(in.home), Binary: self, User: !native.Elevated()})
}

// managerOrNone is manager where it does not matter that there is none.
func (in *instance) managerOrNone() (service.Manager, error) {
	m, err := in.manager()
	if errors.Is(err, errNoManager) {
		return nil, nil
	}
	return m, err
}

// isRoot reports whether instar runs with root's rights.
func isRoot() bool { return os.Geteuid() == 0 }

// whyNoManager says what stands in the way of a native manager.
func whyNoManager(running string) string {
	if running == "none" {
		return "none runs it"
	}
	return running + " runs it"
}

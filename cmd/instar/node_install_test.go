package main

import (
	"errors"
	"os"
	"strings"
	"testing"

	"instar/runtime/state"
)

// What `node install` was told is kept by the next one, until it is told else.
func TestNodeInstallKeepsListening(t *testing.T) {
	for _, was := range []listening{{}, {Address: "127.0.0.1:9477"}, {Address: "[::]:9477", TokenFile: "/etc/a \"b\" %c$d/token"}} {
		unit := nodeUnitText("/usr/bin/instar", "/var/lib/instar", "multi-user.target", was)
		for flag, want := range map[string]listening{"": was, "off": {}, "127.0.0.1:1": {Address: "127.0.0.1:1"}, "localhost:1": {Address: "127.0.0.1:1"}} {
			a := &app{opts: options{listen: flag}}
			if got, err := a.listens([]byte(unit)); err != nil || got != want {
				t.Errorf("%+v, then --listen %q: %+v, %v", was, flag, got, err)
			}
		}
	}
	unit := nodeUnitText("/usr/bin/instar", "/var/lib/instar", "multi-user.target", listening{"[::]:9477", `/etc/a "b" %c$d/token`})
	want := `ExecStart=/usr/bin/instar node run --state-dir "/var/lib/instar" --listen "[::]:9477" --listen-token-file "/etc/a \"b\" %%c$$d/token"` + "\n"
	if !strings.Contains(unit, want) {
		t.Errorf("the unit lacks %s:\n%s", want, unit)
	}
}

// A node that is not the service's is told from it, whatever an earlier one has
// left in the lock, and is nothing to install over.
func TestNodeInstallBesideAnother(t *testing.T) {
	defer asService.Store(false)
	a := &app{home: state.Home(t.TempDir())}
	for _, service := range []bool{false, true, false} {
		asService.Store(service)
		release, err := a.lockNode()
		if err != nil {
			t.Fatal(err)
		}
		if pid, command := nodeOf(string(a.home)); pid != os.Getpid() || command == service {
			t.Errorf("as a service %v: process %d, by its command %v", service, pid, command)
		}
		if service {
			release()
			continue // it would be installed
		}
		if err := a.nodeInstallScript(t.Context(), "openrc"); !errors.Is(err, state.ErrLocked) || exitCode(t.Context(), err) != exitLocked {
			t.Errorf("install: %v", err)
		}
		release()
		if pid, _ := nodeOf(string(a.home)); pid != 0 {
			t.Errorf("process %d is said to serve", pid)
		}
	}
}

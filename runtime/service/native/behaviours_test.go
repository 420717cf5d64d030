//go:build linux

package native

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"instar/runtime/service"
	"instar/runtime/service/shim"
)

// behaviours are what services do under every manager: see TestHostShared and
// TestInitShared.
var behaviours = []struct {
	name string
	test func(t *testing.T, h *host)
}{
	{"UnchangedIsUntouched", testUnchangedIsUntouched},
	{"KilledRunsAgainAtOnce", testKilledRunsAgainAtOnce},
	{"CrashLoop", testCrashLoop},
	{"RestartPolicy", testRestartPolicy},
	{"AskedForIsNoExit", testAskedForIsNoExit},
	{"Stubborn", testStubborn},
	{"Reload", testReload},
	{"OnlyWhatChangedRestarts", testOnlyWhatChangedRestarts},
	{"CrashBetweenWriteAndRestart", testCrashBetweenWriteAndRestart},
	{"Foreign", testForeign},
	{"NoSuchProgram", testNoSuchProgram},
	{"RoundTrip", testRoundTrip},
	{"Runs", testRuns},
	{"HeldByAFailingService", testHeldByAFailingService},
	{"InstancesAreApart", testInstancesAreApart},
	{"Batch", testBatch},
}

func TestHostShared(t *testing.T) {
	for _, b := range behaviours {
		t.Run(b.name, func(t *testing.T) { b.test(t, newHost(t)) })
	}
}

// another returns another instance on the same machine.
func (h *host) another(instance string) *host {
	h.Helper()
	if h.systemd != nil {
		return openHost(h.TB, instance)
	}
	other := *h
	other.instance = instance
	other.dir = filepath.Join(filepath.Dir(h.dir), instance)
	if err := os.MkdirAll(other.dir, 0o755); err != nil {
		h.Fatal(err)
	}
	return &other
}

// admin has the administrator do something, as it is usual there: "start",
// "stop", "restart" of a service, or "stop all" of its instance.
func (h *host) admin(verb, name string) {
	h.Helper()
	switch {
	case h.systemd != nil && verb == "stop all":
		h.must("systemctl", "stop", sliceName(h.instance))
	case h.systemd != nil:
		h.must("systemctl", verb, h.unit(name))
	case verb == "stop all":
		for other := range h.states() {
			h.admin("stop", other)
		}
	default:
		if out, err := h.script(verb, name); err != nil {
			h.Fatalf("%s %s: %v\n%s", verb, name, err, out)
		}
	}
}

// script calls the script of a service as an administrator does.
func (h *host) script(verb, name string) (string, error) {
	h.Helper()
	script := ScriptName(h.instance, name)
	if o, ok := h.init.init.(*openrc); ok {
		return h.command(o.rcService, "--nocolor", script, verb)
	}
	cmd := exec.Command(h.init.init.store().path(script), verb)
	cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// boots reports whether a service is started with the machine.
func (h *host) boots(name string) bool {
	h.Helper()
	if h.systemd != nil {
		return h.property(name, "UnitFileState") == "enabled"
	}
	script := ScriptName(h.instance, name)
	for level := range 4 {
		booted, err := h.init.init.booted(map[string]int{script: level})
		if err != nil {
			h.Fatal(err)
		}
		if booted[script] {
			return true
		}
	}
	return false
}

// definition is the unit or script of a service, and pending where the next one
// is written.
func (h *host) definition(name string) string {
	if h.systemd != nil {
		return h.systemd.unitPath(h.unit(name))
	}
	return h.init.init.store().path(ScriptName(h.instance, name))
}

func (h *host) pending(path string) string {
	if h.systemd != nil {
		return path + pendingSuffix
	}
	return pendingScript(path)
}

// told puts a definition in force without a restart, as an apply does that is
// killed before it.
func (h *host) told(next service.Spec, path string, data []byte) {
	h.Helper()
	if err := os.WriteFile(path, data, 0o640); err != nil {
		h.Fatal(err)
	}
	if h.systemd != nil {
		h.must("systemctl", "daemon-reload")
		return
	}
	place := shim.At(h.stateDir, next.Instance, next.Name)
	if _, err := place.Write(h.init.file(next)); err != nil {
		h.Fatal(err)
	}
	if err := shim.Tell(place, shim.Adopt); err != nil {
		h.Fatal(err)
	}
}

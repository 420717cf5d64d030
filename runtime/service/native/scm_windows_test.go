package native

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc/mgr"

	"instar/runtime/plan"
	"instar/runtime/process"
	"instar/runtime/service"
	"instar/runtime/service/shim"
)

// The tests of this file need Windows, or wine, and an administrator: make
// test-wine.

const lingerMode = "linger"

// TestMain makes this binary be the instar of its services, and the services.
func TestMain(m *testing.M) {
	process.Helper()
	if len(os.Args) > 2 && os.Args[1] == "supervise" {
		code, _ := shim.Main(os.Args[2:])
		os.Exit(code)
	}
	if len(os.Args) > 2 && os.Args[1] == lingerMode {
		f, err := os.OpenFile(os.Args[2], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			os.Exit(1)
		}
		fmt.Fprintf(f, "%d %s %q\n", os.Getpid(), os.Getenv("SECRET"), os.Args[3:])
		f.Close()
		time.Sleep(time.Hour)
	}
	os.Exit(m.Run())
}

func until(t *testing.T, what string, ok func() bool, seen func() any) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s; seen: %+v", what, seen())
		}
	}
}

func TestSCM(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "instar-scm-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // wine can't
	stateDir, said := filepath.Join(dir, "state"), filepath.Join(dir, "said")
	manager, err := New("windows", Options{StateDir: stateDir, Binary: binary})
	if err != nil {
		t.Skip(err)
	}
	m := manager.(*shimmed)
	instance := fmt.Sprintf("t%d", time.Now().UnixNano()%1e6)
	id := plan.Identity{User: "me", UID: -1, GID: -1, Home: dir}
	spec := func(name, digest string) service.Spec {
		return service.Spec{Instance: instance, Name: name, Argv: []string{binary, lingerMode, said, name, `a "b" c\`}, Dir: dir,
			Env: id.Environ(), PrivateEnv: []string{"SECRET=42"}, Identity: id, Restart: "always", StopSignal: "TERM", StopTimeout: 5 * time.Second, Digest: digest}
	}
	apply := func(changes ...service.Change) {
		t.Helper()
		if err := m.Apply(t.Context(), instance, changes); err != nil {
			t.Fatal(err)
		}
	}
	state := func(name string) service.State {
		t.Helper()
		states, err := m.Observe(t.Context(), instance)
		if err != nil {
			t.Fatal(err)
		}
		return states[name]
	}
	seen := func() any {
		places, _ := filepath.Glob(filepath.Join(stateDir, "shim", "*", "*", "status.json"))
		text := fmt.Sprintf("%+v", mustObserve(t, m, instance))
		for _, path := range places {
			data, _ := os.ReadFile(path)
			text += "\n" + string(data)
		}
		return text
	}
	t.Cleanup(func() {
		states, err := m.Observe(t.Context(), instance)
		if err != nil {
			t.Error(err)
		}
		for name := range states {
			_ = m.Apply(t.Context(), instance, []service.Change{{Op: service.Unload, Name: name}})
		}
	})

	// Started, as declared.
	a := spec("Web", "one")
	apply(service.Change{Op: service.Start, Name: "Web", Spec: a}, service.Change{Op: service.Start, Name: "other", Spec: spec("other", "one")})
	until(t, "both run", func() bool { return state("Web").Status == service.Running && state("other").Status == service.Running }, seen)
	lines := func() []string {
		data, _ := os.ReadFile(said)
		return strings.Split(strings.TrimSpace(string(data)), "\n")
	}
	until(t, "both say so", func() bool { return len(lines()) == 2 }, seen)
	if s := strings.Join(lines(), "\n"); !strings.Contains(s, `42 ["Web" "a \"b\" c\\"]`) {
		t.Errorf("started with %s", s)
	}
	first := state("Web")
	if first.Digest != "one" || first.Definition != a.Definition() || first.PID == 0 {
		t.Errorf("observed as %+v", first)
	}

	// The same again changes nothing.
	if changes := service.Reconcile([]service.Spec{a, spec("other", "one")}, mustObserve(t, m, instance), true); len(changes) != 0 {
		t.Errorf("changes although there are none: %+v", changes)
	}

	// Another digest restarts that one alone.
	undisturbed := state("other").PID
	apply(service.Change{Op: service.Restart, Name: "Web", Spec: spec("Web", "two")})
	until(t, "it runs again", func() bool {
		s := state("Web")
		return s.Status == service.Running && s.PID != first.PID && s.Digest == "two"
	}, seen)
	if state("other").PID != undisturbed {
		t.Error("another service was restarted")
	}

	// Killed, it is started again, and leaves a marker.
	pid := state("Web").PID
	kill(t, pid)
	until(t, "it is back", func() bool { s := state("Web"); return s.Status == service.Running && s.PID != pid && s.Restarts == 1 }, seen)
	until(t, "the marker of its exit", func() bool { _, err := os.Stat(markerPath(stateDir, instance, "Web")); return err == nil }, seen)

	// A definition edited by hand is drift.
	path := m.init.store().path(ScriptName(instance, "other"))
	if err := (scm{}).with(path, func(_ *mgr.Mgr, s *mgr.Service) error {
		config, err := configOf(s)
		if err == nil {
			config.display = "by hand"
			err = change(s, config.winService)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if changes := service.Reconcile([]service.Spec{spec("Web", "two"), spec("other", "one")}, mustObserve(t, m, instance), true); len(changes) != 1 || changes[0].Op != service.Update {
		t.Errorf("changes after an edit by hand: %+v", changes)
	}

	// Stopped, it is not started with the machine; unloaded, nothing is left.
	apply(service.Change{Op: service.Stop, Name: "Web"})
	if s := state("Web"); s.Status != service.Stopped {
		t.Errorf("stopped: %+v", s)
	}
	booted, err := m.init.booted(map[string]int{ScriptName(instance, "Web"): 0, ScriptName(instance, "other"): 0})
	if err != nil || booted[ScriptName(instance, "Web")] || !booted[ScriptName(instance, "other")] {
		t.Errorf("started with the machine: %v, %v", booted, err)
	}
	apply(service.Change{Op: service.Unload, Name: "Web"}, service.Change{Op: service.Unload, Name: "other"})
	if left, err := m.init.store().list(scriptPrefix(instance)); err != nil || len(left) != 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

func mustObserve(t *testing.T, m service.Manager, instance string) map[string]service.State {
	t.Helper()
	states, err := m.Observe(t.Context(), instance)
	if err != nil {
		t.Fatal(err)
	}
	return states
}

func kill(t *testing.T, pid int) {
	t.Helper()
	h, err := windows.OpenProcess(windows.PROCESS_TERMINATE, false, uint32(pid))
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(h)
	if err := windows.TerminateProcess(h, 1); err != nil {
		t.Fatal(err)
	}
}

// Windows takes a command line apart as winSplit does.
func TestWinQuoteForReal(t *testing.T) {
	for i := range 500 {
		args := append([]string{"prog"}, winArgs.Example(i)...)
		line := ""
		for _, arg := range args {
			line += " " + winQuote(arg)
		}
		got, err := windows.DecomposeCommandLine(line[1:])
		if err != nil || !slices.Equal(got, args) {
			t.Errorf("%s is taken apart as %q, want %q (%v)", line, got, args, err)
		}
	}
}

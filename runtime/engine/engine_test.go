package engine

import (
	"context"
	"errors"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/service"
	"instar/runtime/state"
)

func TestApplyIsIdempotent(t *testing.T) {
	w := newWorld(t)
	parts := []any{dir("etc"), file("etc/a", "one"), link("etc/l", "a"), program("alpha")}
	expect(t, w.converge(parts...), "mkdir etc", "write etc/a", "link etc/l", "start alpha")
	saves := w.store.Saves
	expect(t, w.converge(parts...))
	if w.store.Saves != saves {
		t.Errorf("an unchanged apply saved the state %d times", w.store.Saves-saves)
	}
	w.expectTree("etc/ 0750", "etc/a 0640 one", "etc/l -> a")
}

func TestDriftIsPutBack(t *testing.T) {
	w := newWorld(t)
	parts := []any{dir("etc"), file("etc/a", "one"), file("etc/b", "two"), link("etc/l", "a")}
	w.converge(parts...)
	w.put("etc/a", "edited")
	for _, name := range []string{"etc/b", "etc/l"} {
		if err := w.overlay.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := fsys.Chmod(w.overlay, "etc", 0o777); err != nil {
		t.Fatal(err)
	}
	expect(t, w.converge(parts...), "chmod etc", "write etc/a", "write etc/b", "link etc/l")
	w.expectTree("etc/ 0750", "etc/a 0640 one", "etc/b 0640 two", "etc/l -> a")
}

func TestUndeclaredGoes(t *testing.T) {
	w := newWorld(t)
	w.converge(dir("etc"), dir("etc/sub"), file("etc/sub/a", "one"), file("etc/b", "two"))
	expect(t, w.converge(dir("etc")), "remove etc/sub/a", "remove etc/sub", "remove etc/b")
	w.expectTree("etc/ 0750")
}

func TestHandChangedUndeclaredStays(t *testing.T) {
	w := newWorld(t)
	w.converge(dir("etc"), file("etc/a", "one"))
	w.put("etc/a", "precious")
	w.profile = func(plan.View) *plan.Plan { return planOf() }
	rep, err := w.apply()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, changes(rep))
	if len(rep.Warnings) != 1 || !strings.Contains(rep.Warnings[0], "etc/a") {
		t.Errorf("warnings %q", rep.Warnings)
	}
	w.expectTree("etc/ 0750", "etc/a 0640 precious")
	// Once it has been told, it is nobody's; the folder goes when it is empty.
	if err := w.overlay.Remove("etc/a"); err != nil {
		t.Fatal(err)
	}
	expect(t, w.converge(), "remove etc")
}

func TestForeignIsAdoptedAndStays(t *testing.T) {
	w := newWorld(t)
	w.put("same", "x")
	w.put("other", "theirs")
	w.profile = func(plan.View) *plan.Plan { return planOf(file("same", "x"), file("other", "ours")) }
	rep, err := w.apply()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, changes(rep), "write other")
	if len(rep.Warnings) != 1 || !strings.Contains(rep.Warnings[0], "other") {
		t.Errorf("warnings %q", rep.Warnings)
	}
	expect(t, w.converge())
	w.expectTree("other 0640 ours", "same 0640 x")
}

func TestOnce(t *testing.T) {
	w := newWorld(t)
	w.converge(once(dir("data")), once(file("data/seed", "first")))
	w.put("data/seed", "grown")
	expect(t, w.converge(once(dir("data")), once(file("data/seed", "second"))))
	expect(t, w.converge())
	w.expectTree("data/ 0750", "data/seed 0640 grown")
	if _, err := w.engine().Destroy(context.Background(), false); err != nil {
		t.Fatal(err)
	}
	w.expectTree("data/ 0750", "data/seed 0640 grown")
	if _, err := w.engine().Destroy(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	w.expectTree()
	if !w.store.Removed {
		t.Error("the state is still there")
	}
}

func TestPurgeSparesWhatWasThereBefore(t *testing.T) {
	w := newWorld(t)
	w.put("mine", "x")
	w.converge(file("mine", "x"), dir("etc"), file("etc/a", "one"))
	w.put("etc/log", "made by a service")
	w.put("notes", "y")
	if _, err := w.engine().Destroy(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	w.expectTree("mine 0640 x", "notes 0640 y")
}

func TestKindChanges(t *testing.T) {
	a := []any{dir("x"), file("x/one", "1"), dir("x/sub"), file("y", "file"), link("z", "y")}
	b := []any{file("x", "now a file"), dir("y"), file("y/in", "2"), dir("z")}
	for name, pair := range map[string][2][]any{"a to b": {a, b}, "b to a": {b, a}} {
		t.Run(name, func(t *testing.T) {
			w, fresh := newWorld(t), newWorld(t)
			w.converge(pair[0]...)
			w.converge(pair[1]...)
			fresh.converge(pair[1]...)
			w.expectTree(fresh.tree()...)
			expect(t, w.converge(pair[1]...))
		})
	}
}

func TestConflictsChangeNothing(t *testing.T) {
	w := newWorld(t)
	w.put("x/kept", "theirs")
	w.profile = func(plan.View) *plan.Plan { return planOf(file("a", "1"), file("x", "file")) }
	_, err := w.apply()
	var conflict *plan.ConflictError
	if !errors.As(err, &conflict) || conflict.Path != "x" {
		t.Fatalf("got %v", err)
	}
	w.expectTree("x/ 0755", "x/kept 0640 theirs")
	if w.store.Saves != 0 {
		t.Error("the state was saved")
	}
}

func TestIncompletePlanRemovesNothing(t *testing.T) {
	w := newWorld(t)
	w.converge(dir("etc"), file("etc/a", "one"), program("alpha"), program("beta"))
	got := w.converge(dir("etc"), file("etc/b", "two"), program("alpha"), &plan.Pending{Why: "observe"})
	expect(t, got, "write etc/b")
	w.expectTree("etc/ 0750", "etc/a 0640 one", "etc/b 0640 two")
	expect(t, w.converge(dir("etc"), file("etc/b", "two"), program("alpha")), "unload beta", "remove etc/a")
}

func TestPendingIsEvaluatedAgainAtOnce(t *testing.T) {
	w := newWorld(t)
	w.commands.do = func(cmd *plan.Command) error { w.put("var/token", "secret"); return nil }
	rounds := 0
	w.profile = func(v plan.View) *plan.Plan {
		rounds++
		cmd := &plan.Command{Name: "make", Exec: plan.Exec{Argv: []string{"/bin/make"}}}
		token, err := v.ReadFile("var/token")
		if err != nil {
			return planOf(cmd, &plan.Pending{Why: "var/token"})
		}
		return planOf(cmd, file("etc-token", string(token)))
	}
	rep, err := w.apply()
	if err != nil {
		t.Fatal(err)
	}
	if !rep.Complete || rounds != 2 || len(w.commands.ran) != 1 {
		t.Errorf("complete %v after %d rounds, ran %v", rep.Complete, rounds, w.commands.ran)
	}
	expect(t, changes(rep), "run make", "write etc-token")
}

func TestRestartExactness(t *testing.T) {
	w := newWorld(t)
	conf := func(text string) []any {
		reloading := program("gamma", testRoot+"/etc/g.conf")
		reloading.ReloadOn, reloading.ReloadSig = []string{"etc/g.conf"}, "HUP"
		return []any{
			dir("etc"),
			file("etc/a.conf", "include "+testRoot+"/etc/deep.conf;"),
			file("etc/deep.conf", "deep "+text),
			file("etc/g.conf", "reload "+text),
			file("etc/a.confused", "not mentioned "+text),
			program("alpha", "--config="+testRoot+"/etc/a.conf"),
			program("beta", testRoot+"/etc"),
			reloading,
		}
	}
	expect(t, w.converge(conf("one")...)[5:], "start alpha", "start beta", "start gamma")
	expect(t, w.converge(conf("one")...))
	expect(t, w.converge(conf("two")...),
		"write etc/deep.conf", "write etc/g.conf", "write etc/a.confused", "restart alpha", "reload gamma")
}

func TestDropIns(t *testing.T) {
	w := newWorld(t)
	put := func(name string, mode uint32, text string) {
		t.Helper()
		w.put(name, text)
		if err := fsys.Chmod(w.overlay, name, mode); err != nil {
			t.Fatal(err)
		}
	}
	put("etc/services/dropped", 0o750, "#!/bin/sh\n")
	expect(t, w.converge(), "start dropped")
	put("etc/services/dropped", 0o750, "#!/bin/sh\nexit\n")
	expect(t, w.converge(), "restart dropped")
	put("etc/services/plain", 0o640, "text")
	w.profile = func(plan.View) *plan.Plan { return planOf() }
	_, err := w.apply()
	if err == nil || !strings.Contains(err.Error(), "etc/services/plain") || !strings.Contains(err.Error(), "not executable") {
		t.Errorf("a drop-in that is not executable: %v", err)
	}
	for _, name := range []string{"etc/services/plain", "etc/services/dropped"} {
		if err := w.overlay.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, w.converge(), "unload dropped")
	if err := fsys.Chmod(w.overlay, "etc/services", 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err = w.apply(); err == nil || !strings.Contains(err.Error(), "others could put programs there") {
		t.Errorf("a folder that anybody may write: %v", err)
	}
}

func TestStoppedInstance(t *testing.T) {
	w := newWorld(t)
	w.converge(program("alpha"))
	w.requested = state.Stopped
	expect(t, w.converge(file("a", "1"), program("alpha")), "write a", "stop alpha")
	w.requested = ""
	expect(t, w.converge(file("a", "1"), program("alpha")))
	w.requested = state.Started
	expect(t, w.converge(file("a", "1"), program("alpha")), "start alpha")
	// A broken profile does not keep it from stopping.
	w.requested = state.Stopped
	e := w.engine()
	broken := errors.New("broken")
	e.Evaluate = func(context.Context, *state.State, plan.View) (*plan.Plan, error) { return nil, broken }
	rep, err := e.Converge(context.Background())
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	expect(t, changes(rep), "stop alpha")
}

func TestCommandMadeFile(t *testing.T) {
	w := newWorld(t)
	text := "v1"
	w.commands.do = func(*plan.Command) error { w.put("etc/db", "compiled "+text); return nil }
	parts := func(src string) []any {
		return []any{dir("etc"), file("etc/src", src),
			&plan.Command{Name: "compile", Changed: true, Creates: []string{"etc/db"},
				Exec: plan.Exec{Argv: []string{"/bin/compile", testRoot + "/etc/src"}}},
			program("alpha", testRoot+"/etc/db"),
		}
	}
	expect(t, w.converge(parts("1")...)[2:], "run compile", "start alpha")
	expect(t, w.converge(parts("1")...))
	text = "v2"
	expect(t, w.converge(parts("2")...), "write etc/src", "run compile", "restart alpha")
	// A failing one leaves what was there.
	w.commands.do = func(*plan.Command) error { return errors.New("no") }
	w.profile = func(plan.View) *plan.Plan { return planOf(parts("3")...) }
	if _, err := w.apply(); err == nil {
		t.Fatal("a failing command succeeded")
	}
	w.expectTree("etc/ 0750", "etc/db 0640 compiled v2", "etc/src 0640 3")
	// What it made goes with it.
	expect(t, w.converge(dir("etc")), "unload alpha", "remove etc/src", "remove etc/db")
}

func TestRootIsCreatedAndPurged(t *testing.T) {
	root := path.Join(t.TempDir(), "a", "web")
	w := newWorld(t)
	run := func(purge, destroy bool) {
		t.Helper()
		e := w.engine()
		e.Settings.Root = root
		disk := &realDisk{dir: root}
		defer disk.close()
		e.Disk = disk
		w.profile = func(plan.View) *plan.Plan { return planOf(file("a", "1"), once(file("b", "2"))) }
		var err error
		if destroy {
			_, err = e.Destroy(context.Background(), purge)
		} else {
			_, err = e.Converge(context.Background())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	run(false, false)
	fi, err := os.Stat(root)
	if err != nil || fi.Mode().Perm() != rootMode {
		t.Fatalf("root: %v, %v", fi, err)
	}
	run(false, true)
	if _, err := os.Stat(path.Join(root, "b")); err != nil {
		t.Errorf("destroy removed _once data: %v", err)
	}
	run(true, true)
	if _, err := os.Stat(root); !os.IsNotExist(err) {
		t.Errorf("purge left the root: %v", err)
	}
}

// TestKilledAfterCommand: what a command made before the deployer was killed is
// the instance's all the same.
func TestKilledAfterCommand(t *testing.T) {
	w := newWorld(t)
	w.commands.do = func(*plan.Command) error {
		w.put("etc/made", "by a command")
		w.put("src/file", "to be copied")
		return nil
	}
	left := 1 << 30
	fault := faulty{w.overlay, &left}
	w.disk, w.saver = fault, faultyStore{w.store, fault}
	w.commands.after = func() { left = 3 } // the copy's claim, and a part of the copy
	parts := []any{
		&plan.Command{Name: "make", Creates: []string{"etc/made"}, Exec: plan.Exec{Argv: []string{"/bin/make"}}},
		&plan.Copy{Meta: meta("copy", plan.KeepMode), From: testRoot + "/src/file"},
	}
	w.profile = func(plan.View) *plan.Plan { return planOf(parts...) }
	if _, err := w.apply(); !errors.Is(err, errKilled) {
		t.Fatalf("got %v", err)
	}
	w.disk, w.saver = w.overlay, w.store
	w.converge()
	w.expectTree("etc/ 0755", "src/ 0755", "src/file 0640 to be copied")
}

func TestWhatWasThereBeforeACommandStays(t *testing.T) {
	w := newWorld(t)
	w.put("made", "long ago")
	cmd := &plan.Command{Name: "make", Creates: []string{"made"}, Exec: plan.Exec{Argv: []string{"/bin/make"}}}
	expect(t, w.converge(cmd))
	expect(t, w.converge())
	w.expectTree("made 0640 long ago")
}

// TestDiffHidesWhatNobodyRemembers: with the state lost, the old password in
// the file that is replaced is unknown, and must not be shown all the same.
func TestDiffHidesWhatNobodyRemembers(t *testing.T) {
	w := newWorld(t)
	w.put("conf", "user = root\npassword = old-secret-123\n")
	w.profile = func(plan.View) *plan.Plan {
		p := planOf(file("conf", "user = root\npassword = new-secret-456\n"))
		p.Secrets = []string{"new-secret-456"}
		return p
	}
	e := w.engine()
	e.Diffs = true
	rep, err := e.Converge(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	diff := rep.Changes[0].Diff
	if strings.Contains(diff, "secret") || !strings.Contains(diff, " user = root") || !strings.Contains(diff, "-********") {
		t.Errorf("diff:\n%s", diff)
	}
}

// TestSecretEnvironmentIsKeptApart: a service of another user does not run
// through its script, and what is secret in its environment may not reach the
// manager's definition.
func TestSecretEnvironmentIsKeptApart(t *testing.T) {
	w := newWorld(t)
	s := program("alpha")
	s.OwnUser = true
	s.Exec.Env = []string{"PLAIN=1", "TOKEN=top-secret-token"}
	w.profile = func(plan.View) *plan.Plan {
		p := planOf(s)
		p.Secrets = []string{"top-secret-token"}
		return p
	}
	e := w.engine()
	if _, err := e.Converge(context.Background()); err != nil {
		t.Fatal(err)
	}
	spec := e.Specs[0]
	if !slices.Contains(spec.Env, "PLAIN=1") || slices.Contains(spec.Env, "TOKEN=top-secret-token") {
		t.Errorf("environment %q", spec.Env)
	}
	if !slices.Equal(spec.PrivateEnv, []string{"TOKEN=top-secret-token"}) {
		t.Errorf("private environment %q", spec.PrivateEnv)
	}
}

// choosy is a manager that takes no service called gamma.
type choosy struct{ *service.Recorder }

func (choosy) Refuses(spec service.Spec) string {
	if spec.Name == "gamma" {
		return "its name"
	}
	return ""
}

func TestWhatTheManagerRefusesIsSaid(t *testing.T) {
	w := newWorld(t)
	w.profile = func(plan.View) *plan.Plan { return planOf(program("alpha"), program("gamma")) }
	e := w.engine()
	e.Manager = choosy{&service.Recorder{}}
	rep, err := e.Converge(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	expect(t, changes(rep), "start alpha")
	if len(rep.Warnings) != 1 || !strings.Contains(rep.Warnings[0], "gamma is left out: its name") {
		t.Errorf("warnings %q", rep.Warnings)
	}
}

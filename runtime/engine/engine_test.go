package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/afero"

	"instar/runtime/command"
	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/secret"
	"instar/runtime/service"
	"instar/runtime/state"
)

// world is an instance in memory, with a profile that tests replace.
type world struct {
	t         *testing.T
	overlay   *fsys.Overlay
	disk      afero.Fs // overlay, or something that fails
	exists    bool
	store     *state.Memory
	saver     Store
	manager   *service.Recorder
	commands  *fakeCommands
	profile   func(plan.View) *plan.Plan
	requested string
}

const testRoot = "/srv/web"

func newWorld(t *testing.T) *world {
	t.Helper()
	store, err := state.NewMemory(state.New("web"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, overlay: fsys.NewOverlay(nil).NoFollow(), store: store, saver: store, exists: true,
		manager: &service.Recorder{}, commands: &fakeCommands{records: map[string]*command.Record{}}}
	w.disk = w.overlay
	w.commands.world = w
	return w
}

// Peek, Open and Remove make world a Disk.
func (w *world) Peek() (afero.Fs, error) { return w.disk, nil }
func (w *world) Open() (afero.Fs, error) { return w.disk, nil }
func (w *world) Remove() error           { w.exists = false; return nil }

func (w *world) engine() *Engine {
	return &Engine{
		Name:      "web",
		Settings:  state.Settings{Root: testRoot, Release: "/usr", Profile: "/profiles/web"},
		Requested: w.requested,
		Identity:  plan.Identity{User: "web", UID: -1, GID: -1, Home: testRoot},
		Disk:      w, Store: w.saver, Commands: w.commands, Manager: w.manager,
		Mask: secret.New(nil),
		Evaluate: func(_ context.Context, _ *state.State, v plan.View) (*plan.Plan, error) {
			return w.profile(v), nil
		},
	}
}

func (w *world) apply() (*report.Report, error) {
	w.t.Helper()
	return w.engine().Converge(context.Background())
}

// converge applies a plan of these resources and services, and returns its
// changes as "op path".
func (w *world) converge(parts ...any) []string {
	w.t.Helper()
	w.profile = func(plan.View) *plan.Plan { return planOf(parts...) }
	rep, err := w.apply()
	if err != nil {
		w.t.Fatalf("apply: %v", err)
	}
	return changes(rep)
}

func changes(rep *report.Report) []string {
	list := []string{}
	for _, c := range rep.Changes {
		list = append(list, c.Op+" "+c.Path+c.Name)
	}
	return list
}

func planOf(parts ...any) *plan.Plan {
	p := &plan.Plan{Values: map[string]plan.Value{}, Published: map[string]any{}}
	for _, part := range parts {
		switch part := part.(type) {
		case plan.Resource:
			p.Resources = append(p.Resources, part)
		case plan.Service:
			p.Services = append(p.Services, part)
		case *plan.Pending:
			p.Pending = part
		}
	}
	return p
}

func meta(name string, mode plan.Mode) plan.Meta {
	return plan.Meta{Path: name, Mode: mode, UID: -1, GID: -1, At: plan.Pos{File: "instance.star", Line: 1}}
}

func dir(name string) *plan.Dir { return &plan.Dir{Meta: meta(name, 0o750)} }
func file(name, text string) *plan.File {
	return &plan.File{Meta: meta(name, 0o640), Content: []byte(text)}
}
func link(name, to string) *plan.Link { return &plan.Link{Meta: meta(name, 0), To: to} }
func once(r plan.PathResource) plan.PathResource {
	switch r := r.(type) {
	case *plan.Dir:
		r.Once = true
	case *plan.File:
		r.Once = true
	}
	return r
}

func program(name string, mentions ...string) plan.Service {
	return plan.Service{Name: name, Script: "etc/services/" + name, Restart: "always", StopSignal: "TERM",
		StopTimeout: time.Second, Exec: plan.Exec{Argv: append([]string{"/bin/" + name}, mentions...), Dir: testRoot}}
}

// fakeCommands runs a function of the test for each command.
type fakeCommands struct {
	world   *world
	records map[string]*command.Record
	ran     []string
	do      func(cmd *plan.Command) error
}

func (f *fakeCommands) Record(_ context.Context, name string) (*command.Record, error) {
	return f.records[name], nil
}

func (f *fakeCommands) Run(ctx context.Context, job command.Job) (command.Record, error) {
	rec := command.Record{Name: job.Command.Name, Digest: job.Digest, Status: command.Succeeded,
		Wipe: map[string]bool{}, Creates: map[string]string{}}
	if job.Prepare != nil {
		if err := job.Prepare(ctx); err != nil {
			return rec, err
		}
	}
	for _, name := range job.Command.Wipe {
		rec.Wipe[name] = true
	}
	f.ran = append(f.ran, job.Command.Name)
	if err := f.do(job.Command); err != nil {
		rec.Status, rec.Reason = command.Failed, err.Error()
		f.records[job.Command.Name] = &rec
		return rec, &command.FailedError{Record: rec}
	}
	for _, name := range job.Command.Creates {
		if data, err := fsys.ReadRegular(f.world.overlay, name, 1<<20); err == nil {
			rec.Creates[name] = fmt.Sprint(len(data), string(data))
		}
	}
	f.records[job.Command.Name] = &rec
	return rec, nil
}

func (f *fakeCommands) Path(name string) string { return "/nowhere/" + name }

func (f *fakeCommands) Adopt(cmd *plan.Command, digest string) error {
	f.records[cmd.Name] = &command.Record{Name: cmd.Name, Digest: digest, Status: command.Adopted}
	return nil
}

// tree lists all that stands in the root: "etc/ 0750", "etc/a 0640 text".
func (w *world) tree() []string {
	w.t.Helper()
	return treeOf(w.t, w.overlay)
}

func treeOf(t *testing.T, disk afero.Fs) []string {
	t.Helper()
	var list []string
	var walk func(dir string)
	walk = func(dir string) {
		f, err := disk.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		infos, err := f.Readdir(-1)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, fi := range infos {
			name := path.Join(dir, fi.Name())
			switch {
			case fi.IsDir():
				list = append(list, fmt.Sprintf("%s/ %04o", name, fsys.Unix(fi)))
				walk(name)
			case fi.Mode()&fs.ModeSymlink != 0:
				to, err := fsys.Readlink(disk, name)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, name+" -> "+to)
			default:
				data, err := fsys.ReadRegular(disk, name, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, fmt.Sprintf("%s %04o %s", name, fsys.Unix(fi), data))
			}
		}
	}
	walk(".")
	slices.Sort(list)
	return list
}

// put writes a file by hand.
func (w *world) put(name, text string) {
	w.t.Helper()
	if err := w.overlay.MkdirAll(path.Dir(name), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := fsys.WriteFile(w.overlay, name, []byte(text), 0o640, -1, -1); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) expectTree(want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.tree()); diff != "" {
		w.t.Errorf("tree (-want +got):\n%s", diff)
	}
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

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

// realDisk is a root on the real disk.
type realDisk struct {
	dir  string
	root *fsys.Root
}

func (d *realDisk) Peek() (afero.Fs, error) {
	if d.root != nil {
		return d.root, nil
	}
	root, err := fsys.OpenRoot(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return missingRoot{fsys.NewOverlay(nil)}, nil
	}
	d.root = root
	return root, err
}

func (d *realDisk) Open() (afero.Fs, error) {
	if err := os.MkdirAll(d.dir, rootMode); err != nil {
		return nil, err
	}
	return d.Peek()
}

func (d *realDisk) close() {
	if d.root != nil {
		_ = d.root.Close()
		d.root = nil
	}
}

func (d *realDisk) Remove() error {
	d.close()
	return os.Remove(d.dir)
}

type missingRoot struct{ *fsys.Overlay }

func (missingRoot) LstatIfPossible(name string) (fs.FileInfo, bool, error) {
	return nil, true, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
}

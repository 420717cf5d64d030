package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
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
	waited  func(name string) // called where a real one would be waited for
	after   func()            // called when one has succeeded
}

func (f *fakeCommands) Record(_ context.Context, name string) (*command.Record, error) {
	if f.waited != nil {
		f.waited(name)
	}
	return f.records[name], nil
}

func (f *fakeCommands) Names() ([]string, error) { return plan.SortedKeys(f.records), nil }

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
	if f.after != nil {
		f.after()
	}
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

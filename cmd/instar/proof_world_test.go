package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/afero"
	"pgregory.net/rapid"

	"instar/runtime/engine"
	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/secret"
	"instar/runtime/service"
	"instar/runtime/state"
	"instar/starlark/eval"
)

// proof is one instance below a folder of its own, with real files and a manager
// that records.
type proof struct {
	t       rapid.TB
	dir     string
	manager *service.Recorder
	params  map[string]string
}

// newProof makes dir, empty, the folder of a machine. It has a profile with a tree of
// files beside it, and neither root nor state.
func newProof(t rapid.TB, dir string) *proof {
	t.Helper()
	p := &proof{t: t, dir: dir, manager: &service.Recorder{}, params: map[string]string{}}
	p.must(os.RemoveAll(dir))
	for name, text := range map[string]string{"tree/one": "1", "tree/sub/two": "2\n", "tree/run": "#!/bin/sh\n"} {
		p.must(os.MkdirAll(filepath.Dir(p.path("profile", name)), 0o755))
		p.must(os.WriteFile(p.path("profile", name), []byte(text), 0o644))
	}
	p.must(os.Chmod(p.path("profile/tree/run"), 0o755))
	return p
}

func (p *proof) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *proof) path(elem ...string) string {
	return filepath.Join(append([]string{p.dir}, elem...)...)
}

// profile replaces the profile.
func (p *proof) profile(source string) {
	p.t.Helper()
	p.must(os.WriteFile(p.path("profile/instance.star"), []byte(source), 0o644))
}

// instance is what the program would build from the command line.
func (p *proof) instance() *instance {
	p.t.Helper()
	home := state.Home(p.path("state"))
	in := &instance{
		home: home, folder: home.Instance("proof"), name: "proof", mask: secret.New(nil),
		settings: state.Settings{Profile: p.path("profile"), Root: p.path("root"), Release: "/usr", Wait: time.Second, Manager: "none",
			Params: map[string]state.Given{}},
	}
	for name, text := range p.params {
		in.settings.Params[name] = state.Given{Text: &text}
	}
	var err error
	in.who, err = identify("", in.settings.Root, true)
	p.must(err)
	return in
}

// inProcess has an engine evaluate without a child, which takes most of the time.
func inProcess(e *engine.Engine, in *instance) {
	e.Evaluate = func(ctx context.Context, st *state.State, view plan.View) (*plan.Plan, error) {
		req, err := request(in.settings.Profile)
		if err != nil {
			return nil, err
		}
		if req.Inputs, err = inputs(in.home, in.name, in.settings, in.who, st); err != nil {
			return nil, err
		}
		req.Inputs.Values, req.Inputs.HeldPorts = st.Values, heldPorts(in.home, in.name)
		return eval.EvaluateHere(ctx, req, observer(view, ownedBy(st, in.folder)), in.limits)
	}
}

// passed is what a plan, or an apply, led to.
type passed struct {
	report *report.Report
	err    error
	tree   []string
	values map[string]plan.Value
}

// plan plans, and looks at the overlay.
func (p *proof) plan() passed {
	p.t.Helper()
	in := p.instance()
	e, done := in.paper(p.manager, nil)
	defer done()
	inProcess(e, in)
	e.Reveal = true
	rep, err := e.Converge(context.Background())
	disk, peekErr := e.Disk.Peek()
	p.must(peekErr)
	st, loadErr := e.Store.Load()
	p.must(loadErr)
	return passed{rep, err, listed(p.t, disk), st.Values}
}

// faults changes what an engine works on.
type faults func(*engine.Engine)

// apply applies, and looks at the root. The caller may have the engine's parts
// replaced.
func (p *proof) apply(with ...faults) passed {
	p.t.Helper()
	in := p.instance()
	unlock, err := in.lock()
	p.must(err)
	defer unlock()
	e, done := in.real(p.manager, nil)
	defer done()
	inProcess(e, in)
	e.Reveal = true
	for _, f := range with {
		f(e)
	}
	rep, err := e.Converge(context.Background())
	st, loadErr := in.folder.Load()
	p.must(loadErr)
	return passed{rep, err, p.tree(), st.Values}
}

// tree lists the real root.
func (p *proof) tree() []string {
	p.t.Helper()
	root, err := fsys.OpenRoot(p.path("root"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	p.must(err)
	defer root.Close()
	return listed(p.t, root)
}

// listed tells all that stands in a root: kind, mode, owner, and content.
func listed(t rapid.TB, disk afero.Fs) []string {
	t.Helper()
	var list []string
	var walk func(name string) error
	walk = func(name string) error {
		fi, err := fsys.Lstat(disk, name)
		if errors.Is(err, fs.ErrNotExist) && name == "." {
			return nil
		}
		if err != nil {
			return err
		}
		sig, _ := fsys.Stat(fi)
		what, children := "", []string(nil)
		switch {
		case fi.IsDir():
			f, err := disk.Open(name)
			if err != nil {
				return err
			}
			children, err = f.Readdirnames(-1)
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
		case fi.Mode()&fs.ModeSymlink != 0:
			what, err = fsys.Readlink(disk, name)
			what = "-> " + what
		default:
			var data []byte
			data, err = fsys.ReadRegular(disk, name, 1<<20)
			what = fmt.Sprintf("%q", data)
		}
		list = append(list, fmt.Sprintf("%s %o %d:%d %s", name, sig.Mode, sig.UID, sig.GID, what))
		slices.Sort(children)
		for _, c := range children {
			err = errors.Join(err, walk(path.Join(name, c)))
		}
		return err
	}
	if err := walk("."); err != nil {
		t.Fatal(err)
	}
	return list
}

// fingerprint lists all that lstat says of everything below some folders, but
// when it was read: nothing was written while it stays the same.
func fingerprint(t rapid.TB, dirs ...string) []string {
	t.Helper()
	var list []string
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := os.Lstat(name)
			if err != nil {
				return err
			}
			sig, _ := fsys.Stat(fi)
			list = append(list, fmt.Sprintf("%s %+v", name, sig))
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return list
}

// named puts the names of remembered values where the values are, in a listing
// or a report.
func (o passed) named(lines []string) []string {
	var pairs []string
	for _, name := range plan.SortedKeys(o.values) {
		pairs = append(pairs, o.values[name].Text, "<"+name+">")
	}
	r := strings.NewReplacer(pairs...)
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = r.Replace(line)
	}
	return out
}

// without leaves out of a listing the given paths, and what is below them.
func without(tree []string, paths []string) []string {
	return slices.DeleteFunc(slices.Clone(tree), func(line string) bool {
		name, _, _ := strings.Cut(line, " ")
		return slices.ContainsFunc(paths, func(p string) bool { return name == p || strings.HasPrefix(name, p+"/") })
	})
}

// byHand does something to the root that no profile does.
func (p *proof) byHand(t *rapid.T) {
	root := p.path("root")
	p.must(os.MkdirAll(root, 0o750))
	parts := []string{}
	for range rapid.IntRange(1, 2).Draw(t, "depth") {
		parts = append(parts, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "part"))
	}
	name := filepath.Join(root, filepath.Join(parts...))
	if os.MkdirAll(filepath.Dir(name), 0o755) != nil {
		return
	}
	// What cannot be done there is not done.
	switch rapid.SampledFrom([]string{"file", "edit", "chmod", "remove", "link", "folder", "chown"}).Draw(t, "by hand") {
	case "file":
		if _, err := os.Lstat(name); err != nil {
			_ = os.WriteFile(name, []byte("foreign"), 0o604)
		}
	case "edit":
		if fi, err := os.Lstat(name); err == nil && fi.Mode().IsRegular() {
			_ = os.WriteFile(name, []byte("edited"), 0o644)
		}
	case "chmod":
		if fi, err := os.Lstat(name); err == nil && fi.Mode()&fs.ModeSymlink == 0 {
			_ = os.Chmod(name, 0o711)
		}
	case "remove":
		_ = os.Remove(name)
	case "link":
		_ = os.Symlink("elsewhere", name)
	case "folder":
		_ = os.Mkdir(name, 0o700)
	case "chown":
		_ = os.Lchown(name, 1, 1)
	}
}

// drawParams gives the drawn profiles' parameters some values.
func (p *proof) drawParams(t *rapid.T) {
	p.params = map[string]string{}
	if rapid.Bool().Draw(t, "given") {
		p.params["text"] = rapid.SampledFrom([]string{"", "y", "two\nlines"}).Draw(t, "text")
		p.params["number"] = rapid.SampledFrom([]string{"1", "4"}).Draw(t, "number")
	}
}

// proofDir is a folder for [newProof]: in memory where that can be, since each
// state that is saved is synced.
func proofDir(t *testing.T) string {
	t.Helper()
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		if dir, err := os.MkdirTemp("/dev/shm", "instar-proof-"); err == nil {
			t.Cleanup(func() { os.RemoveAll(dir) })
			return filepath.Join(dir, "p")
		}
	}
	return filepath.Join(t.TempDir(), "p")
}

// running lists what runs, and how.
func (p *proof) running() []string {
	have, err := p.manager.Observe(context.Background(), "proof")
	p.must(err)
	var list []string
	for _, name := range plan.SortedKeys(have) {
		s := have[name]
		list = append(list, fmt.Sprintf("%s %s run=%v %s", name, s.Status, s.Run, s.Schedule))
	}
	return list
}

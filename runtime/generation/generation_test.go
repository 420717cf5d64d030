package generation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"instar/runtime/plan"
	"instar/runtime/state"
)

// fixture is an instance of which generations are made.
type fixture struct {
	t        testing.TB
	keeper   Keeper
	state    *state.State
	contents map[string][]byte
	plan     *plan.Plan
}

func newFixture(t testing.TB) *fixture {
	dir, err := os.MkdirTemp("/dev/shm", "instar-test-") // in memory: many are made, each durably
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &fixture{t: t, keeper: Keeper{Store: Store{filepath.Join(dir, "generations")}},
		state: state.New("web"), contents: map[string][]byte{}, plan: &plan.Plan{}}
}

func (f *fixture) file(name, text string) {
	f.contents[name] = []byte(text)
	sum := sha256.Sum256([]byte(text))
	f.state.Owned[name] = state.Owned{Kind: plan.KindFile, Mode: 0o640, UID: -1, GID: 7, Hash: hex.EncodeToString(sum[:])}
}

// keep makes the next generation, and returns what it must be read as.
func (f *fixture) keep() map[string]string {
	f.t.Helper()
	f.state.Generation++
	f.state.AppliedAt = time.Now().UTC().Round(0)
	m := made(f.state, f.contents)
	m.Plan = f.plan
	if err := f.keeper.Keep(m); err != nil {
		f.t.Fatal(err)
	}
	want := map[string]string{}
	for name := range f.state.Owned {
		want[name] = string(f.contents[name])
	}
	return want
}

// read returns the contents of a generation.
func (f *fixture) read(number int) map[string]string {
	f.t.Helper()
	g, err := f.keeper.Read(f.state, number)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := g.Verify(); err != nil {
		f.t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range g.Paths {
		rec := f.state.Owned[p.Name]
		if number == f.state.Generation && (p.Kind != rec.Kind || p.Mode != rec.Mode || p.UID != rec.UID || p.GID != rec.GID || p.Hash != rec.Hash) {
			f.t.Errorf("%q is %+v, want %+v", p.Name, p, rec)
		}
		data, err := g.Content(p.Hash)
		if err != nil {
			f.t.Fatalf("%q: %v", p.Name, err)
		}
		got[p.Name] = string(data)
	}
	return got
}

func (f *fixture) size() (total int64) {
	entries, err := os.ReadDir(f.keeper.Dir)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			f.t.Fatal(err)
		}
		total += info.Size()
	}
	return total
}

// Whatever is added, changed and removed, each of the last generations is read as
// it was made, and no other is there.
func TestEachIsReadAsItWasMade(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		f := newFixture(t)
		var wants []map[string]string
		name := rapid.SampledFrom([]string{"a", "a/b", "a-b", "a.b", "aa", "é/ö", "etc/my.cnf", "etc/my.cnf.d/x"})
		text := rapid.SampledFrom([]string{"", "one", "two", "a longer text that is the same in many files\n", string(make([]byte, 1000))})
		for range rapid.IntRange(1, Kept+4).Draw(r, "generations") {
			for range rapid.IntRange(0, 3).Draw(r, "changes") {
				n := name.Draw(r, "name")
				if rapid.Bool().Draw(r, "remove") {
					delete(f.state.Owned, n)
				} else {
					f.file(n, text.Draw(r, "text"))
				}
			}
			wants = append(wants, f.keep())
			for n := 1; n <= len(wants); n++ {
				if n <= len(wants)-Kept {
					var unknown *UnknownError
					if _, err := f.keeper.Read(f.state, n); !errors.As(err, &unknown) {
						r.Fatalf("generation %d of %d: %v", n, len(wants), err)
					}
					continue
				}
				if diff := cmp.Diff(wants[n-1], f.read(n)); diff != "" {
					r.Fatalf("generation %d of %d: %s", n, len(wants), diff)
				}
			}
		}
	})
}

// A generation that changes little takes little; and one content that stays does
// not keep a large file for ever.
func TestSpaceIsBounded(t *testing.T) {
	f := newFixture(t)
	fill := func(n int) {
		for i := range 100 {
			f.file(fmt.Sprintf("changes/%d", i), fmt.Sprintf("%d %d %01000d", n, i, n))
		}
	}
	fill(0)
	f.file("stays/0", "the one that stays, of the first")
	f.keep()
	first := f.size()
	for range 3 * Kept {
		f.file("changes/1", time.Now().String())
		f.keep()
	}
	if now := f.size(); now > first*3/2 {
		t.Errorf("%d generations with one change each take %d bytes, and the first one %d", Kept, now, first)
	}
	for n := range 3 * Kept {
		fill(n + 1)
		f.file(fmt.Sprintf("stays/%d", n+1), fmt.Sprintf("the one that stays, of %d", n+1))
		f.keep()
	}
	if now := f.size(); now > first*(2*Kept+1) {
		t.Errorf("%d generations take %d bytes, and one of them %d", Kept, now, first)
	}
	f.read(f.state.Generation - Kept + 1)
}

// What a run that was killed has left counts for nothing, and goes: a file that
// was not finished, and one that the state does not name.
func TestLeftovers(t *testing.T) {
	f := newFixture(t)
	f.file("a", "one")
	want := f.keep()
	half := f.keeper.path(2) + tmpSuffix
	if err := os.WriteFile(half, []byte(magic), 0o600); err != nil {
		t.Fatal(err)
	}
	f.file("a", "never named")
	f.keep()
	if err := f.keeper.Judge(2, "it does not hold"); err != nil {
		t.Fatal(err)
	}
	f.state.Generation = 1 // it was not saved
	if heads, err := f.keeper.List(f.state); err != nil || len(heads) != 1 {
		t.Fatalf("%d, %v", len(heads), err)
	}
	f.file("a", "two")
	want2 := f.keep()
	for n, want := range map[int]map[string]string{1: want, 2: want2} {
		if diff := cmp.Diff(want, f.read(n)); diff != "" {
			t.Errorf("generation %d: %s", n, diff)
		}
	}
	heads, err := f.keeper.List(f.state)
	if err != nil || heads[1].Outcome.Judged {
		t.Errorf("%+v, %v", heads[1].Outcome, err)
	}
	if _, err := os.Lstat(half); err == nil {
		t.Error("what was left is still there")
	}
}

// The generation that an instance follows stays, however old it is.
func TestFollowedStays(t *testing.T) {
	f := newFixture(t)
	f.file("a", "one")
	want := f.keep()
	f.state.RolledBack = &state.RolledBack{Generation: 1}
	for i := range 2 * Kept {
		f.file("a", fmt.Sprint(i))
		f.keep()
	}
	if diff := cmp.Diff(want, f.read(1)); diff != "" {
		t.Error(diff)
	}
	f.state.RolledBack = nil
	f.keep()
	if _, err := os.Lstat(f.keeper.path(1)); err == nil {
		t.Error("it is still there")
	}
}

// The last good generation is one whose promises held; what held once is good for
// ever, and what was not checked counts where nothing was.
func TestLastGood(t *testing.T) {
	f := newFixture(t)
	good := func(want int) {
		t.Helper()
		if got, err := f.keeper.LastGood(f.state); got != want || err != nil {
			t.Errorf("the last good generation is %d (%v), want %d", got, err, want)
		}
	}
	judge := func(n int, failure string) {
		t.Helper()
		if err := f.keeper.Judge(n, failure); err != nil {
			t.Fatal(err)
		}
	}
	good(0)
	for i := range 3 {
		f.file("a", fmt.Sprint(i))
		f.keep()
	}
	good(3)
	judge(3, "no")
	good(2)
	judge(1, "")
	good(1)
	judge(1, "no more")
	good(1)
	judge(3, "")
	good(3)
	judge(17, "") // there is none
}

// The files of a profile that were read are kept, with their modes; what is beside
// them is not. One that changed meanwhile makes the generation torn.
func TestSources(t *testing.T) {
	f := newFixture(t)
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	read := func(name, text string) {
		sum := sha256.Sum256([]byte(text))
		f.plan.Inputs = append(f.plan.Inputs, plan.Input{Path: filepath.Join(dir, name), What: "content", Answer: hex.EncodeToString(sum[:])})
	}
	write("instance.star", "entry", 0o644)
	write("lib/x.tmpl", "template", 0o600)
	write("beside", "not read", 0o644)
	write("tree/run", "program", 0o755)
	write("child/.git/HEAD", "not part of it", 0o755)
	write("child/instance.star", "child", 0o644)
	if err := os.Symlink("run", filepath.Join(dir, "tree", "link")); err != nil {
		t.Fatal(err)
	}
	read("instance.star", "entry")
	read("lib/x.tmpl", "template")
	f.plan.Inputs = append(f.plan.Inputs, plan.Input{Path: filepath.Join(dir, "missing"), What: "content"},
		plan.Input{Path: "/usr/bin/env", What: "exists", Answer: "exec"})
	f.plan.Resources = []plan.Resource{&plan.Copy{Meta: plan.Meta{Path: "copied"}, From: filepath.Join(dir, "tree")}}
	f.plan.Requests = []plan.Request{{Name: "c", Profile: "child"}, {Name: "d", Profile: "../outside"}}
	f.keeper.Profile = func() (string, string, error) { return dir, "instance.star", nil }
	f.file("a", "1")
	f.keep()
	g, err := f.keeper.Read(f.state, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Verify(); err != nil || g.Torn != "" {
		t.Fatal(err, g.Torn)
	}
	out, err := g.CheckOut()
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(out)
	got := map[string]string{}
	err = filepath.WalkDir(out, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(out, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		got[rel] = fmt.Sprintf("%v %s", info.Mode(), data)
		return err
	})
	want := map[string]string{
		"instance.star": "-rw-r--r-- entry", "lib/x.tmpl": "-rw------- template", "tree/run": "-rwxr-xr-x program",
		"tree/link": "Lrwxrwxrwx program", "child/instance.star": "-rw-r--r-- child",
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, %s", err, diff)
	}

	write("lib/x.tmpl", "another one", 0o600)
	f.keep()
	if g, err = f.keeper.Read(f.state, 2); err != nil {
		t.Fatal(err)
	}
	if g.Torn != "lib/x.tmpl changed while it was applied: its content is another one" {
		t.Errorf("torn: %q", g.Torn)
	}
	if _, err := g.CheckOut(); err == nil {
		t.Error("a torn profile can be had")
	}
}

// A restored plan has the contents, links and copies of then, and leaves alone
// what is made once or was not there.
func TestRestore(t *testing.T) {
	f := newFixture(t)
	release := t.TempDir()
	for name, text := range map[string]string{"x": "as it was", "y": "as it was, too"} {
		if err := os.WriteFile(filepath.Join(release, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f.file("conf", "then")
	f.file("same", "same")
	f.file("tree/x", "x of then")
	f.file("data", "not to be touched")
	f.state.Owned["tree"] = state.Owned{Kind: plan.KindDir, Mode: 0o750}
	f.contents["link"] = []byte("then")
	sum := sha256.Sum256([]byte("then"))
	f.state.Owned["link"] = state.Owned{Kind: plan.KindLink, Hash: hex.EncodeToString(sum[:])}
	f.state.Values = map[string]plan.Value{"password/a": {Text: "then"}}
	f.state.Secrets = []string{"secret of then"}
	f.keep()
	g, err := f.keeper.Read(f.state, 1)
	if err != nil {
		t.Fatal(err)
	}
	now := func(_ context.Context, st *state.State, _ plan.View) (*plan.Plan, error) {
		if got := st.Values["password/a"].Text + st.Values["password/b"].Text; got != "thennow" {
			t.Errorf("values: %q", got)
		}
		return &plan.Plan{Secrets: []string{"secret of now"}, Resources: []plan.Resource{
			&plan.File{Meta: plan.Meta{Path: "conf", Mode: 0o600}, Content: []byte("now")},
			&plan.File{Meta: plan.Meta{Path: "same"}, Content: []byte("same")},
			&plan.File{Meta: plan.Meta{Path: "data", Once: true}, Content: []byte("now")},
			&plan.File{Meta: plan.Meta{Path: "new"}, Content: []byte("new")},
			&plan.Link{Meta: plan.Meta{Path: "link"}, To: "now"},
			&plan.Copy{Meta: plan.Meta{Path: "tree", Mode: plan.KeepMode}, From: release},
			&plan.Command{Name: "c"},
		}}, nil
	}
	st := &state.State{Values: map[string]plan.Value{"password/a": {Text: "now"}, "password/b": {Text: "now"}}}
	p, err := g.Evaluator(now)(t.Context(), st, missing{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range p.Resources {
		switch r := r.(type) {
		case *plan.File:
			got[r.Path] = string(r.Content)
		case *plan.Link:
			got[r.Path] = "-> " + r.To
		case *plan.Dir:
			got[r.Path] = "/"
		case *plan.Copy:
			got[r.Path] = "copy"
		}
	}
	want := map[string]string{"conf": "then", "same": "same", "data": "now", "new": "new", "link": "-> then", "tree": "/", "tree/x": "x of then"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if want := []string{"secret of now", "secret of then"}; !slices.Equal(p.Secrets, want) {
		t.Errorf("secrets: %q", p.Secrets)
	}
	if len(p.Prints) != 3 || len(st.Values) != 2 || !maps.Equal(st.Values, map[string]plan.Value{"password/a": {Text: "now"}, "password/b": {Text: "now"}}) {
		t.Errorf("%+v, %+v", p.Prints, st.Values)
	}
}

// missing is a view of nothing.
type missing struct{}

func (missing) Lstat(string) (plan.Info, error)  { return plan.Info{}, os.ErrNotExist }
func (missing) Stat(string) (plan.Info, error)   { return plan.Info{}, os.ErrNotExist }
func (missing) ReadFile(string) ([]byte, error)  { return nil, os.ErrNotExist }
func (missing) Readlink(string) (string, error)  { return "", os.ErrNotExist }
func (missing) ReadDir(string) ([]string, error) { return nil, os.ErrNotExist }

// Whatever bytes are damaged, reading says so, and does not fail in another way.
func TestDamage(t *testing.T) {
	f := newFixture(t)
	f.file("etc/a", "the first content")
	f.file("etc/b", "the second content")
	f.keep()
	whole, err := os.ReadFile(f.keeper.path(1))
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		for _, bit := range []byte{1, 0x80} {
			bad := slices.Clone(whole)
			bad[i] ^= bit
			damaged(t, f, bad, fmt.Sprintf("bit %x of byte %d", bit, i))
		}
		damaged(t, f, whole[:i], fmt.Sprintf("cut at %d", i))
	}
}

func damaged(t *testing.T, f *fixture, data []byte, what string) {
	t.Helper()
	if err := os.WriteFile(f.keeper.path(1), data, 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := f.keeper.Read(f.state, 1)
	if err == nil {
		err = g.Verify()
	}
	var bad *DamagedError
	var newer *NewerError
	if !errors.As(err, &bad) && !errors.As(err, &newer) {
		t.Fatalf("%s: %v", what, err)
	}
}

package engine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"instar/runtime/plan"
	"instar/runtime/service"
	"instar/runtime/state"
)

// onDisk is an instance on a real disk, with a cache.
type onDisk struct {
	*world
	root     string
	folder   state.Folder
	evals    int
	parts    []any
	cannot   func(service.Spec) []string // Engine.Unsupported
	warnings []string                    // of the last apply
}

func newOnDisk(t *testing.T, parts ...any) *onDisk {
	w := newWorld(t)
	dir := t.TempDir()
	d := &onDisk{world: w, root: filepath.Join(dir, "root"), folder: state.Home(filepath.Join(dir, "state")).Instance("web"), parts: parts}
	w.saver = d.folder
	return d
}

func (d *onDisk) apply() []string {
	d.t.Helper()
	e := d.engine()
	e.Settings.Root = d.root
	disk := &realDisk{dir: d.root}
	defer disk.close()
	e.Disk, e.Cache = disk, d.folder
	e.Unsupported = d.cannot
	e.Key = func(*state.State) (string, error) { return "key", nil }
	e.Evaluate = func(context.Context, *state.State, plan.View) (*plan.Plan, error) {
		d.evals++
		return planOf(d.parts...), nil
	}
	rep, err := e.Converge(context.Background())
	if err != nil {
		d.t.Fatal(err)
	}
	d.warnings = rep.Warnings
	return changes(rep)
}

// evaluations returns how often the profile was evaluated during do.
func (d *onDisk) evaluations(do func() []string) (int, []string) {
	before := d.evals
	got := do()
	return d.evals - before, got
}

func TestUnchangedIsNotEvaluated(t *testing.T) {
	d := newOnDisk(t, dir("etc"), file("etc/a", "one"), link("etc/l", "a"), once(dir("data")), once(file("data/seed", "x")), program("alpha"))
	d.apply()
	if n, got := d.evaluations(d.apply); n != 0 || len(got) != 0 {
		t.Fatalf("an unchanged instance was evaluated %d times: %v", n, got)
	}
	// What is made once, and what appears beside, does not matter.
	for _, name := range []string{"data/seed", "etc/else", "data/new"} {
		if err := os.WriteFile(filepath.Join(d.root, name), []byte("grown"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if n, got := d.evaluations(d.apply); n != 0 || len(got) != 0 {
		t.Errorf("what is not declared had it evaluated %d times: %v", n, got)
	}
}

// TestUnchangedStillWarns: what a manager cannot do is told each time.
func TestUnchangedStillWarns(t *testing.T) {
	d := newOnDisk(t, program("alpha"))
	d.cannot = func(s service.Spec) []string { return []string{s.Name + ": no limits here"} }
	d.apply()
	first := d.warnings
	if n, _ := d.evaluations(d.apply); n != 0 || len(d.warnings) != 1 || !strings.HasSuffix(d.warnings[0], ": alpha: no limits here") || d.warnings[0] != first[0] {
		t.Errorf("evaluated %d times; first %q, then %q", n, first, d.warnings)
	}
}

func TestEveryDriftIsSeen(t *testing.T) {
	drifts := map[string]struct {
		do   func(root string) error
		want string
	}{
		"content": {func(r string) error { return os.WriteFile(r+"/etc/a", []byte("two"), 0o640) }, "write etc/a"},
		"content with its old times": {func(r string) error {
			fi, err := os.Stat(r + "/etc/a")
			if err != nil {
				return err
			}
			if err := os.WriteFile(r+"/etc/a", []byte("two"), 0o640); err != nil {
				return err
			}
			return os.Chtimes(r+"/etc/a", time.Time{}, fi.ModTime())
		}, "write etc/a"},
		"mode":        {func(r string) error { return os.Chmod(r+"/etc/a", 0o644) }, "chmod etc/a"},
		"folder mode": {func(r string) error { return os.Chmod(r+"/etc", 0o755) }, "chmod etc"},
		"missing":     {func(r string) error { return os.Remove(r + "/etc/a") }, "write etc/a"},
		"type": {func(r string) error {
			if err := os.Remove(r + "/etc/a"); err != nil {
				return err
			}
			return os.Symlink("b", r+"/etc/a")
		}, "write etc/a"},
		"link": {func(r string) error {
			if err := os.Remove(r + "/etc/l"); err != nil {
				return err
			}
			return os.Symlink("b", r+"/etc/l")
		}, "link etc/l"},
		"once missing": {func(r string) error { return os.Remove(r + "/data/seed") }, "write data/seed"},
		"drop-in": {func(r string) error {
			if err := os.Mkdir(r+"/etc/services", 0o750); err != nil {
				return err
			}
			return os.WriteFile(r+"/etc/services/new", []byte("#!/bin/sh\n"), 0o750)
		}, "start new"},
	}
	for name, drift := range drifts {
		t.Run(name, func(t *testing.T) {
			d := newOnDisk(t, dir("etc"), file("etc/a", "one"), link("etc/l", "a"), once(dir("data")), once(file("data/seed", "x")))
			d.apply()
			if n, _ := d.evaluations(d.apply); n != 0 {
				t.Fatal("there is no cache to be fooled")
			}
			if err := drift.do(d.root); err != nil {
				t.Fatal(err)
			}
			expect(t, d.apply(), drift.want)
			expect(t, d.apply())
		})
	}
}

func TestCacheMayBeBroken(t *testing.T) {
	d := newOnDisk(t, dir("etc"), file("etc/a", "one"))
	d.apply()
	whole, err := os.ReadFile(d.folder.Path("stat.cache"))
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut < len(whole); cut += 7 {
		if err := os.WriteFile(d.folder.Path("stat.cache"), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if d.folder.LoadCache() != nil {
			t.Fatalf("a cache cut after %d bytes was believed", cut)
		}
	}
	expect(t, d.apply())
	if d.folder.LoadCache() == nil {
		t.Error("the cache was not made anew")
	}
}

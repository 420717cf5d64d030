package engine

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"instar/runtime/fsys"
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
	key      string
	meddle   func()                      // called when services are started
	cannot   func(service.Spec) []string // Engine.Unsupported
	warnings []string                    // of the last apply
	blind    bool                        // whole plans are compared
	keeper   Generations
}

// digests are those of a plan's resources.
func digests(p *plan.Plan) []plan.Digest {
	all := make([]plan.Digest, len(p.Resources))
	for i, r := range p.Resources {
		sum := sha256.Sum256(fmt.Appendf(nil, "%T %+v", r, r))
		copy(all[i][:], sum[:])
	}
	return all
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
	got, err := d.try()
	if err != nil {
		d.t.Fatal(err)
	}
	return got
}

func (d *onDisk) try() ([]string, error) {
	e := d.engine()
	e.Settings.Root = d.root
	disk := &realDisk{dir: d.root}
	defer disk.close()
	e.Disk, e.Cache, e.Generations = disk, d.folder, d.keeper
	e.Unsupported = d.cannot
	if d.meddle != nil {
		e.Manager = meddling{d.manager, d.meddle}
	}
	e.Key = func(*state.State) (string, error) { return "key" + d.key, nil }
	e.Evaluate = func(context.Context, *state.State, plan.View) (*plan.Plan, error) {
		d.evals++
		p := planOf(d.parts...)
		if !d.blind {
			p.Digests = digests(p)
		}
		return p, nil
	}
	rep, err := e.Converge(context.Background())
	d.warnings = rep.Warnings
	return changes(rep), err
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
		"link of the same length": {func(r string) error {
			if err := os.Remove(r + "/etc/l"); err != nil {
				return err
			}
			return os.Symlink("c", r+"/etc/l")
		}, "link etc/l"},
		"folder missing": {func(r string) error { return os.Remove(r + "/empty") }, "mkdir empty"},
		"folder is a link": {func(r string) error {
			if err := os.Remove(r + "/empty"); err != nil {
				return err
			}
			return os.Symlink("etc", r+"/empty")
		}, ""},
		"owner":        {func(r string) error { return os.Chown(r+"/etc/a", 12, -1) }, "chown etc/a"},
		"group":        {func(r string) error { return os.Chown(r+"/etc/a", -1, 12) }, "chown etc/a"},
		"folder owner": {func(r string) error { return os.Chown(r+"/etc", 12, 12) }, "chown etc"},
		"once missing": {func(r string) error { return os.Remove(r + "/data/seed") }, "write data/seed"},
		"drop-in": {func(r string) error {
			if err := os.Mkdir(r+"/etc/services", 0o750); err != nil {
				return err
			}
			return os.WriteFile(r+"/etc/services/new", []byte("#!/bin/sh\n"), 0o750)
		}, "start new"},
	}
	few := []any{ours(dir("etc")), ours(file("etc/a", "one")), link("etc/l", "a"), dir("empty"), once(dir("data")), once(file("data/seed", "x"))}
	for name, drift := range drifts {
		if (strings.Contains(name, "owner") || name == "group") && os.Geteuid() != 0 {
			continue // only root can give files away
		}
		// Where there is much, it is written, read again and looked at by several
		// processors. With another key, the profile is evaluated, and what was
		// verified is not read again.
		for how, parts := range map[string][]any{"few": few, "many": append(manyUnits(), few...), "evaluated": append(manyUnits(), few...)} {
			t.Run(name+", "+how, func(t *testing.T) {
				d := newOnDisk(t, parts...)
				d.apply()
				if n, _ := d.evaluations(d.apply); n != 0 {
					t.Fatal("there is no cache to be fooled")
				}
				if err := drift.do(d.root); err != nil {
					t.Fatal(err)
				}
				if how == "evaluated" {
					d.key = "other"
				}
				if drift.want == "" {
					if _, err := d.try(); err == nil {
						t.Error("nobody noticed")
					}
					return
				}
				expect(t, d.apply(), drift.want)
				expect(t, d.apply())
			})
		}
	}
}

// ours is r with whoever runs the test as its owner.
func ours(r plan.PathResource) plan.PathResource {
	switch r := r.(type) {
	case *plan.Dir:
		r.UID, r.GID = os.Geteuid(), os.Getegid()
	case *plan.File:
		r.UID, r.GID = os.Geteuid(), os.Getegid()
	}
	return r
}

// A service that changes what was just written, at once and to the same length, is
// not taken for what was written.
func TestChangedAtOnceIsSeen(t *testing.T) {
	for how, parts := range map[string][]any{"few": nil, "many": manyUnits()} {
		d := newOnDisk(t, append(parts, dir("etc"), file("etc/a", "one"), program("alpha"))...)
		d.meddle = func() {
			if err := os.WriteFile(d.root+"/etc/a", []byte("two"), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		d.apply()
		d.meddle = nil
		if got := d.apply(); !slices.Contains(got, "write etc/a") {
			t.Errorf("%s: %q", how, got)
		}
		expect(t, d.apply())
	}
}

// meddling is a manager whose services do something when they are started.
type meddling struct {
	*service.Recorder
	do func()
}

func (m meddling) Apply(ctx context.Context, instance string, changes []service.Change) error {
	m.do()
	return m.Recorder.Apply(ctx, instance, changes)
}

// What was written is on the disk before the state says so, and before anything
// else is: by one call, however much it is.
func TestSyncedBeforeSettled(t *testing.T) {
	w := newWorld(t)
	disk := &orderLog{Overlay: w.overlay}
	store := orderStore{w.store, disk}
	w.disk, w.saver = disk, store
	w.converge(append(manyUnits(), program("alpha"))...)
	want := []string{"claim", "write", "sync", "settle"}
	if !slices.Equal(disk.events, want) {
		t.Errorf("got %q, want %q", disk.events, want)
	}
	disk.events = nil
	w.converge(append(manyUnits(), program("alpha"))...)
	if len(disk.events) > 0 {
		t.Errorf("nothing was to be done, but %q", disk.events)
	}
}

// orderLog is a disk that notes what comes after what.
type orderLog struct {
	*fsys.Overlay
	mu     sync.Mutex
	events []string
}

func (l *orderLog) note(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.events); n == 0 || l.events[n-1] != what || what != "write" {
		l.events = append(l.events, what)
	}
}

func (l *orderLog) Rename(from, to string) error {
	l.note("write")
	return l.Overlay.Rename(from, to)
}

func (l *orderLog) SyncFS() error {
	l.note("sync")
	return l.Overlay.SyncFS()
}

// orderStore notes what it saves, too.
type orderStore struct {
	*state.Memory
	log *orderLog
}

func (o orderStore) Save(s *state.State) error {
	before := o.Saves
	err := o.Memory.Save(s)
	if o.Saves == before {
		return err
	}
	for _, rec := range s.Owned {
		if rec.Claim != nil {
			o.log.note("claim")
			return err
		}
	}
	o.log.note("settle")
	return err
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

// TestPauseIsShort: a clock that was put back does not keep an apply waiting.
func TestPauseIsShort(t *testing.T) {
	now := time.Now()
	for ago, want := range map[time.Duration]time.Duration{
		0: tick, tick / 4: tick * 3 / 4, tick: 0, time.Hour: tick - time.Hour, -tick / 4: tick, -time.Hour: tick,
	} {
		if got := pauseAfter(now.Add(-ago), now); got != want {
			t.Errorf("stamped %v ago: %v, want %v", ago, got, want)
		}
	}
}

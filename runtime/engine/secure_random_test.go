package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/state"
)

// randomParts returns a plan of files, folders, links and copies that do not
// contradict each other, with the implicit parents where a profile has them.
func randomParts(r *rand.Rand, withOnce bool) []any {
	names := []string{"a", "b", "c", "d"}
	kinds := map[string]string{}
	var order []string
	for range 1 + r.IntN(12) {
		depth := 1 + r.IntN(4)
		var elems []string
		for range depth {
			elems = append(elems, names[r.IntN(len(names))])
		}
		order = append(order, strings.Join(elems, "/"))
	}
	var parts []any
	declare := func(res plan.PathResource, kind string) {
		name := res.Target().Path
		if kinds[name] != "" {
			return
		}
		var missing []string
		for p := path.Dir(name); p != "."; p = path.Dir(p) {
			switch kinds[p] {
			case "":
				missing = append(missing, p)
			case "dir":
			default:
				return // below a file, link or copy
			}
		}
		for known := range kinds {
			if kind != "dir" && strings.HasPrefix(known, name+"/") {
				return
			}
		}
		slices.Reverse(missing)
		for _, p := range missing {
			d := dir(p)
			d.Implicit = true
			kinds[p] = "dir"
			parts = append(parts, d)
		}
		kinds[name] = kind
		parts = append(parts, res)
	}
	for _, name := range order {
		switch r.IntN(6) {
		case 0:
			d := dir(name)
			d.Mode = []plan.Mode{0o750, 0o700, 0o2755}[r.IntN(3)]
			if withOnce && r.IntN(3) == 0 {
				d.Once = true
			}
			declare(d, "dir")
		case 1:
			declare(link(name, []string{"a", "../b", "/etc", "nowhere"}[r.IntN(4)]), "link")
		case 2:
			declare(&plan.Copy{Meta: plan.Meta{Path: name, Mode: plan.KeepMode, UID: -1, GID: -1},
				From: testRoot + "/src" + []string{"1", "2", "1/f", "2/s"}[r.IntN(4)]}, "copy")
		default:
			f := file(name, strings.Repeat("x", r.IntN(3)))
			f.Mode = []plan.Mode{0o640, 0o600, 0o4755}[r.IntN(3)]
			if withOnce && r.IntN(4) == 0 {
				f.Once = true
			}
			declare(f, "file")
		}
	}
	return parts
}

// sources puts what randomParts copies.
func (w *world) sources() {
	w.put("src1/f", "1")
	w.put("src1/s/g", "2")
	w.put("src1/a", "3")
	w.put("src2/f/f", "4")
	w.put("src2/s", "5")
	if err := w.overlay.SymlinkIfPossible("s", "src1/b"); err != nil {
		w.t.Fatal(err)
	}
}

// planned is what a plan of the same profile says, and the tree it would lead to.
func (w *world) planned(parts []any) ([]report.Change, []string, error) {
	w.t.Helper()
	st, err := w.store.Load()
	if err != nil {
		w.t.Fatal(err)
	}
	paper := *w
	paper.overlay = fsys.NewOverlay(w.overlay).NoFollow()
	paper.disk = paper.overlay
	store, err := state.NewMemory(st)
	if err != nil {
		w.t.Fatal(err)
	}
	paper.store, paper.saver = store, store
	paper.profile = func(plan.View) *plan.Plan { return planOf(parts...) }
	e := paper.engine()
	e.Disk = &paper
	e.Planning = true
	rep, err := e.Converge(context.Background())
	return rep.Changes, paper.tree(), err
}

func TestRandomPlansOneAfterAnother(t *testing.T) {
	for seed := range uint64(seeds(t)) {
		r := rand.New(rand.NewPCG(seed, 7))
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w, fresh := newWorld(t), newWorld(t)
			w.sources()
			fresh.sources()
			var last []any
			for range 2 + r.IntN(3) {
				last = randomParts(r, false)
				planned, tree, err := w.planned(last)
				if err != nil {
					t.Fatalf("plan: %v", err)
				}
				w.profile = func(plan.View) *plan.Plan { return planOf(last...) }
				rep, err := w.apply()
				if err != nil {
					t.Fatalf("apply: %v", err)
				}
				if diff := cmp.Diff(planned, rep.Changes); diff != "" {
					t.Errorf("changes (-planned +made):\n%s", diff)
				}
				w.expectTree(tree...)
				saves := w.store.Saves
				if again := w.converge(last...); len(again) > 0 || w.store.Saves != saves {
					t.Errorf("a second apply: %v, %d saves", again, w.store.Saves-saves)
				}
			}
			fresh.converge(last...)
			w.expectTree(fresh.tree()...)
			w.sameOwned(fresh)
		})
		if !ok {
			t.Fatalf("seed %d", seed)
		}
	}
}

// sameOwned compares what two worlds own, but for when it was changed.
func (w *world) sameOwned(other *world) {
	w.t.Helper()
	owned := func(w *world) map[string]state.Owned {
		st, err := w.store.Load()
		if err != nil {
			w.t.Fatal(err)
		}
		for name, rec := range st.Owned {
			rec.Generation = 0
			st.Owned[name] = rec
		}
		return st.Owned
	}
	if diff := cmp.Diff(owned(other), owned(w)); diff != "" {
		w.t.Errorf("owned (-fresh +got):\n%s", diff)
	}
}

// Killed at a random change in each of several applies of different profiles, the
// last one leads to what it alone would have led to.
func TestRandomPlansKilledAtRandom(t *testing.T) {
	for seed := range uint64(seeds(t)) {
		r := rand.New(rand.NewPCG(seed, 8))
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w, fresh := newWorld(t), newWorld(t)
			w.sources()
			fresh.sources()
			for range 1 + r.IntN(5) {
				parts := randomParts(r, false)
				w.profile = func(plan.View) *plan.Plan { return planOf(parts...) }
				left := r.IntN(40)
				fault := faulty{w.overlay, &left}
				w.disk, w.saver = fault, faultyStore{w.store, fault}
				_, _ = w.apply()
				w.disk, w.saver = w.overlay, w.store
			}
			last := randomParts(r, false)
			w.converge(last...)
			fresh.converge(last...)
			w.expectTree(fresh.tree()...)
			w.sameOwned(fresh)
		})
		if !ok {
			t.Fatalf("seed %d", seed)
		}
	}
}

// seeds is how many random cases are tried: more with -count or by hand.
func seeds(t *testing.T) int {
	if testing.Short() {
		return 50
	}
	return 400
}

// With what is made once and files that were there before: a plan is exact, also
// in failing, what is once there stays, a failure changes nothing, and a second
// apply is empty.
func TestRandomPlansAmongDataAndForeignFiles(t *testing.T) {
	for seed := range uint64(seeds(t)) {
		r := rand.New(rand.NewPCG(seed, 9))
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t)
			w.sources()
			for _, part := range randomParts(r, false) { // foreign
				if f, ok := part.(*plan.File); ok && r.IntN(2) == 0 {
					w.put(f.Path, "foreign")
				}
			}
			data := map[string]string{}
			for range 3 + r.IntN(3) {
				parts := randomParts(r, true)
				before, saves := w.tree(), w.store.Saves
				planned, tree, planErr := w.planned(parts)
				w.profile = func(plan.View) *plan.Plan { return planOf(parts...) }
				rep, err := w.apply()
				if fmt.Sprint(err) != fmt.Sprint(planErr) {
					t.Fatalf("plan: %v\napply: %v", planErr, err)
				}
				if err != nil {
					w.expectTree(before...)
					if w.store.Saves != saves {
						t.Errorf("%v: the state was saved", err)
					}
					continue
				}
				if diff := cmp.Diff(planned, rep.Changes); diff != "" {
					t.Errorf("changes (-planned +made):\n%s", diff)
				}
				w.expectTree(tree...)
				saves = w.store.Saves
				if again := w.converge(parts...); len(again) > 0 || w.store.Saves != saves {
					t.Errorf("a second apply: %v, %d saves", again, w.store.Saves-saves)
				}
				w.keepsData(data, parts)
			}
		})
		if !ok {
			t.Fatalf("seed %d", seed)
		}
	}
}

// keepsData checks that every file of data is as it was, whatever parts say, and then
// adds to it what parts make once.
func (w *world) keepsData(data map[string]string, parts []any) {
	w.t.Helper()
	for name, text := range data {
		if got, err := fsys.ReadRegular(w.overlay, name, 100); err != nil || string(got) != text {
			w.t.Errorf("%s, made once, is %q, %v, and was %q", name, got, err, text)
		}
	}
	for _, part := range parts {
		f, ok := part.(*plan.File)
		if !ok || !f.Once || data[f.Path] != "" {
			continue
		}
		text := "data of " + f.Path
		w.put(f.Path, text)
		data[f.Path] = text
	}
}

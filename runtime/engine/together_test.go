package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/afero"

	"instar/runtime/fsys"
	"instar/runtime/plan"
)

// breaking is a disk whose changes fail from one moment on, whoever makes them.
type breaking struct {
	*fsys.Overlay
	left atomic.Int64
}

func (b *breaking) hit() error {
	if b.left.Add(-1) < 0 {
		return errKilled
	}
	return nil
}

func (b *breaking) OpenFile(name string, flag int, perm fs.FileMode) (afero.File, error) {
	if flag&os.O_CREATE != 0 {
		if err := b.hit(); err != nil {
			return nil, err
		}
	}
	return b.Overlay.OpenFile(name, flag, perm)
}

func (b *breaking) Mkdir(name string, perm fs.FileMode) error {
	if err := b.hit(); err != nil {
		return err
	}
	return b.Overlay.Mkdir(name, perm)
}

func (b *breaking) Rename(from, to string) error {
	if err := b.hit(); err != nil {
		return err
	}
	return b.Overlay.Rename(from, to)
}

func (b *breaking) Remove(name string) error {
	if b.left.Load() < 0 {
		return errKilled
	}
	return b.Overlay.Remove(name)
}

// manyUnits are folders and files, some folders in folders that another worker
// makes, with a link in the middle.
func manyUnits() []any {
	parts := []any{dir("srv"), dir("deep")}
	for i := range 300 {
		unit := fmt.Sprintf("srv/unit-%d", i)
		parts = append(parts, dir(unit), file(unit+"/a", fmt.Sprint("a", i)), file(unit+"/b", fmt.Sprint("b", i)))
		if i == 150 {
			parts = append(parts, link("srv/link", "unit-0"))
		}
		parts = append(parts, dir("deep/"+strings.Repeat("x/", i%40)+fmt.Sprint("d", i)))
	}
	// What lies in a folder comes behind it: sort the nested ones in.
	nested := []any{dir("deep")}
	path := "deep"
	for range 40 {
		path += "/x"
		nested = append(nested, dir(path))
	}
	return append(append([]any{parts[0]}, nested...), parts[2:]...)
}

func TestManyTogether(t *testing.T) {
	parts := manyUnits()
	alone := newWorld(t) // in memory, one after the other
	want := alone.converge(parts...)
	if len(want) != len(parts) {
		t.Fatalf("%d changes of %d", len(want), len(parts))
	}

	w := newWorld(t)
	w.disk = afero.Fs(newBreaking(w, 1<<40))
	if diff := cmp.Diff(want, w.converge(parts...)); diff != "" {
		t.Fatalf("told otherwise: %s", diff)
	}
	if diff := cmp.Diff(alone.tree(), w.tree()); diff != "" {
		t.Fatal(diff)
	}
	expect(t, w.converge(parts...))
}

func newBreaking(w *world, changes int64) *breaking {
	b := &breaking{Overlay: w.overlay}
	b.left.Store(changes)
	return b
}

// Broken off anywhere, what was done is told and claimed, and the next apply does
// the rest.
func TestManyTogetherBrokenOff(t *testing.T) {
	parts := manyUnits()
	undisturbed := newWorld(t)
	undisturbed.converge(parts...)
	for k := int64(0); k < 2400; k += 97 {
		w := newWorld(t)
		w.disk = newBreaking(w, k)
		w.profile = func(plan.View) *plan.Plan { return planOf(parts...) }
		rep, err := w.apply()
		if !errors.Is(err, errKilled) {
			t.Fatalf("after %d changes: %v", k, err)
		}
		st, err := w.store.Load()
		if err != nil {
			t.Fatal(err)
		}
		there := map[string]bool{}
		for _, line := range w.tree() {
			name := strings.TrimSuffix(strings.Fields(line)[0], "/")
			there[name] = true
			if _, ok := st.Owned[name]; !ok && !fsys.IsTemp(name) {
				t.Errorf("after %d changes: %s is there, and nobody's", k, line)
			}
		}
		for _, c := range rep.Changes {
			if !there[c.Path] {
				t.Errorf("after %d changes: %s was told, and is not there", k, c.Path)
			}
			delete(there, c.Path)
		}
		for name := range there {
			if !fsys.IsTemp(name) {
				t.Errorf("after %d changes: %s is there, and was not told", k, name)
			}
		}
		w.disk = w.overlay
		w.converge(parts...)
		if diff := cmp.Diff(undisturbed.tree(), w.tree()); diff != "" {
			t.Fatalf("after %d changes: %s", k, diff)
		}
	}
}

package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/afero"

	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/state"
)

var errKilled = errors.New("killed here")

// faulty kills the process, as far as the disk and the state can see, at the
// k-th change: that one and all later ones fail.
type faulty struct {
	*fsys.Overlay
	left *int
}

func (f faulty) hit() error {
	*f.left--
	if *f.left < 0 {
		return errKilled
	}
	return nil
}

func (f faulty) OpenFile(name string, flag int, perm fs.FileMode) (afero.File, error) {
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE|os.O_TRUNC) != 0 {
		if err := f.hit(); err != nil {
			return nil, err
		}
	}
	file, err := f.Overlay.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return faultyFile{file, f}, nil
}

type faultyFile struct {
	afero.File
	fault faulty
}

func (f faultyFile) Write(b []byte) (int, error) {
	if err := f.fault.hit(); err != nil {
		n, _ := f.File.Write(b[:len(b)/2]) // torn
		return n, err
	}
	return f.File.Write(b)
}

// Chmod and Chown act on the descriptor, as fsys wants them.
func (f faultyFile) Chmod(mode fs.FileMode) error {
	return f.fault.guard(func() error { return f.File.(interface{ Chmod(fs.FileMode) error }).Chmod(mode) })
}
func (f faultyFile) Chown(uid, gid int) error {
	return f.fault.guard(func() error { return f.File.(interface{ Chown(int, int) error }).Chown(uid, gid) })
}

func (f faulty) Mkdir(name string, perm fs.FileMode) error {
	return f.guard(func() error { return f.Overlay.Mkdir(name, perm) })
}
func (f faulty) Remove(name string) error {
	return f.guard(func() error { return f.Overlay.Remove(name) })
}
func (f faulty) Rename(from, to string) error {
	return f.guard(func() error { return f.Overlay.Rename(from, to) })
}
func (f faulty) Chmod(name string, mode fs.FileMode) error {
	return f.guard(func() error { return f.Overlay.Chmod(name, mode) })
}
func (f faulty) SymlinkIfPossible(to, name string) error {
	return f.guard(func() error { return f.Overlay.SymlinkIfPossible(to, name) })
}

func (f faulty) guard(do func() error) error {
	if err := f.hit(); err != nil {
		return err
	}
	return do()
}

// faultyStore counts saves of the state as changes too.
type faultyStore struct {
	*state.Memory
	fault faulty
}

func (s faultyStore) Save(st *state.State) error {
	return s.fault.guard(func() error { return s.Memory.Save(st) })
}

// TestKilledAtEveryChange applies one plan after another, kills the second apply
// at its k-th change for every k, and then applies a third: nothing of the
// interrupted one may remain.
func TestKilledAtEveryChange(t *testing.T) {
	before := []any{dir("keep"), file("keep/a", "1"), dir("old"), file("old/b", "2"), file("turn", "file"), link("l", "keep")}
	during := []any{dir("keep"), file("keep/a", "changed"), dir("new"), file("new/c", "3"), dir("turn"), file("turn/in", "x"), link("l", "new"), file("foreign", "ours")}
	afters := map[string][]any{
		"first again":  before,
		"second again": during,
		"a third":      {file("keep", "now a file"), dir("other"), file("other/d", "4")},
		"nothing":      {},
	}
	for name, after := range afters {
		t.Run(name, func(t *testing.T) {
			for k, done := 0, false; !done; k++ {
				done = killAt(t, k, before, during, after)
				if k > 500 {
					t.Fatal("the apply never came to its end")
				}
			}
		})
	}
}

// killAt reports whether the apply came to its end before the k-th change.
func killAt(t *testing.T, k int, before, during, after []any) bool {
	t.Helper()
	w, fresh := newWorld(t), newWorld(t)
	for _, each := range []*world{w, fresh} {
		each.put("foreign", "theirs")
		each.converge(before...)
	}
	left := k
	fault := faulty{w.overlay, &left}
	w.disk, w.saver = fault, faultyStore{w.store, fault}
	w.profile = func(plan.View) *plan.Plan { return planOf(during...) }
	_, err := w.apply()
	if err != nil && !errors.Is(err, errKilled) {
		t.Fatalf("k = %d: %v", k, err)
	}
	w.disk, w.saver = w.overlay, w.store
	replaced := false // the foreign file cannot come back once it was replaced
	if data, _ := fsys.ReadRegular(w.overlay, "foreign", 100); string(data) == "ours" {
		replaced = true
	}
	if replaced {
		fresh.converge(during...)
	}
	w.converge(after...)
	fresh.converge(after...)
	if diff := cmp.Diff(fresh.tree(), w.tree()); diff != "" {
		t.Errorf("killed at change %d (-undisturbed +got):\n%s", k, diff)
	}
	if got := w.converge(after...); len(got) > 0 {
		t.Errorf("killed at change %d: not settled: %v", k, got)
	}
	st, loadErr := w.store.Load()
	if loadErr != nil {
		t.Fatal(loadErr)
	}
	for name, rec := range st.Owned {
		if rec.Claim != nil {
			t.Errorf("killed at change %d: %s is still claimed", k, fmt.Sprint(name, rec))
		}
	}
	return err == nil
}

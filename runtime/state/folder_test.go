package state

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLockLeavesNothingOfAnInstanceWithoutState(t *testing.T) {
	home := filepath.Join(t.TempDir(), "a", "b")
	f := Home(home).Instance("web")
	unlock, err := f.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Lock(); !errors.Is(err, ErrLocked) {
		t.Errorf("a second lock: %v", err)
	}
	unlock()
	if _, err := os.Lstat(filepath.Dir(home)); !os.IsNotExist(err) {
		t.Errorf("something is left: %v", err)
	}

	unlock, err = f.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Save(New("web")); err != nil {
		t.Fatal(err)
	}
	unlock()
	if !f.Exists() {
		t.Error("the state is gone")
	}
}

func TestLockKeepsFoldersThatWereThere(t *testing.T) {
	home := t.TempDir()
	unlock, err := Home(home).Instance("web").Lock()
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if left, err := os.ReadDir(home); err != nil || len(left) != 0 {
		t.Errorf("got %v, %v, want an empty folder", left, err)
	}
}

// Removing the lock must not let two hold it at once.
func TestLockIsExclusiveWhileItComesAndGoes(t *testing.T) {
	f := Home(t.TempDir()).Instance("web")
	var holders, most atomic.Int32
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for taken := 0; taken < 50; {
				unlock, err := f.Lock()
				if errors.Is(err, ErrLocked) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(20 * time.Microsecond)
				holders.Add(-1)
				unlock()
				taken++
			}
		})
	}
	work.Wait()
	if most.Load() != 1 {
		t.Errorf("%d held the lock at once", most.Load())
	}
}

func TestGivenKeepsEveryByte(t *testing.T) {
	f := Home(t.TempDir()).Instance("web")
	s := New("web")
	s.Settings.Params = map[string]Given{"null": {}}
	for _, text := range []string{"", "a b", "\xff\x00\xfe", "<&>\u2028\"\\\n", "é"} {
		s.Settings.Params[text] = Given{Text: &text}
	}
	// Keys are names; only values may be anything.
	s.Settings.Params["bytes"] = s.Settings.Params["\xff\x00\xfe"]
	delete(s.Settings.Params, "\xff\x00\xfe")
	if err := f.Save(s); err != nil {
		t.Fatal(err)
	}
	got, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.Settings.Params, got.Settings.Params); diff != "" {
		t.Errorf("parameters (-saved +loaded):\n%s", diff)
	}
}

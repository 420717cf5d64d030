package state

import (
	"os"
	"testing"
)

// The state went before the records of commands: after a purge that was killed in
// between, nothing could be destroyed, and a new instance of that name took the
// commands of the old one for its own, as done.
func TestRemoveTakesTheStateLast(t *testing.T) {
	for interrupted := range 2 {
		f := Home(t.TempDir()).Instance("web")
		if err := f.Save(New("web")); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(f.Path("commands"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.Path("commands", "c.json"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if interrupted == 1 { // removing state.json, a folder that is not empty, fails
			if err := os.Remove(f.Path("state.json")); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(f.Path("state.json", "in"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		err := f.Remove()
		if _, left := os.Lstat(f.Path("commands")); !os.IsNotExist(left) {
			t.Errorf("the records are left: %v", left)
		}
		if _, left := os.Lstat(string(f)); interrupted == 0 && !os.IsNotExist(left) {
			t.Errorf("the folder is left: %v", left)
		}
		if (err != nil) != (interrupted == 1) {
			t.Errorf("interrupted %d: %v", interrupted, err)
		}
	}
}

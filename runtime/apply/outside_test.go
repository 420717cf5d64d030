//go:build unix

package apply

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"instar/runtime/fsys"
)

// A file of 3 GiB to be copied, or a device, was read into memory, and a pipe was
// waited for.
func TestWhatIsReadOutsideIsBounded(t *testing.T) {
	dir := t.TempDir()
	large, pipe, device := filepath.Join(dir, "large"), filepath.Join(dir, "pipe"), filepath.Join(dir, "device")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", device); err != nil {
		t.Fatal(err)
	}
	v := NewView("/nowhere", fsys.NewOverlay(nil))
	for name, want := range map[string]error{
		large: fsys.ErrTooLarge, pipe: fsys.ErrNotRegular, device: fsys.ErrNotRegular, dir: fsys.ErrNotRegular,
	} {
		done := make(chan error, 1)
		go func() {
			_, err := v.ReadFile(name)
			done <- err
		}()
		select {
		case err := <-done:
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: still being read", name)
		}
	}
}

package fsys

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// Where the disk vouches, a file that is changed right behind the look at it, to the
// same length, is told from what it was.
func TestVouches(t *testing.T) {
	dir := t.TempDir()
	root, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if !Vouches(root) {
		t.Skip("the times of this file system are those of a tick")
	}
	name := filepath.Join(dir, "f")
	for i := range 300 {
		data := bytes.Repeat([]byte{byte(i)}, 400)
		sig, err := WriteFileSeen(root, "f", data, 0o640, -1, -1)
		if err != nil {
			t.Fatal(err)
		}
		now, err := lstatSig(root, "f")
		if err != nil || now != sig || sig.Size != 400 || sig.Mode&bits12 != 0o640 {
			t.Fatalf("lstat says %+v, %v; what was told is %+v", now, err, sig)
		}
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("x"), 7); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if now, err := lstatSig(root, "f"); err != nil || now == sig {
			t.Fatalf("a change was not seen: %+v, %v", now, err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("beside it there is %v, %v", names, err)
	}
}

// What is too large to be read again at once, and what nothing vouches for, has no
// signature.
func TestNotVouchedFor(t *testing.T) {
	root, err := OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if sig, err := WriteFileSeen(root, "large", make([]byte, maxStraight+1), 0o600, -1, -1); err != nil || sig != (Sig{}) {
		t.Errorf("%+v, %v", sig, err)
	}
	if sig, err := WriteFileSeen(NewOverlay(nil), "f", nil, 0o600, -1, -1); err != nil || sig != (Sig{}) {
		t.Errorf("%+v, %v", sig, err)
	}
}

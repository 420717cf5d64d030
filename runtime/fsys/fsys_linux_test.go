package fsys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/afero"
	"golang.org/x/sys/unix"
)

func TestModesThereAndBack(t *testing.T) {
	for _, kind := range []uint32{kindFile, kindDir, kindLink, kindPipe, kindSocket, kindBlock, kindChar} {
		for _, bits := range []uint32{0, 0o777, 0o4755, 0o2750, 0o1777, 0o7777, 0o640} {
			if got := unixMode(fileMode(kind | bits)); got != kind|bits {
				t.Errorf("%o became %o", kind|bits, got)
			}
		}
	}
	for name, want := range map[string]fs.FileMode{"/dev/null": fs.ModeDevice | fs.ModeCharDevice, "/proc/self": fs.ModeSymlink, "/tmp": fs.ModeDir} {
		fi, err := os.Lstat(name)
		ok(t, err)
		if got := fileMode(unixMode(fi.Mode())); got != fi.Mode() || got.Type() != want {
			t.Errorf("%s: %v became %v", name, fi.Mode(), got)
		}
	}
}

// TestOnAnyFs tries the functions on a file system that has none of the optional
// interfaces.
func TestOnAnyFs(t *testing.T) {
	plain := struct{ afero.Fs }{afero.NewMemMapFs()}
	ok(t, afero.WriteFile(plain, "f", []byte("x"), 0o600))
	ok(t, Chmod(plain, "f", 0o4711))
	fi, err := Lstat(plain, "f")
	ok(t, err)
	if Unix(fi) != 0o4711 {
		t.Errorf("%o", Unix(fi))
	}
	if _, _, known := Owner(fi); known {
		t.Error("a MemMapFs that knows the owner")
	}
	ok(t, Chown(plain, "f", 1, 2))
	ok(t, SyncFS(plain))
	if _, err := Readlink(plain, "f"); !errors.Is(err, afero.ErrNoReadlink) {
		t.Errorf("Readlink: %v", err)
	}
	if err := WriteLink(plain, "l", "f", -1, -1); !errors.Is(err, afero.ErrNoSymlink) {
		t.Errorf("WriteLink: %v", err)
	}
	if err := WriteFile(plain, "g", nil, 0o600, -1, -1); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("WriteFile: %v", err)
	}
	n := 0
	ok(t, LstatEach(plain, []string{"f", "no"}, func(_ int, _ Sig, err error) error {
		if n++; (n == 2) != errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d: %v", n, err)
		}
		return nil
	}))
	for _, err := range []error{Chmod(plain, "no", 0), Chown(plain, "no", 1, 1)} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}

func TestChmodAndChownOfLinksOnOS(t *testing.T) {
	o := osFS{dir: t.TempDir()}
	ok(t, WriteFile(o, "f", nil, 0o600, -1, -1))
	ok(t, WriteLink(o, "l", "f", -1, -1))
	if err := Chmod(o, "l", 0o777); !errors.Is(err, ErrRefused) {
		t.Errorf("Chmod: %v", err)
	}
	if fi, _ := o.Stat("f"); Unix(fi) != 0o600 {
		t.Errorf("%o", Unix(fi))
	}
}

func TestFilesSatisfyMoreThanAfero(t *testing.T) {
	for name, fsys := range map[string]afero.Fs{"root": openTestRoot(t), "portable root": openPortableRoot(t), "overlay": NewOverlay(nil)} {
		t.Run(name, func(t *testing.T) {
			ok(t, fsys.MkdirAll("d/a", 0o755))
			ok(t, WriteFile(fsys, "d/b", []byte("x"), 0o644, -1, -1))
			ok(t, SyncFS(fsys))
			f, err := fsys.Open("./d")
			ok(t, err)
			defer f.Close()
			if f.Name() != "./d" || fsys.Name() == "" {
				t.Errorf("%q in %q", f.Name(), fsys.Name())
			}
			entries, err := f.(fs.ReadDirFile).ReadDir(-1)
			ok(t, err)
			found := map[string]bool{}
			for _, e := range entries {
				found[fmt.Sprint(e.Name(), e.IsDir())] = true
			}
			if d := cmp.Diff(map[string]bool{"atrue": true, "bfalse": true}, found); d != "" {
				t.Error(d)
			}
			g, err := fsys.OpenFile("d/b", os.O_RDWR, 0)
			ok(t, err)
			ok(t, g.Sync())
			ok(t, g.Close())
			// afero's own helpers work on it.
			var walked []string
			ok(t, afero.Walk(fsys, ".", func(path string, _ fs.FileInfo, err error) error {
				walked = append(walked, path)
				return err
			}))
			if d := cmp.Diff([]string{".", "d", "d/a", "d/b"}, walked); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestModeByProc is what fdDisk does where the kernel has no fchmodat2.
func TestModeByProc(t *testing.T) {
	r := openTestRoot(t)
	ok(t, WriteFile(r, "f", nil, 0o000, -1, -1))
	fd, err := r.disk.(*fdDisk).openat2("f", unix.O_PATH, 0)
	ok(t, err)
	defer unix.Close(fd)
	ok(t, unix.Chmod(procPath(fd), 0o4711))
	if fi, _ := Lstat(r, "f"); Unix(fi) != 0o4711 {
		t.Errorf("%o", Unix(fi))
	}
}

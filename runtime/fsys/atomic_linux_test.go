package fsys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/afero"
	"golang.org/x/sys/unix"
)

// writers are the file systems on which the atomic functions must work.
func writers(t *testing.T) map[string]afero.Fs {
	return map[string]afero.Fs{
		"root":          openTestRoot(t),
		"portable root": openPortableRoot(t),
		"overlay":       NewOverlay(nil),
		"over root":     NewOverlay(openTestRoot(t)).NoFollow(),
		"os":            osFS{dir: t.TempDir()},
	}
}

func eachWriter(t *testing.T, test func(t *testing.T, fsys afero.Fs)) {
	for name, fsys := range writers(t) {
		t.Run(name, func(t *testing.T) { test(t, fsys) })
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTempName(t *testing.T) {
	for name, want := range map[string]string{
		"etc/x":       "etc/.instar-tmp-2d711642b726",
		"x":           ".instar-tmp-2d711642b726",
		"a/b/../b/x":  "a/b/../b/.instar-tmp-2d711642b726",
		"another/one": "another/.instar-tmp-7692c3ad3540",
	} {
		if got := TempName(name); got != want {
			t.Errorf("TempName(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestIsTemp(t *testing.T) {
	for name, want := range map[string]bool{TempName("a/b"): true, TempName("x"): true, "a/b": false, TempName("x") + "/y": false} {
		if IsTemp(name) != want {
			t.Errorf("IsTemp(%q) = %v", name, !want)
		}
	}
}

func TestWhatWasReplacedIsNotGivenAway(t *testing.T) {
	eachRoot(t, func(t *testing.T, r *Root) {
		ok(t, r.MkdirAll("full/x", 0o700))
		ok(t, WriteFile(r, "f", nil, 0o600, -1, -1))
		before := dump(t, r)
		if err := settle(r, "full", 0o777, -1, -1); !errors.Is(err, ErrRefused) {
			t.Errorf("folder: %v", err)
		}
		if err := settle(r, "f", 0o777, -1, -1); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("file for a folder: %v", err)
		}
		if err := chownLink(r, "f", os.Geteuid(), os.Getegid()); !errors.Is(err, ErrRefused) {
			t.Errorf("file for a link: %v", err)
		}
		if d := cmp.Diff(before, dump(t, r)); d != "" {
			t.Error(d)
		}
	})
}

func TestAtomicWriters(t *testing.T) {
	eachWriter(t, func(t *testing.T, fsys afero.Fs) {
		unix.Umask(0o077)
		defer unix.Umask(0o022)
		ok(t, MakeDir(fsys, "d", 0o2775, -1, -1))
		ok(t, MakeDir(fsys, "d/closed", 0o000, -1, -1))
		ok(t, WriteFile(fsys, "d/f", []byte("one"), 0o6755, -1, -1))
		ok(t, WriteFile(fsys, "d/f", []byte("two!"), 0o4751, -1, -1))
		ok(t, WriteFile(fsys, "d/empty", nil, 0o000, -1, -1))
		ok(t, WriteLink(fsys, "d/l", "any/where", -1, -1))
		ok(t, WriteLink(fsys, "d/l", "else/where", -1, -1))
		ok(t, WriteLink(fsys, "d/empty", "f", -1, -1))
		ok(t, WriteFile(fsys, "d/l2", []byte("x"), 0o644, -1, -1))
		ok(t, WriteLink(fsys, "d/l3", "/no/where", -1, -1))
		ok(t, WriteFile(fsys, "d/l3", []byte("no longer a link"), 0o1644, -1, -1))
		ok(t, fsys.Chmod("d/closed", 0o700))
		ok(t, Chmod(fsys, "d/l2", 0o7777))
		want := []string{
			"d d dgrwxrwxr-x", "d/closed closed drwx------", "d/empty empty Lrwxrwxrwx -> f <nil>",
			`d/f f urwxr-x--x 4 bytes "two!" <nil>`, "d/l l Lrwxrwxrwx -> else/where <nil>",
			`d/l2 l2 ugtrwxrwxrwx 1 bytes "x" <nil>`, `d/l3 l3 trw-r--r-- 16 bytes "no longer a link" <nil>`,
		}
		if d := cmp.Diff(want, dump(t, fsys)); d != "" {
			t.Error(d)
		}
	})
}

func TestAtomicWritersSetTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	eachWriter(t, func(t *testing.T, fsys afero.Fs) {
		ok(t, MakeDir(fsys, "d", 0o750, 11, 12))
		ok(t, WriteFile(fsys, "d/f", []byte("x"), 0o6755, 13, 14))
		ok(t, WriteFile(fsys, "d/g", []byte("x"), 0o640, -1, 15))
		ok(t, WriteLink(fsys, "d/l", "f", 16, 17))
		ok(t, Chown(fsys, "d/l", -1, 18))
		want := []string{
			"d d drwxr-x--- of 11:12", `d/f f ugrwxr-xr-x 1 bytes of 13:14 "x" <nil>`, `d/g g -rw-r----- 1 bytes of 0:15 "x" <nil>`,
			"d/l l Lrwxrwxrwx of 16:18 -> f <nil>",
		}
		if d := cmp.Diff(want, dump(t, fsys)); d != "" {
			t.Error(d)
		}
	})
}

func TestAtomicWritersFailCleanly(t *testing.T) {
	eachWriter(t, func(t *testing.T, fsys afero.Fs) {
		ok(t, fsys.Mkdir("d", 0o755))
		ok(t, WriteFile(fsys, "f", []byte("old"), 0o644, -1, -1))
		before := dump(t, fsys)
		for _, c := range []struct {
			what string
			err  error
			want error
		}{
			{"file onto a folder", WriteFile(fsys, "d", nil, 0o644, -1, -1), fs.ErrExist},
			{"link onto a folder", WriteLink(fsys, "d", "x", -1, -1), fs.ErrExist},
			{"folder onto a file", MakeDir(fsys, "f", 0o755, -1, -1), fs.ErrExist},
			{"folder onto a folder", MakeDir(fsys, "d", 0o755, -1, -1), fs.ErrExist},
			{"no parent", WriteFile(fsys, "no/f", nil, 0o644, -1, -1), fs.ErrNotExist},
			{"no parent", WriteLink(fsys, "no/f", "x", -1, -1), fs.ErrNotExist},
			{"no parent", MakeDir(fsys, "no/f", 0o755, -1, -1), fs.ErrNotExist},
			{"below a file", WriteFile(fsys, "f/f", nil, 0o644, -1, -1), syscall.ENOTDIR},
			{"name too long", WriteFile(fsys, strings.Repeat("n", 256), nil, 0o644, -1, -1), syscall.ENAMETOOLONG},
			{"no target", WriteLink(fsys, "l", "", -1, -1), syscall.ENOENT},
		} {
			if !errors.Is(c.err, c.want) {
				t.Errorf("%s: %v", c.what, c.err)
			}
		}
		if d := cmp.Diff(before, dump(t, fsys)); d != "" {
			t.Error(d)
		}
	})
}

func TestLeftoverTemporaryIsReplaced(t *testing.T) {
	eachWriter(t, func(t *testing.T, fsys afero.Fs) {
		leftovers := []func(tmp string){
			func(tmp string) { ok(t, afero.WriteFile(fsys, tmp, []byte("half"), 0o666)) },
			func(tmp string) { ok(t, fsys.(afero.Linker).SymlinkIfPossible("victim", tmp)) },
			func(tmp string) { ok(t, fsys.Mkdir(tmp, 0o755)) },
			func(tmp string) { ok(t, fsys.MkdirAll(path.Join(tmp, "full/of"), 0o755)) },
		}
		ok(t, afero.WriteFile(fsys, "victim", []byte("precious"), 0o644))
		for i, leave := range leftovers {
			f, l := fmt.Sprintf("f%d", i), fmt.Sprintf("l%d", i)
			leave(TempName(f))
			leave(TempName(l))
			ok(t, WriteFile(fsys, f, []byte("new"), 0o600, -1, -1))
			ok(t, WriteLink(fsys, l, "new", -1, -1))
		}
		want := []string{
			`f0 f0 -rw------- 3 bytes "new" <nil>`, `f1 f1 -rw------- 3 bytes "new" <nil>`, `f2 f2 -rw------- 3 bytes "new" <nil>`,
			`f3 f3 -rw------- 3 bytes "new" <nil>`, "l0 l0 Lrwxrwxrwx -> new <nil>", "l1 l1 Lrwxrwxrwx -> new <nil>",
			"l2 l2 Lrwxrwxrwx -> new <nil>", "l3 l3 Lrwxrwxrwx -> new <nil>", `victim victim -rw-r--r-- 8 bytes "precious" <nil>`,
		}
		if d := cmp.Diff(want, dump(t, fsys)); d != "" {
			t.Error(d)
		}
	})
}

// failing fails in the nth operation of an atomic write.
type failing struct {
	afero.Fs
	left  int
	calls *[]string
}

var errInjected = errors.New("injected")

func (f *failing) fail(call string) error {
	*f.calls = append(*f.calls, call)
	if f.left--; f.left == 0 {
		return errInjected
	}
	return nil
}

func (f *failing) OpenFile(name string, flag int, perm fs.FileMode) (afero.File, error) {
	if err := f.fail("open"); err != nil {
		return nil, err
	}
	file, err := f.Fs.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &failingFile{file, f}, nil
}

func (f *failing) Rename(from, to string) error {
	if err := f.fail("rename"); err != nil {
		return err
	}
	return f.Fs.Rename(from, to)
}

type failingFile struct {
	afero.File
	fs *failing
}

func (f *failingFile) Write(b []byte) (int, error) {
	if err := f.fs.fail("write"); err != nil {
		return 0, err
	}
	return f.File.Write(b)
}
func (f *failingFile) Chmod(mode fs.FileMode) error {
	if err := f.fs.fail("chmod"); err != nil {
		return err
	}
	return f.File.(fileOwner).Chmod(mode)
}
func (f *failingFile) Chown(uid, gid int) error {
	if err := f.fs.fail("chown"); err != nil {
		return err
	}
	return f.File.(fileOwner).Chown(uid, gid)
}
func (f *failingFile) Close() error {
	f.File.Close()
	return f.fs.fail("close")
}

func TestWriteFileFailsAtEveryStep(t *testing.T) {
	steps := []string{"open", "write", "chown", "chmod", "close", "rename"}
	for n := 1; n <= len(steps)+1; n++ {
		o := NewOverlay(nil)
		ok(t, WriteFile(o, "f", []byte("old"), 0o644, -1, -1))
		var calls []string
		err := WriteFile(&failing{o, n, &calls}, "f", []byte("new"), 0o600, os.Geteuid(), -1)
		want := `f f -rw-r--r-- 3 bytes "old" <nil>`
		if n > len(steps) {
			want = `f f -rw------- 3 bytes "new" <nil>`
			if d := cmp.Diff(steps, calls); d != "" {
				t.Errorf("order: %s", d)
			}
		} else if !errors.Is(err, errInjected) {
			t.Errorf("at %s: %v", steps[n-1], err)
		}
		if d := cmp.Diff([]string{want}, dump(t, o)); d != "" {
			t.Errorf("%d: %s", n, d)
		}
	}
}

func TestReadRegular(t *testing.T) {
	r := openTestRoot(t)
	ok(t, WriteFile(r, "f", []byte("12345"), 0o644, -1, -1))
	ok(t, WriteFile(r, "empty", nil, 0o644, -1, -1))
	ok(t, r.Mkdir("d", 0o755))
	ok(t, r.SymlinkIfPossible("f", "l"))
	ok(t, unix.Mkfifo(r.Dir()+"/pipe", 0o666))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	ok(t, err)
	defer unix.Close(fd)
	dir := r.Dir()
	t.Chdir(dir)
	ok(t, unix.Bind(fd, &unix.SockaddrUnix{Name: "socket"}))
	for name, fsys := range map[string]afero.Fs{
		"root": r, "overlay": NewOverlay(r), "strict overlay": NewOverlay(r).NoFollow(), "os": osFS{dir: dir}, "overlay over os": NewOverlay(osFS{dir: dir}),
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct {
				name string
				max  int64
				want string
				err  error
				text string
			}{
				{"f", 5, "12345", nil, ""},
				{"f", 100, "12345", nil, ""},
				{"f", 4, "", ErrTooLarge, "read f: larger than 4 bytes"},
				{"empty", 0, "", nil, ""},
				{"d", 9, "", ErrNotRegular, "read d: it is a folder, not a regular file"},
				{"pipe", 9, "", ErrNotRegular, "read pipe: it is a pipe, not a regular file"},
				{"socket", 9, "", ErrNotRegular, "read socket: it is a socket, not a regular file"},
				{"l", 9, "", ErrRefused, "open l: refused: it is a symbolic link"},
				{"no", 9, "", fs.ErrNotExist, ""},
				{"f/x", 9, "", syscall.ENOTDIR, ""},
			} {
				soon(t, func() {
					data, err := ReadRegular(fsys, c.name, c.max)
					if string(data) != c.want || !errors.Is(err, c.err) || c.text != "" && err.Error() != c.text {
						t.Errorf("%s: %q, %v", c.name, data, err)
					}
				})
			}
		})
	}
	ok(t, syscall.Access("/dev/zero", 4))
	if _, err := ReadRegular(afero.NewOsFs(), "/dev/zero", 9); !errors.Is(err, ErrNotRegular) {
		t.Errorf("/dev/zero: %v", err)
	}
}

func TestReadRegularOfAGrowingFile(t *testing.T) {
	// /proc files say that they are empty.
	data, err := ReadRegular(afero.NewOsFs(), "/proc/self/status", 1<<20)
	if err != nil || len(data) < 100 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if _, err := ReadRegular(afero.NewOsFs(), "/proc/self/status", 100); !errors.Is(err, ErrTooLarge) {
		t.Errorf("bounded: %v", err)
	}
}

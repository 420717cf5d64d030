package fsys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/afero"
	"golang.org/x/sys/unix"
)

// roots are the two ways of containing.
var roots = map[string]func(t *testing.T) *Root{"root": openTestRoot, "portable root": openPortableRoot}

func eachRoot(t *testing.T, test func(t *testing.T, r *Root)) {
	for name, open := range roots {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// outside makes a folder that nothing may reach, and checks that nothing did.
func outside(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	guard(t, dir)
	return dir
}

// guard fills a folder and checks at the end that it is as it was.
func guard(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"victim", "sub/victim"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("precious"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := dump(t, osFS{dir: dir})
	t.Cleanup(func() {
		if d := cmp.Diff(before, dump(t, osFS{dir: dir})); d != "" {
			t.Errorf("it changed:\n%s", d)
		}
	})
}

func targets(name string) []string {
	return []string{name, name + "/victim", name + "/sub/victim", name + "/new", name + "/sub/new"}
}

// attackByOpening writes through name and below it.
func attackByOpening(r *Root, name string) {
	for _, at := range targets(name) {
		for _, flag := range []int{
			os.O_WRONLY, os.O_RDWR | os.O_APPEND, os.O_WRONLY | os.O_CREATE, os.O_WRONLY | os.O_CREATE | os.O_TRUNC,
			os.O_WRONLY | os.O_CREATE | os.O_EXCL, os.O_RDONLY | os.O_TRUNC,
		} {
			if f, err := r.OpenFile(at, flag, 0o666); err == nil {
				f.WriteString("owned")
				f.Close()
			}
		}
		r.Mkdir(at, 0o755)
		WriteFile(r, at+"/w", []byte("owned"), 0o644, -1, -1)
	}
}

// attack does everything that could write through name.
func attack(r *Root, name string) {
	now := time.Now()
	attackByOpening(r, name)
	for _, at := range targets(name) {
		r.Chmod(at, 0o777)
		r.Chown(at, 12, 12)
		r.Chtimes(at, now, now)
		r.Mkdir(at, 0o755)
		r.MkdirAll(at+"/deep/er", 0o755)
		r.SymlinkIfPossible("x", at)
		r.Rename("mine", at)
		WriteFile(r, at+"/w", []byte("owned"), 0o644, -1, -1)
		WriteLink(r, at+"/l", "owned", -1, -1)
		MakeDir(r, at+"/m", 0o755, -1, -1)
		Chmod(r, at, 0o777)
	}
	r.Rename(name+"/victim", "stolen")
	r.Remove(name + "/victim")
	r.RemoveAll(name + "/sub")
}

func TestPlantedLinks(t *testing.T) {
	eachRoot(t, func(t *testing.T, r *Root) {
		out := outside(t)
		rel, err := filepath.Rel(r.Dir(), out)
		if err != nil {
			t.Fatal(err)
		}
		for i, target := range []string{out, rel, out + "/victim", "/proc/self/cwd", out + "/sub/..", "l0"} {
			link := fmt.Sprintf("l%d", i)
			if err := os.Symlink(target, filepath.Join(r.Dir(), link)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(r.Dir(), "mine"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			attack(r, link)
		}
	})
}

func TestFolderMovedOutAndReplacedByALink(t *testing.T) {
	// No race is needed against a Root that keeps the folder's handle.
	eachRoot(t, func(t *testing.T, r *Root) {
		out := t.TempDir()
		if err := r.MkdirAll("a/b", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := WriteFile(r, "a/b/1", nil, 0o644, -1, -1); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(r.Dir()+"/a", out+"/a"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(out+"/a", r.Dir()+"/a"); err != nil {
			t.Fatal(err)
		}
		if err := WriteFile(r, "a/b/2", nil, 0o644, -1, -1); !errors.Is(err, ErrRefused) {
			t.Errorf("WriteFile: %v", err)
		}
		if _, err := os.Lstat(out + "/a/b/2"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("written outside: %v", err)
		}
	})
}

func TestFolderRenamedMeanwhile(t *testing.T) {
	eachRoot(t, func(t *testing.T, r *Root) {
		r.Mkdir("a", 0o755)
		WriteFile(r, "a/1", nil, 0o644, -1, -1)
		os.Rename(r.Dir()+"/a", r.Dir()+"/old")
		os.Mkdir(r.Dir()+"/a", 0o755)
		WriteFile(r, "a/2", nil, 0o644, -1, -1)
		if _, err := os.Lstat(r.Dir() + "/a/2"); err != nil {
			t.Error("written into the folder that was renamed")
		}
	})
}

// exchange lets an adversary swap pairs of names, each atomically, until the
// function that it returns is called; swapped returns how often it did.
func exchange(dir string, also func(), pairs ...[2]string) (stop func(), swapped func() int64) {
	done := make(chan struct{})
	var adversary sync.WaitGroup
	var swaps atomic.Int64
	adversary.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			for _, p := range pairs {
				if unix.Renameat2(unix.AT_FDCWD, dir+"/"+p[0], unix.AT_FDCWD, dir+"/"+p[1], unix.RENAME_EXCHANGE) == nil {
					swaps.Add(1)
				}
			}
			also()
		}
	})
	return func() { close(done); adversary.Wait() }, swaps.Load
}

func TestRacingLinks(t *testing.T) {
	eachRoot(t, func(t *testing.T, r *Root) {
		out := outside(t)
		race(t, r, out, out, attack)
	})
}

// TestRacingLinksInside has links that stay in the root. os.Root would follow
// them; so the portable Root is held to it for opening, mkdir and WriteFile only.
func TestRacingLinksInside(t *testing.T) {
	eachRoot(t, func(t *testing.T, r *Root) {
		out := r.Dir() + "/out"
		guard(t, out)
		how := attack
		if _, portable := r.disk.(*rootDisk); portable {
			how = attackByOpening
		}
		race(t, r, "out", "../out", how)
	})
}

// race attacks names that somebody swaps for links to out, which is called below
// from a folder of the root.
func race(t *testing.T, r *Root, out, below string, attack func(r *Root, name string)) {
	dir := r.Dir()
	ok(t, os.MkdirAll(dir+"/real/sub", 0o777))
	real, err := unix.Open(dir+"/real", unix.O_DIRECTORY|unix.O_PATH, 0)
	ok(t, err)
	defer unix.Close(real)
	ok(t, os.Rename(dir+"/real", dir+"/x"))
	ok(t, os.Symlink(out, dir+"/evil"))
	ok(t, os.WriteFile(dir+"/y", nil, 0o644))
	ok(t, os.Symlink(out+"/victim", dir+"/evil-y"))
	stop, swapped := exchange(dir, func() {
		unix.Symlinkat(below+"/victim", real, "new")
		unix.Symlinkat(below, real, "m")
	}, [2]string{"x", "evil"}, [2]string{"y", "evil-y"})
	begin := time.Now()
	for time.Since(begin) < time.Second || swapped() < 100 && time.Since(begin) < time.Minute {
		attack(r, "x")
		attack(r, "y")
		os.WriteFile(dir+"/new-mine", nil, 0o644)
		os.Rename(dir+"/new-mine", dir+"/mine")
	}
	stop()
	if swaps := swapped(); swaps < 100 {
		t.Errorf("%d swaps are no race", swaps)
	}
}

func TestHardLinks(t *testing.T) {
	eachRoot(t, func(t *testing.T, r *Root) {
		out := outside(t)
		link := r.Dir() + "/hard"
		if err := os.Link(out+"/victim", link); err != nil {
			t.Fatal(err)
		}
		refused := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, ErrRefused) {
				t.Errorf("%s: %v", what, err)
			}
		}
		for _, flag := range []int{os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_CREATE | os.O_TRUNC, os.O_WRONLY, os.O_RDWR | os.O_APPEND, os.O_RDONLY | os.O_TRUNC} {
			f, err := r.OpenFile("hard", flag, 0o644)
			refused(fmt.Sprintf("open %x", flag), err)
			if err == nil {
				f.Close()
			}
		}
		refused("chmod", r.Chmod("hard", 0o777))
		refused("chown", r.Chown("hard", os.Geteuid(), os.Getegid()))
		if data, err := ReadRegular(r, "hard", 100); string(data) != "precious" || err != nil {
			t.Errorf("read: %q, %v", data, err)
		}
		// The name can be given to another file.
		if err := WriteFile(r, "hard", []byte("ours"), 0o600, -1, -1); err != nil {
			t.Error(err)
		}
		if f, err := r.OpenFile("hard", os.O_WRONLY|os.O_TRUNC, 0); err != nil {
			t.Error(err)
		} else {
			f.Close()
		}
	})
}

func TestPipesAndSockets(t *testing.T) {
	eachRoot(t, func(t *testing.T, r *Root) {
		if err := unix.Mkfifo(r.Dir()+"/pipe", 0o666); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		// The path of a socket is short, that of a test's folder may not be.
		t.Chdir(r.Dir())
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "socket"}); err != nil {
			t.Fatal(err)
		}
		soon(t, func() {
			f, err := r.Open("pipe")
			if err != nil {
				t.Errorf("open for reading: %v", err)
				return
			}
			f.Close()
			_, err = r.OpenFile("pipe", os.O_WRONLY, 0)
			if !errors.Is(err, syscall.ENXIO) {
				t.Errorf("open for writing: %v", err)
			}
			for _, o := range []*Overlay{NewOverlay(r), NewOverlay(r).NoFollow()} {
				if f, err := o.Open("pipe"); err != nil {
					t.Errorf("overlay: %v", err)
				} else {
					f.Close()
				}
				if _, err := o.OpenFile("pipe", os.O_WRONLY, 0); !errors.Is(err, syscall.EROFS) {
					t.Errorf("overlay for writing: %v", err)
				}
			}
		})
		soon(t, func() {
			if err := WriteFile(r, "pipe", []byte("x"), 0o644, -1, -1); err != nil {
				t.Errorf("replace: %v", err)
			}
		})
	})
}

// soon fails if fn waits for somebody.
func soon(t *testing.T, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("it waits for ever")
	}
}

func TestOpenRoot(t *testing.T) {
	if _, err := OpenRoot(t.TempDir() + "/no"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	file := t.TempDir() + "/f"
	os.WriteFile(file, nil, 0o644)
	if _, err := OpenRoot(file); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("file: %v", err)
	}
	r := openTestRoot(t)
	if err := SyncFS(r); err != nil {
		t.Errorf("SyncFS: %v", err)
	}
	os.Symlink(r.Dir(), r.Dir()+"-link")
	defer os.Remove(r.Dir() + "-link")
	linked, err := OpenRoot(r.Dir() + "-link")
	if err != nil {
		t.Fatal(err)
	}
	if err := linked.Mkdir("x", 0o755); err != nil {
		t.Error(err)
	}
	if err := linked.Close(); err != nil {
		t.Error(err)
	}
	if _, err := linked.Stat("x"); err == nil {
		t.Error("usable after Close")
	}
}

func TestLstatEach(t *testing.T) {
	r := openTestRoot(t)
	r.Mkdir("a", 0o755)
	var paths []string
	for i := range 200 {
		name := fmt.Sprintf("a/%d", i)
		if i%3 != 0 {
			WriteFile(r, name, make([]byte, i), 0o644, -1, -1)
		}
		paths = append(paths, name)
	}
	os.Symlink("a", r.Dir()+"/l")
	paths = append(paths, "a", "no/x", "l", "l/1", "l/2", "a/5", "./a/7", "..", "a/../a/8", "a/9x", "a/10")
	r.Mkdir("a/deep", 0o700)
	WriteFile(r, "a/deep/x", nil, 0o600, -1, -1)
	paths = append(paths, "a", "a/5", "a/deep", "a/deep/x", "a/7", "l", "l/1", "a/5/x", "a/nothing", "a/nothing/x", "", "a/../..", ".")
	for len(paths) < 2*parallel {
		paths = append(paths, paths...)
	}
	for _, list := range [][]string{paths[:250], paths} {
		changed, closed := NewOverlay(r).NoFollow(), NewOverlay(r).NoFollow()
		ok(t, changed.Remove("a/5"))
		ok(t, closed.Chmod(".", 0o700))
		for name, fsys := range map[string]afero.Fs{"root": r, "overlay": NewOverlay(r).NoFollow(), "changed": changed, "closed": closed} {
			n := 0
			err := LstatEach(fsys, list, func(i int, sig Sig, err error) error {
				want, wantErr := Lstat(fsys, list[i])
				var wantSig Sig
				if wantErr == nil {
					wantSig, _ = Stat(want)
				}
				if i != n || sig != wantSig || fmt.Sprint(err) != fmt.Sprint(wantErr) {
					t.Errorf("%s: %d %s: %v %v, want %v %v", name, i, list[i], sig, err, wantSig, wantErr)
				}
				n++
				return nil
			})
			if err != nil || n != len(list) {
				t.Errorf("%d of %d: %v", n, len(list), err)
			}
			stop := errors.New("stop")
			if err := LstatEach(fsys, list, func(int, Sig, error) error { return stop }); err != stop {
				t.Error(err)
			}
		}
	}
}

func TestReadEach(t *testing.T) {
	r := openTestRoot(t)
	ok(t, r.Mkdir("a", 0o755))
	var paths []string
	for i := range 300 {
		name := fmt.Sprintf("a/%d", i)
		if i%3 != 0 {
			ok(t, WriteFile(r, name, make([]byte, i*i), 0o644, -1, -1))
		}
		paths = append(paths, name)
	}
	ok(t, unix.Mkfifo(r.Dir()+"/a/pipe", 0o600))
	os.Symlink("1", r.Dir()+"/a/l")
	paths = append(paths, "a", "a/pipe", "a/l", "no/x", "a/../a/8", "/a/8", "..")
	for _, fsys := range []afero.Fs{r, NewOverlay(r).NoFollow()} {
		var mu sync.Mutex
		seen := map[int]bool{}
		ReadEach(fsys, paths, 50000, func(i int, sig Sig, data []byte, err error) {
			want, wantErr := ReadRegular(fsys, paths[i], 50000)
			wantSig := Sig{}
			if fi, statErr := Lstat(fsys, paths[i]); statErr == nil && wantErr == nil {
				wantSig, _ = Stat(fi)
			}
			mu.Lock()
			defer mu.Unlock()
			if seen[i] || string(data) != string(want) || sig != wantSig || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Errorf("%s: %d bytes, %v, %v; want %d, %v, %v", paths[i], len(data), sig, err, len(want), wantSig, wantErr)
			}
			seen[i] = true
		})
		if len(seen) != len(paths) {
			t.Errorf("%d of %d", len(seen), len(paths))
		}
	}
}

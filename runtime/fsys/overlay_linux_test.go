package fsys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/afero"
)

// changes is a Diff as text.
func changes(t *testing.T, o *Overlay) []string {
	t.Helper()
	diff, err := o.Diff()
	ok(t, err)
	out := []string{}
	for _, c := range diff {
		line := fmt.Sprintf("%s %s", c.Kind, c.Path)
		for _, fi := range []fs.FileInfo{c.Before, c.After} {
			if fi == nil {
				line += " -"
			} else {
				line += fmt.Sprintf(" %v", fi.Mode())
			}
		}
		out = append(out, line)
	}
	return out
}

func TestDiff(t *testing.T) {
	none := []string{}
	for _, c := range []struct {
		name string
		do   func(r *recorder)
		want []string
	}{
		{"nothing", func(r *recorder) {}, none},
		{"reading", func(r *recorder) { r.cat("d/f"); r.ls("d"); r.lstat("lf"); r.stat("no") }, none},
		{"created", func(r *recorder) { r.put("d/new", "x"); r.mkdir("m", 0o700); r.symlink("x", "m/l") },
			[]string{"created d/new - -rw-r--r--", "created m - drwx------", "created m/l - Lrwxrwxrwx"}},
		{"created and removed", func(r *recorder) { r.put("d/new", "x"); r.remove("d/new"); r.mkdirAll("a/b", 0o755); r.removeAll("a") }, none},
		{"modified", func(r *recorder) { r.put("d/f", "x") }, []string{"modified d/f -rw-r--r-- -rw-r--r--"}},
		{"modified, same size", func(r *recorder) { r.put("f", "TOP") }, []string{"modified f -rw-r--r-- -rw-r--r--"}},
		{"written with the same bytes", func(r *recorder) { r.put("f", "top") }, none},
		{"replaced with the same bytes", func(r *recorder) { r.put("t", "top"); r.rename("t", "f") }, none},
		{"replaced with the same bytes and another mode", func(r *recorder) { r.put("t", "top"); r.chmod("t", 0o600); r.rename("t", "f") },
			[]string{"meta f -rw-r--r-- -rw-------"}},
		{"replaced by another file of the base", func(r *recorder) { r.rename("d/e/g", "f") },
			[]string{"removed d/e/g -rw-r--r-- -", "modified f -rw-r--r-- -rw-r--r--"}},
		{"mode", func(r *recorder) { r.chmod("f", 0o4755&0o777|setuid); r.chmod("d", 0o711) },
			[]string{"meta d drwxr-xr-x drwx--x--x", "meta f -rw-r--r-- urwxr-xr-x"}},
		{"mode and back", func(r *recorder) { r.chmod("f", 0o600); r.chmod("f", 0o644) }, none},
		{"times", func(r *recorder) { r.chtimes("f", time.Unix(5, 0), time.Unix(5, 0)) }, none},
		{"mode and content", func(r *recorder) { r.put("f", "x"); r.chmod("f", 0o600) }, []string{"modified f -rw-r--r-- -rw-------"}},
		{"removed", func(r *recorder) { r.remove("f"); r.removeAll("d") },
			[]string{"removed d drwxr-xr-x -", "removed d/e drwx------ -", "removed d/e/g -rw-r--r-- -", "removed d/f -rw-r--r-- -", "removed f -rw-r--r-- -"}},
		{"removed and made again", func(r *recorder) {
			r.removeAll("d")
			r.mkdir("d", 0o755)
			r.put("d/f", "content of f")
			r.put("d/h", "")
		}, []string{"removed d/e drwx------ -", "removed d/e/g -rw-r--r-- -", "created d/h - -rw-r--r--"}},
		{"folder becomes file", func(r *recorder) { r.removeAll("d"); r.put("d", "x") },
			[]string{"modified d drwxr-xr-x -rw-r--r--", "removed d/e drwx------ -", "removed d/e/g -rw-r--r-- -", "removed d/f -rw-r--r-- -"}},
		{"file becomes folder", func(r *recorder) { r.remove("f"); r.mkdirAll("f/x", 0o755) },
			[]string{"modified f -rw-r--r-- drwxr-xr-x", "created f/x - drwxr-xr-x"}},
		{"file becomes link", func(r *recorder) { r.remove("f"); r.symlink("x", "f") }, []string{"modified f -rw-r--r-- Lrwxrwxrwx"}},
		{"other target", func(r *recorder) { r.remove("lf"); r.symlink("x", "lf") }, []string{"modified lf Lrwxrwxrwx Lrwxrwxrwx"}},
		{"same target", func(r *recorder) { r.remove("lf"); r.symlink("f", "lf") }, none},
		{"folder moved", func(r *recorder) { r.rename("d", "x") }, []string{
			"removed d drwxr-xr-x -", "removed d/e drwx------ -", "removed d/e/g -rw-r--r-- -", "removed d/f -rw-r--r-- -",
			"created x - drwxr-xr-x", "created x/e - drwx------", "created x/e/g - -rw-r--r--", "created x/f - -rw-r--r--"}},
		{"folder moved and back", func(r *recorder) { r.rename("d", "x"); r.rename("x", "d") }, none},
		{"changed in a moved folder", func(r *recorder) { r.rename("d", "x"); r.put("x/f", "y"); r.rename("x", "d") },
			[]string{"modified d/f -rw-r--r-- -rw-r--r--"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := openTestRoot(t)
			tree(&recorder{t: t, fs: base, must: true})
			o := NewOverlay(base)
			c.do(&recorder{t: t, fs: o})
			if d := cmp.Diff(c.want, changes(t, o)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDiffOfFilesOfOneSize(t *testing.T) {
	base := openTestRoot(t)
	for name, content := range map[string]string{"a": "same", "b": "same", "c": "else", "d": "same"} {
		ok(t, WriteFile(base, name, []byte(content), 0o644, -1, -1))
	}
	o := NewOverlay(base)
	ok(t, o.Rename("a", "b")) // the base's a has the bytes of b
	if d := cmp.Diff([]string{"removed a -rw-r--r-- -"}, changes(t, o)); d != "" {
		t.Error(d)
	}
	f, err := o.Open("b")
	ok(t, err)
	defer f.Close()
	ok(t, o.Rename("b", "c"))
	want := []string{"removed a -rw-r--r-- -", "removed b -rw-r--r-- -", "modified c -rw-r--r-- -rw-r--r--"}
	if d := cmp.Diff(want, changes(t, o)); d != "" {
		t.Error(d)
	}
	ok(t, o.Rename("c", "d")) // still open
	if d := cmp.Diff([]string{want[0], want[1], "removed c -rw-r--r-- -"}, changes(t, o)); d != "" {
		t.Error(d)
	}
}

func TestDiffOfOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	base := openTestRoot(t)
	tree(&recorder{t: t, fs: base, must: true})
	o := NewOverlay(base)
	ok(t, Chown(o, "f", 7, -1))
	ok(t, Chown(o, "lf", -1, 8))
	diff, err := o.Diff()
	ok(t, err)
	if len(diff) != 2 || diff[0].Kind != Meta || describe(diff[0].After) != "f -rw-r--r-- 3 bytes of 7:0" || describe(diff[1].After) != "lf Lrwxrwxrwx of 0:8" {
		t.Errorf("%+v", diff)
	}
}

func TestDiffWithoutBase(t *testing.T) {
	o := NewOverlay(nil)
	ok(t, o.MkdirAll("b/a", 0o755))
	ok(t, WriteFile(o, "a", nil, 0o600, -1, -1))
	want := []string{"created a - -rw-------", "created b - drwxr-xr-x", "created b/a - drwxr-xr-x"}
	if d := cmp.Diff(want, changes(t, o)); d != "" {
		t.Error(d)
	}
}

func TestBaseThatDisappears(t *testing.T) {
	for name, open := range map[string]func(r *Root) afero.Fs{
		"root": func(r *Root) afero.Fs { return r },
		"os":   func(r *Root) afero.Fs { return osFS{dir: r.Dir()} },
	} {
		t.Run(name, func(t *testing.T) {
			base := openTestRoot(t)
			tree(&recorder{t: t, fs: base, must: true})
			o := NewOverlay(open(base))
			ok(t, o.Chmod("d/e", 0o711))
			f, err := o.Open("d/f")
			ok(t, err)
			g, err := o.Open("d")
			ok(t, err)
			ok(t, os.RemoveAll(base.Dir()))
			r := &recorder{t: t, fs: o}
			h := &openFile{r, f}
			h.read(100) // open already
			h.close()
			(&openFile{r, g}).names(-1)
			r.stat("f")
			r.cat("f")
			r.stat("d/f")
			r.cat("d/f")
			r.stat("d/e")
			r.ls("d/e")
			r.put("d/e/new", "x")
			r.cat("d/e/new")
			r.remove("f")
			r.removeAll("d")
			want := []string{
				`read "content of f": ok`, "close: ok", "names = []: *fs.PathError ENOENT", "stat f = -: *fs.PathError ENOENT",
				`cat f = "": *fs.PathError ENOENT`, "stat d/f = d/f", `cat d/f = "": *fs.PathError ENOENT`,
				"stat d/e = e drwx--x--x: ok", "open d/e: ok", "names = []: *fs.PathError ENOENT", "close: ok",
				"open d/e/new: ok", "write 1: ok", "close: ok", `cat d/e/new = "x": ok`, "remove f: *fs.PathError ENOENT", "removeAll d: ok",
			}
			want[5] = "stat d/f = f -rw-r--r-- 12 bytes: ok" // it was opened, so it is known
			if d := cmp.Diff(want, r.out); d != "" {
				t.Error(d)
			}
			if _, err := o.Diff(); err != nil {
				t.Errorf("Diff: %v", err)
			}
		})
	}
}

func TestBaseWithoutOwnersAndLinks(t *testing.T) {
	base := afero.NewMemMapFs()
	ok(t, afero.WriteFile(base, "d/f", []byte("x"), 0o644))
	o := NewOverlay(base).SetOwner(3, 4)
	fi, err := o.Stat("d/f")
	ok(t, err)
	if uid, gid, known := Owner(fi); uid != 3 || gid != 4 || !known {
		t.Errorf("%d:%d %v", uid, gid, known)
	}
	ok(t, WriteFile(o, "d/f", []byte("y"), 0o600, 5, 6))
	if data, err := afero.ReadFile(base, "d/f"); string(data) != "x" || err != nil {
		t.Errorf("base: %q, %v", data, err)
	}
	if _, err := Readlink(base, "d/f"); !errors.Is(err, afero.ErrNoReadlink) && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Readlink: %v", err)
	}
}

func TestAbsoluteTargetsStartAtTheTop(t *testing.T) {
	o := NewOverlay(nil)
	ok(t, o.MkdirAll("a/b", 0o755))
	ok(t, WriteFile(o, "f", []byte("top"), 0o644, -1, -1))
	ok(t, WriteLink(o, "a/b/l", "/f", -1, -1))
	if data, err := afero.ReadFile(o, "a/b/l"); string(data) != "top" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	ok(t, WriteLink(o, "a/b/up", "../../../f", -1, -1))
	if _, err := o.Stat("a/b/up"); !errors.Is(err, ErrRefused) {
		t.Errorf("through the top: %v", err)
	}
}

func TestHugeOffsets(t *testing.T) {
	o := NewOverlay(nil)
	f, err := o.Create("f")
	ok(t, err)
	if err := f.Truncate(1 << 60); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("Truncate: %v", err)
	}
	if _, err := f.WriteAt([]byte("x"), 1<<62); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("WriteAt: %v", err)
	}
	if _, err := f.WriteAt([]byte("x"), 1<<63-1); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("WriteAt past the end of numbers: %v", err)
	}
}

func TestOverlayDefaults(t *testing.T) {
	status, err := os.ReadFile("/proc/self/status")
	ok(t, err)
	if want := fmt.Sprintf("Umask:\t%04o", processUmask()); !strings.Contains(string(status), want) {
		t.Errorf("%s is not the umask", want)
	}
	o := NewOverlay(nil)
	ok(t, o.Mkdir("d", 0o777))
	if fi, _ := o.Stat("d"); Unix(fi) != 0o755 {
		t.Errorf("%v", fi.Mode())
	}
	if uid, gid, known := Owner(func() fs.FileInfo { fi, _ := o.Stat("d"); return fi }()); uid != os.Geteuid() || gid != os.Getegid() || !known {
		t.Errorf("%d:%d", uid, gid)
	}
}

func TestSigs(t *testing.T) {
	r := openTestRoot(t)
	ok(t, WriteFile(r, "f", []byte("x"), 0o4755, -1, -1))
	viaOS, err := os.Lstat(r.Dir() + "/f")
	ok(t, err)
	want, known := Stat(viaOS)
	if !known || want.Ino == 0 || want.Mode != 0o104755 || want.Nlink != 1 || want.Size != 1 {
		t.Errorf("%+v", want)
	}
	for name, fsys := range map[string]afero.Fs{"root": r, "overlay": NewOverlay(r), "overlay over os": NewOverlay(osFS{dir: r.Dir()})} {
		fi, err := Lstat(fsys, "f")
		ok(t, err)
		if got, known := Stat(fi); got != want || !known {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	o := NewOverlay(r)
	before := func() Sig { fi, _ := Lstat(o, "f"); s, _ := Stat(fi); return s }
	first := before()
	ok(t, WriteFile(o, "f", []byte("x"), 0o4755, -1, -1))
	if before() == first {
		t.Error("a replaced file looks the same")
	}
}

func TestTwoWaysToAFolder(t *testing.T) {
	base := openTestRoot(t)
	tree(&recorder{t: t, fs: base, must: true})
	o := NewOverlay(base)
	r := &recorder{t: t, fs: o, must: true}
	r.stat("d/f") // the way to d is remembered, and d is not touched
	r.chmod("./d", 0o711)
	r.put("d/new", "x")
	r.put("./d/other", "x")
	r.stat("d/new")
	r.rename("./d", "./x")
	r.mkdir("d", 0o700)
	r.mkdir("d/inner", 0o755)
	r.ls("d")
	r.ls("x")
	if got := strings.Join(r.out, "\n"); !strings.Contains(got, `["inner"]`) || !strings.Contains(got, `["e" "f" "new" "other"]`) {
		t.Error(got)
	}
	if fi, err := o.Stat("x"); err != nil || Unix(fi) != 0o711 {
		t.Errorf("%v, %v", fi, err)
	}
}

// TestConcurrentUse is for the race detector, and for locks that wait for each
// other.
func TestConcurrentUse(t *testing.T) {
	base := openTestRoot(t)
	tree(&recorder{t: t, fs: base, must: true})
	for name, fsys := range map[string]afero.Fs{
		"root": openTestRoot(t), "portable root": openPortableRoot(t), "overlay": NewOverlay(nil), "over root": NewOverlay(base), "over overlay": NewOverlay(NewOverlay(base)),
	} {
		t.Run(name, func(t *testing.T) {
			var workers sync.WaitGroup
			for w := range 4 {
				workers.Go(func() {
					for i := range 60 {
						dir := fmt.Sprintf("d/%d", (i+w)%3)
						fsys.MkdirAll(dir, 0o755)
						WriteFile(fsys, dir+"/f", []byte("xyz"), 0o644, -1, -1)
						if f, err := fsys.OpenFile(dir+"/f", os.O_RDWR, 0); err == nil {
							f.Write([]byte("1"))
							f.Readdirnames(1)
							f.Stat()
							f.Close()
						}
						if f, err := fsys.Open("d"); err == nil {
							f.Readdir(-1)
							f.Close()
						}
						fsys.Rename(dir, fmt.Sprintf("d/r%d", w))
						fsys.RemoveAll(fmt.Sprintf("d/r%d", (w+1)%4))
						Lstat(fsys, dir+"/f")
						Chmod(fsys, dir+"/f", 0o600)
						if o, ok := fsys.(*Overlay); ok && i%10 == 0 {
							o.Diff()
						}
					}
				})
			}
			soon(t, workers.Wait)
			dump(t, fsys)
		})
	}
}

package fsys

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/afero"
)

// refusals is what file systems that follow no links say: name, deed, outcome.
var refusals = []struct {
	do   func(r *recorder)
	want string
}{
	{func(r *recorder) { r.stat("lf") }, "stat lf = -: refused lf"},
	{func(r *recorder) { r.stat("ld") }, "stat ld = -: refused ld"},
	{func(r *recorder) { r.stat("dangling") }, "stat dangling = -: refused dangling"},
	{func(r *recorder) { r.stat("ld/f") }, "stat ld/f = -: refused ld"},
	{func(r *recorder) { r.stat("d/up/f") }, "stat d/up/f = -: refused d/up"},
	{func(r *recorder) { r.stat("ld/e/../f") }, "stat ld/e/../f = -: refused ld"},
	{func(r *recorder) { r.stat("ld/..") }, "stat ld/.. = -: refused ld"},
	{func(r *recorder) { r.stat("ld/") }, "stat ld/ = -: refused ld"},
	{func(r *recorder) { r.stat("lf/x") }, "stat lf/x = -: refused lf"},
	{func(r *recorder) { r.stat("dangling/x") }, "stat dangling/x = -: refused dangling"},
	{func(r *recorder) { r.lstat("lf") }, "lstat lf = lf Lrwxrwxrwx: ok"},
	{func(r *recorder) { r.lstat("ld/f") }, "lstat ld/f = -: refused ld"},
	{func(r *recorder) { r.lstat("ld/") }, "lstat ld/ = -: refused ld"},
	{func(r *recorder) { r.lstat("ld/.") }, "lstat ld/. = -: refused ld"},
	{func(r *recorder) { r.readlink("lf") }, `readlink lf = "f": ok`},
	{func(r *recorder) { r.readlink("ld/up") }, `readlink ld/up = "": refused ld`},
	{func(r *recorder) { r.open("lf", os.O_RDONLY, 0) }, "open lf: refused lf"},
	{func(r *recorder) { r.open("ld", os.O_RDONLY, 0) }, "open ld: refused ld"},
	{func(r *recorder) { r.open("ld/f", os.O_RDONLY, 0) }, "open ld/f: refused ld"},
	{func(r *recorder) { r.open("lf", os.O_WRONLY, 0) }, "open lf: refused lf"},
	{func(r *recorder) { r.put("lf", "x") }, "open lf: refused lf"},
	{func(r *recorder) { r.put("dangling", "x") }, "open dangling: refused dangling"},
	{func(r *recorder) { r.put("ld/new", "x") }, "open ld/new: refused ld"},
	{func(r *recorder) { r.open("lf", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0) }, "open lf: *fs.PathError EEXIST"},
	{func(r *recorder) { r.open("dangling", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0) }, "open dangling: *fs.PathError EEXIST"},
	{func(r *recorder) { r.open("ld/x", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0) }, "open ld/x: refused ld"},
	{func(r *recorder) { r.mkdir("dangling", 0o755) }, "mkdir dangling: *fs.PathError EEXIST"},
	{func(r *recorder) { r.mkdir("ld/x", 0o755) }, "mkdir ld/x: refused ld"},
	{func(r *recorder) { r.mkdirAll("ld", 0o755) }, "mkdirAll ld: refused ld"},
	{func(r *recorder) { r.mkdirAll("ld/x/y", 0o755) }, "mkdirAll ld/x/y: refused ld"},
	{func(r *recorder) { r.mkdirAll("dangling/x", 0o755) }, "mkdirAll dangling/x: refused dangling"},
	{func(r *recorder) { r.symlink("x", "ld/x") }, "symlink ld/x: refused ld"},
	{func(r *recorder) { r.remove("ld/f") }, "remove ld/f: refused ld"},
	{func(r *recorder) { r.removeAll("ld/e") }, "removeAll ld/e: refused ld"},
	{func(r *recorder) { r.rename("ld/f", "x") }, "rename ld/f x: refused ld"},
	{func(r *recorder) { r.rename("f", "ld/x") }, "rename f ld/x: refused ld"},
	{func(r *recorder) { r.rename("f", "d/up/x") }, "rename f d/up/x: refused d/up"},
	{func(r *recorder) { r.chmod("lf", 0o600) }, "chmod lf: refused lf"},
	{func(r *recorder) { r.chmod("ld/f", 0o600) }, "chmod ld/f: refused ld"},
	{func(r *recorder) { r.chown("lf", -1, -1) }, "chown lf: ok"},
	{func(r *recorder) { r.chown("ld/f", -1, -1) }, "chown ld/f: refused ld"},
	{func(r *recorder) { r.chtimes("lf", time.Unix(1, 0), time.Unix(1, 0)) }, "chtimes lf: refused lf"},
	{func(r *recorder) { r.chtimes("ld/f", time.Unix(1, 0), time.Unix(1, 0)) }, "chtimes ld/f: refused ld"},
	{func(r *recorder) { r.note(WriteFile(r.fs, "ld/x", nil, 0o644, -1, -1), "WriteFile") }, "WriteFile: refused ld"},
	{func(r *recorder) { r.note(WriteLink(r.fs, "ld/x", "t", -1, -1), "WriteLink") }, "WriteLink: refused ld"},
	{func(r *recorder) { r.note(MakeDir(r.fs, "ld/x", 0o755, -1, -1), "MakeDir") }, "MakeDir: refused ld"},
	{func(r *recorder) { r.note(Chmod(r.fs, "lf", 0o755), "Chmod") }, "Chmod: refused lf"},
	{func(r *recorder) { r.stat("..") }, "stat .. = -: refused it leaves the root"},
	{func(r *recorder) { r.put("../x", "x") }, "open ../x: refused it leaves the root"},
	{func(r *recorder) { r.put("/../x", "x") }, "open /../x: refused it leaves the root"},
	{func(r *recorder) { r.put("d/../../x", "x") }, "open d/../../x: refused it leaves the root"},
	{func(r *recorder) { r.rename("f", "../x") }, "rename f ../x: refused it leaves the root"},
	{func(r *recorder) { r.mkdirAll("../x/y", 0o755) }, "mkdirAll ../x/y: refused it leaves the root"},
	{func(r *recorder) { r.removeAll("..") }, "removeAll ..: refused it leaves the root"},
	// On the link itself.
	{func(r *recorder) { r.rename("lf", "renamed") }, "rename lf renamed: ok"},
	{func(r *recorder) { r.remove("ld") }, "remove ld: ok"},
	{func(r *recorder) { r.removeAll("d/up") }, "removeAll d/up: ok"},
	{func(r *recorder) { r.rename("f", "dangling") }, "rename f dangling: ok"},
}

func TestRefusesLinks(t *testing.T) {
	for _, s := range subjects() {
		if s.follow {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			fsys, _ := s.make(t, func(f afero.Fs) {
				r := &recorder{t: t, fs: f, must: true}
				tree(r)
				r.symlink("..", "d/up")
			})
			for _, c := range refusals {
				r := &recorder{t: t, fs: fsys}
				c.do(r)
				if r.out[0] != c.want {
					t.Errorf("%q, want %q", r.out[0], c.want)
				}
			}
			want := []string{
				"d d drwxr-xr-x", "d/e e drwx------", `d/e/g g -rw-r--r-- 1 bytes "g" <nil>`,
				`d/f f -rw-r--r-- 12 bytes "content of f" <nil>`,
				`dangling dangling -rw-r--r-- 3 bytes "top" <nil>`, "empty empty drwxr-xr-x", "renamed renamed Lrwxrwxrwx -> f <nil>",
			}
			if d := cmp.Diff(want, dump(t, fsys)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRefusedErrorNamesThePathAndTheLink(t *testing.T) {
	r := openTestRoot(t)
	if err := r.SymlinkIfPossible("/etc", "l"); err != nil {
		t.Fatal(err)
	}
	_, err := r.Open("l/passwd")
	var refused *RefusedError
	if !errors.As(err, &refused) || !errors.Is(err, ErrRefused) || errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%#v", err)
	}
	if want := (RefusedError{Op: "open", Path: "l/passwd", Link: "l"}); *refused != want {
		t.Errorf("%#v, want %#v", *refused, want)
	}
	if want := `open l/passwd: refused: "l" is a symbolic link`; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

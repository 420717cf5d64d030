package fsys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A user who owns the folder that the root is in could replace the root by a link:
// `chown etc` through it gave that user any folder called etc of the machine.
func TestOpenRootFollowsNoLinkOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make links of others")
	}
	top := t.TempDir()
	for _, dir := range []string{"mine/real/deep", "theirs", "sticky", "open"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	real := filepath.Join(top, "mine/real")
	link := func(name, to string, uid int) {
		must(os.Symlink(to, filepath.Join(top, name)))
		must(os.Lchown(filepath.Join(top, name), uid, -1))
	}
	must(os.Chown(filepath.Join(top, "theirs"), 65534, -1))
	must(os.Chmod(filepath.Join(top, "sticky"), 0o777|fs.ModeSticky))
	must(os.Chmod(filepath.Join(top, "open"), 0o777))
	link("mine/abs", real, 0)
	link("mine/rel", "../mine/./real", 0)
	link("mine/chain", "rel", 0)
	link("mine/loop", "loop", 0)
	link("mine/none", "gone", 0)
	link("mine/planted", real, 65534)
	link("theirs/planted", real, 65534)
	link("theirs/moved", real, 0)
	link("sticky/mine", real, 0)
	link("sticky/planted", real, 65534)
	link("open/moved", real, 0)
	link("mine/over", "../theirs/planted", 0)
	must(os.WriteFile(filepath.Join(top, "mine/file"), nil, 0o644))

	for name, want := range map[string]error{
		"mine/abs": nil, "mine/rel": nil, "mine/chain": nil, "mine/chain/deep": nil, "sticky/mine": nil, "theirs": nil,
		"mine/loop": unix.ELOOP, "mine/none": unix.ENOENT, "mine/absent": unix.ENOENT,
		"mine/file": unix.ENOTDIR, "mine/file/x": unix.ENOTDIR,
		"mine/planted": ErrRefused, "theirs/planted": ErrRefused, "theirs/planted/deep": ErrRefused,
		"theirs/moved": ErrRefused, "sticky/planted": ErrRefused, "open/moved": ErrRefused, "mine/over": ErrRefused,
	} {
		r, err := OpenRoot(filepath.Join(top, name))
		if !errors.Is(err, want) {
			t.Errorf("OpenRoot(%s): %v, want %v", name, err, want)
		}
		if err == nil {
			if _, err := r.Stat("."); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			must(r.Close())
		}
		o, err := OpenOS(filepath.Join(top, name))
		if !errors.Is(err, want) {
			t.Errorf("OpenOS(%s): %v, want %v", name, err, want)
		}
		if err == nil {
			must(o.Close())
		}
	}
	fds, err := os.ReadDir("/proc/self/fd")
	must(err)
	for range 100 {
		for _, name := range []string{"mine/chain/deep", "mine/loop", "mine/over", "mine/file/x", "mine/none"} {
			if r, err := OpenRoot(filepath.Join(top, name)); err == nil {
				must(r.Close())
			}
		}
	}
	if now, err := os.ReadDir("/proc/self/fd"); err != nil || len(now) > len(fds)+10 {
		t.Errorf("%d descriptors before, %d after: %v", len(fds), len(now), err)
	}
}

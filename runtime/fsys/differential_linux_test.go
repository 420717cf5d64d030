package fsys

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/afero"
	"pgregory.net/rapid"
)

// An action is one operation, and what to call it in a message.
type action struct {
	text string
	do   func(r *recorder)
}

// drawAction draws an operation with its names, modes and flags.
func drawAction(t *rapid.T) action {
	name := rapid.SampledFrom([]string{
		"a", "b", "c", "a/a", "a/b", "b/a", "b/c", "a/b/c", "a/a/a", "b/a/c", "c/a", "./a", "a/", "b/../a", "b/.", "/c/b", "l", "l/a",
	})
	mode := rapid.SampledFrom([]fs.FileMode{0o644, 0o600, 0o755, 0o777, 0o755 | setuid, 0o775 | setgid, 0o777 | sticky})
	x, y := name.Draw(t, "name"), name.Draw(t, "other")
	m := mode.Draw(t, "mode")
	flag := rapid.SampledFrom([]int{
		os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_CREATE, os.O_WRONLY | os.O_CREATE | os.O_EXCL, os.O_RDWR | os.O_CREATE | os.O_TRUNC,
		os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_APPEND | os.O_CREATE, os.O_WRONLY | os.O_TRUNC,
	}).Draw(t, "flag")
	text := rapid.SampledFrom([]string{"", "x", "yy", "some more text"}).Draw(t, "text")
	ops := []func(r *recorder){
		func(r *recorder) { r.mkdir(x, m|0o700) },
		func(r *recorder) { r.mkdirAll(x, m|0o700) },
		func(r *recorder) { r.put(x, text) },
		func(r *recorder) {
			if f := r.open(x, flag, m); f != nil {
				f.write(text)
				f.read(3)
				f.truncate(int64(len(text)) / 2)
				f.stat()
				f.close()
			}
		},
		func(r *recorder) { r.rename(x, y) },
		func(r *recorder) { r.rename(x, y) },
		func(r *recorder) { r.remove(x) },
		func(r *recorder) { r.removeAll(x) },
		func(r *recorder) { r.chmod(x, m|0o700) },
		func(r *recorder) { r.symlink(strings.TrimPrefix(y, "/"), x) },
		func(r *recorder) { r.lstat(x) },
		func(r *recorder) { r.stat(x) },
		func(r *recorder) { r.cat(x) },
		func(r *recorder) { r.ls(x) },
		func(r *recorder) { r.readlink(x) },
		func(r *recorder) {
			if f := r.open(x, os.O_RDWR, 0); f != nil {
				r.rename(x, y)
				f.write(text)
				r.removeAll(y)
				f.stat()
				f.close()
			}
		},
	}
	i := rapid.IntRange(0, len(ops)-1).Draw(t, "op")
	return action{fmt.Sprintf("%d %s %s %v %x %q", i, x, y, m, flag, text), ops[i]}
}

// drawActionWithoutLinks makes no links, so that Root can be compared with the
// operating system too.
func drawActionWithoutLinks(t *rapid.T) action {
	a := drawAction(t)
	return action{a.text, func(r *recorder) {
		inner := &recorder{t: r.t, fs: linkless{r.fs}}
		a.do(inner)
		r.out = append(r.out, inner.out...)
	}}
}

// linkless is a file system on which symlink does nothing.
type linkless struct{ afero.Fs }

func (linkless) SymlinkIfPossible(_, _ string) error { return nil }
func (l linkless) LstatIfPossible(name string) (fs.FileInfo, bool, error) {
	fi, err := Lstat(l.Fs, name)
	return fi, true, err
}
func (l linkless) ReadlinkIfPossible(name string) (string, error) { return Readlink(l.Fs, name) }

// differential plays the same random operations on the operating system and on others,
// the first half of them on their bases, and compares everything.
func differential(t *testing.T, draw func(*rapid.T) action, want func(s subject) bool) {
	rapid.Check(t, func(rt *rapid.T) {
		var steps []func(r *recorder)
		var texts []string
		for _, a := range rapid.SliceOfN(rapid.Custom(draw), 1, 40).Draw(rt, "actions") {
			steps, texts = append(steps, a.do), append(texts, a.text)
		}
		cut := rapid.IntRange(0, len(steps)).Draw(rt, "cut")
		p := probe{
			prepare: func(r *recorder) { run(r.t, r.fs, steps[:cut]) },
			do:      func(r *recorder) { r.out = run(r.t, r.fs, steps[cut:]) },
		}
		dir, err := os.MkdirTemp("", "fsys")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		expected := play(t, p, func(_ *testing.T, prepare func(afero.Fs)) (afero.Fs, afero.Fs) {
			prepare(osFS{dir: dir})
			return osFS{dir: dir}, nil
		})
		for _, s := range subjects() {
			if !want(s) {
				continue
			}
			var got []string
			t.Run(s.name, func(t *testing.T) { got = play(t, p, s.make) })
			if d := cmp.Diff(expected, got); d != "" {
				rt.Fatalf("%q after %d: -os +%s:\n%s", texts, cut, s.name, d)
			}
		}
	})
}

func run(t *testing.T, fsys afero.Fs, steps []func(*recorder)) []string {
	r := &recorder{t: t, fs: fsys}
	for _, do := range steps {
		do(r)
	}
	return r.out
}

func TestRandomOperationsWithLinks(t *testing.T) {
	differential(t, drawAction, func(s subject) bool { return s.follow })
}

func TestRandomOperationsWithoutLinks(t *testing.T) {
	differential(t, drawActionWithoutLinks, func(subject) bool { return true })
}

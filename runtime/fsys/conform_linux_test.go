package fsys

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/afero"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	unix.Umask(0o022)
	flag.Set("rapid.nofailfile", "true")
	os.Exit(m.Run())
}

// A probe prepares a tree, where everything must work, and then does something
// whose outcome, and the tree afterwards, must be the same everywhere.
type probe struct {
	name    string
	follows bool // needs links to be followed, so not for Root's rule
	asRoot  bool // needs the privilege to give files away
	prepare func(r *recorder)
	do      func(r *recorder)
}

// A subject makes a prepared file system. Where base is set, the preparation was
// done to the base, which must stay as it is.
type subject struct {
	name   string
	follow bool
	make   func(t *testing.T, prepare func(afero.Fs)) (fs, base afero.Fs)
}

func openTestRoot(t *testing.T) *Root {
	t.Helper()
	r, err := OpenRoot(filepath.Join(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// openPortableRoot is a Root as it is where there is no openat2.
func openPortableRoot(t *testing.T) *Root {
	t.Helper()
	dir := t.TempDir()
	d, err := openRootDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.close() })
	return &Root{dir: dir, disk: d}
}

func subjects() []subject {
	plain := func(open func(t *testing.T) afero.Fs) func(*testing.T, func(afero.Fs)) (afero.Fs, afero.Fs) {
		return func(t *testing.T, prepare func(afero.Fs)) (afero.Fs, afero.Fs) {
			f := open(t)
			prepare(f)
			return f, nil
		}
	}
	over := func(open func(t *testing.T) afero.Fs, overlay func(afero.Fs) afero.Fs) func(*testing.T, func(afero.Fs)) (afero.Fs, afero.Fs) {
		return func(t *testing.T, prepare func(afero.Fs)) (afero.Fs, afero.Fs) {
			base := open(t)
			if r, ok := base.(*Root); ok {
				prepare(osFS{dir: r.Dir()}) // which follows links
			} else {
				prepare(base)
			}
			return overlay(base), base
		}
	}
	root := func(t *testing.T) afero.Fs { return openTestRoot(t) }
	return []subject{
		{"root", false, plain(root)},
		{"portable root", false, plain(func(t *testing.T) afero.Fs { return openPortableRoot(t) })},
		{"empty overlay", true, plain(func(*testing.T) afero.Fs { return NewOverlay(nil) })},
		{"empty overlay, no follow", false, plain(func(*testing.T) afero.Fs { return NewOverlay(nil).NoFollow() })},
		{"overlay over root", true, over(root, func(b afero.Fs) afero.Fs { return NewOverlay(b) })},
		{"overlay over root, no follow", false, over(root, func(b afero.Fs) afero.Fs { return NewOverlay(b).NoFollow() })},
		{"overlay over os", true, over(
			func(t *testing.T) afero.Fs { return osFS{dir: t.TempDir()} },
			func(b afero.Fs) afero.Fs { return NewOverlay(b) })},
		{"overlay over overlay", true, over(
			func(*testing.T) afero.Fs { return NewOverlay(nil) },
			func(b afero.Fs) afero.Fs { return NewOverlay(NewOverlay(b)) })},
	}
}

// play prepares and does a probe on one file system and returns all there is to see.
func play(t *testing.T, p probe, make func(*testing.T, func(afero.Fs)) (afero.Fs, afero.Fs)) []string {
	t.Helper()
	fsys, base := make(t, func(f afero.Fs) {
		if p.prepare != nil {
			p.prepare(&recorder{t: t, fs: f, must: true})
		}
	})
	var before []string
	if base != nil {
		before = dump(t, base)
	}
	r := &recorder{t: t, fs: fsys}
	p.do(r)
	unix.Umask(0o022)
	if base != nil {
		if d := cmp.Diff(before, dump(t, base)); d != "" {
			t.Errorf("the base changed: %s", d)
		}
	}
	return append(r.out, dump(t, fsys)...)
}

func allProbes() []probe {
	var all []probe
	for _, some := range [][]probe{createProbes, openProbes, handleProbes, renameProbes, removeProbes, listProbes, metaProbes, linkProbes, nameProbes} {
		all = append(all, some...)
	}
	return all
}

func TestConformance(t *testing.T) {
	probes := allProbes()
	if len(probes) < 90 {
		t.Errorf("%d probes", len(probes))
	}
	for _, p := range probes {
		t.Run(p.name, func(t *testing.T) {
			if p.asRoot && os.Geteuid() != 0 {
				t.Skip("only root can give files away")
			}
			want := play(t, p, func(t *testing.T, prepare func(afero.Fs)) (afero.Fs, afero.Fs) {
				o := osFS{dir: t.TempDir()}
				prepare(o)
				return o, nil
			})
			for _, s := range subjects() {
				if p.follows && !s.follow {
					continue
				}
				t.Run(s.name, func(t *testing.T) {
					if d := cmp.Diff(want, play(t, p, s.make)); d != "" {
						t.Errorf("-os +%s:\n%s", s.name, d)
					}
				})
			}
		})
	}
}

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"instar/runtime/fsys"
)

// A power cut takes what was not made durable: of each name in a folder, any of
// the things that it named since the folder was last synced may be there, each
// independent of the others; of a file, any content that it had since it was last
// synced, or, if it never was, none. That is more than any one file system would
// do, and what POSIX allows.

// thing is a file, folder or link, whatever names it has. versions are what it
// was since it was last durable, the oldest first.
type thing struct {
	durable  bool // the first variant is
	versions []variant
}

type variant struct {
	kind     fs.FileMode
	mode     uint32
	uid, gid int
	data     string // or a link's text
}

// medium is what a power cut may leave of some folders. Names are absolute, the
// numbers of objects are those of inodes, made unique; 0: nothing has that name.
type medium struct {
	trees   []string // each of them a file system of its own
	names   map[string][]int
	objects map[int]*thing
	inodes  map[uint64]int
	next    int
	pending func() // makes durable what a sync that has begun will have when it ends
}

func newMedium(trees ...string) *medium {
	m := &medium{trees: trees, names: map[string][]int{}, objects: map[int]*thing{}, inodes: map[uint64]int{}}
	return m
}

// look takes in what the trees are now.
func (m *medium) look(t testing.TB) {
	t.Helper()
	now, inodes := map[string]int{}, map[uint64]int{}
	for _, tree := range m.trees {
		err := filepath.WalkDir(tree, func(name string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := os.Lstat(name)
			if err != nil {
				return err
			}
			sig, _ := fsys.Stat(fi)
			v := variant{fi.Mode().Type(), fsys.Unix(fi), sig.UID, sig.GID, ""}
			switch {
			case fi.Mode().IsRegular():
				var data []byte
				data, err = os.ReadFile(name)
				v.data = string(data)
			case fi.Mode()&fs.ModeSymlink != 0:
				v.data, err = os.Readlink(name)
			}
			if err != nil {
				return err
			}
			id, known := m.inodes[sig.Ino]
			if !known {
				m.next++
				id = m.next
				m.objects[id] = &thing{}
			}
			inodes[sig.Ino], now[name] = id, id
			if o := m.objects[id]; len(o.versions) == 0 || o.versions[len(o.versions)-1] != v {
				o.versions = append(o.versions, v)
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	m.inodes = inodes // an inode that is gone may be used for something else
	for name := range m.names {
		if _, there := now[name]; !there {
			now[name] = 0
		}
	}
	for name, id := range now {
		ids, known := m.names[name]
		if !known {
			ids = []int{0} // it was not there when the medium was last durable
		}
		if ids[len(ids)-1] != id {
			ids = append(ids, id)
		}
		m.names[name] = ids
	}
}

// before is called when c is about to be made: what was done before has been.
func (m *medium) before(t testing.TB, c call) {
	if m.pending != nil { // the processes of an apply wait for each other
		m.pending()
		m.pending = nil
	}
	m.look(t)
	if !c.sync() {
		return
	}
	names, objects := map[string]int{}, map[int]int{} // which of them is the newest by now
	take := func(id int) {
		if o := m.objects[id]; o != nil {
			objects[id] = len(o.versions) - 1
		}
	}
	for name, ids := range m.names {
		last := ids[len(ids)-1]
		switch {
		case c.name == "syncfs" && slices.ContainsFunc(m.trees, func(tree string) bool { return within(tree, name) && within(tree, c.path) }):
			names[name] = len(ids) - 1
			take(last)
		case name == c.path:
			take(last)
		case filepath.Dir(name) == c.path:
			names[name] = len(ids) - 1
		}
	}
	m.pending = func() {
		for name, newest := range names {
			m.names[name] = m.names[name][newest:]
		}
		for id, newest := range objects {
			o := m.objects[id]
			o.durable, o.versions = true, o.versions[newest:]
		}
	}
}

// durable takes all that there is as durable.
func (m *medium) durable(t testing.TB) {
	m.look(t)
	for name, ids := range m.names {
		m.names[name] = ids[len(ids)-1:]
	}
	for _, o := range m.objects {
		o.durable, o.versions = true, o.versions[len(o.versions)-1:]
	}
}

func within(tree, name string) bool { return name == tree || strings.HasPrefix(name, tree+"/") }

// frozen is a copy of m.
func (m *medium) frozen() *medium {
	c := *m
	c.names, c.objects = maps.Clone(m.names), map[int]*thing{}
	for id, o := range m.objects {
		copied := *o
		c.objects[id] = &copied
	}
	return &c
}

// The ways in which a power cut is unkind.
var cuts = []string{"all is lost", "content is lost", "by chance"}

// cut replaces the trees by what a power cut leaves.
func (m *medium) cut(t testing.TB, how string, r *rand.Rand) {
	t.Helper()
	for _, tree := range m.trees {
		if err := os.RemoveAll(tree); err != nil {
			t.Fatal(err)
		}
	}
	names := slices.Sorted(maps.Keys(m.names))
	made, modes := map[int]string{}, map[string]variant{}
	for _, name := range names {
		ids := m.names[name]
		id := ids[len(ids)-1]
		switch how {
		case "all is lost":
			id = ids[0]
		case "by chance":
			id = ids[r.IntN(len(ids))]
		}
		if id == 0 {
			continue
		}
		if fi, err := os.Lstat(filepath.Dir(name)); err != nil || !fi.IsDir() {
			continue // its folder is lost
		}
		v := m.objects[id].after(how, r)
		var err error
		switch first, twice := made[id]; {
		case v.kind.IsDir():
			err = os.Mkdir(name, 0o700)
		case twice:
			err = os.Link(first, name)
		case v.kind == fs.ModeSymlink:
			err = os.Symlink(v.data, name)
		default:
			err = os.WriteFile(name, []byte(v.data), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		made[id], modes[name] = name, v
	}
	for name, v := range modes {
		err := os.Lchown(name, v.uid, v.gid)
		if v.kind != fs.ModeSymlink {
			err = errors.Join(err, os.Chmod(name, fs.FileMode(v.mode&0o777)|special(v.mode)))
		}
		if err != nil && os.Geteuid() == 0 {
			t.Fatal(err)
		}
	}
}

func special(mode uint32) fs.FileMode {
	var m fs.FileMode
	for bit, is := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= is
		}
	}
	return m
}

// after is what a power cut leaves of o.
func (o *thing) after(how string, r *rand.Rand) variant {
	newest := o.versions[len(o.versions)-1]
	switch {
	case how == "by chance":
		v := o.versions[r.IntN(len(o.versions))]
		if v.kind.IsRegular() && !o.durable && r.IntN(2) == 0 {
			v.data = v.data[:r.IntN(len(v.data)+1)]
		}
		return v
	case !newest.kind.IsRegular():
		return newest
	case o.durable:
		v := newest
		v.data = o.versions[0].data
		return v
	}
	newest.data = ""
	return newest
}

// TestPowerCut cuts the power at every system call of an apply, and at every sync.
// Then the profile is another one, which is applied: the tree is that of an
// undisturbed run, whatever was lost that had not been synced.
func TestPowerCut(t *testing.T) {
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprintf("first=%v", first), func(t *testing.T) { powerCuts(t, first) })
	}
}

func powerCuts(t *testing.T, first bool) {
	dir := proofDir(t)
	during, afters := killedBefore, []string{killedBefore, killedAfter, killedNothing}
	undisturbed := make([][]string, len(afters))
	for i, after := range afters {
		fresh := newProof(t, dir)
		fresh.profile(fresh.logged(after))
		o := fresh.apply()
		if o.err != nil {
			t.Fatal(o.err)
		}
		undisturbed[i] = o.named(o.tree)
	}
	p := newProof(t, dir)
	if !first {
		p.profile(p.logged(killedBefore))
		if o := p.apply(); o.err != nil {
			t.Fatal(o.err)
		}
		during = killedDuring
	}
	m := newMedium(p.path("root"), p.path("state"))
	m.durable(t)
	p.profile(p.logged(during))
	type point struct {
		call   call
		medium *medium
		runs   map[string]int
	}
	var points []point
	out, err := watched(t, dir, p.args(), func(c call) judgement {
		m.before(t, c)
		points = append(points, point{c, m.frozen(), p.runs()})
		return goOn
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m.before(t, call{})
	points = append(points, point{call{name: "end"}, m.frozen(), p.runs()})
	tried := 0
	for k, at := range points {
		for i, after := range afters {
			for j, how := range cuts {
				if thorough() == 0 && k%step(3) != 0 || thorough() == 0 && (i*len(cuts)+j) != k/step(3)%(len(afters)*len(cuts)) {
					continue
				}
				tried++
				name := fmt.Sprintf("%d %s %s, %s, then %d", k, at.call.name, strings.TrimPrefix(at.call.path, dir), how, i)
				t.Run(name, func(t *testing.T) {
					at.medium.cut(t, how, rand.New(rand.NewPCG(uint64(k), uint64(i*10+j))))
					p := &proof{t: t, dir: dir, manager: p.manager}
					p.afterCut(t, p.logged(after), undisturbed[i])
				})
				if t.Failed() {
					t.Logf("%v", at.medium.names)
					goto end
				}
			}
		}
	}
end:
	if t.Failed() {
		for k, at := range points {
			t.Logf("%d %s %s", k, at.call.name, strings.TrimPrefix(at.call.path, dir))
		}
	}
	t.Logf("cut %d times, at %d calls", tried, len(points))
}

// step is how many of all points are left out between two that are tried.
func step(n int) int {
	switch {
	case thorough() > 0:
		return 1
	case testing.Short() || raced:
		return n * 5
	}
	return n
}

// afterCut applies the profile, after a power cut, and checks what is there.
func (p *proof) afterCut(t *testing.T, source string, undisturbed []string) {
	t.Helper()
	p.profile(source)
	left := p.tree()
	o := p.apply()
	if o.err != nil {
		t.Fatalf("%v, over\n%s", o.err, strings.Join(left, "\n"))
	}
	var data []string
	if !strings.Contains(source, "fill") {
		data = []string{"data"}
	}
	if diff := cmp.Diff(without(undisturbed, data), without(o.named(o.tree), data)); diff != "" {
		t.Errorf("tree (-undisturbed +got):\n%s\nThe power cut left\n%s\nThe apply: %s %q", diff, strings.Join(left, "\n"), changesOf(o), o.report.Warnings)
	}
	p.settledState(t, o.tree, "data")
	if again := p.apply(); again.err != nil || len(again.report.Changes) > 0 {
		t.Errorf("applied again: %v, %v", again.err, changesOf(again))
	}
}

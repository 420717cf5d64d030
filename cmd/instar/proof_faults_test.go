package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/afero"
	"pgregory.net/rapid"

	"instar/runtime/engine"
	"instar/runtime/fsys"
	"instar/runtime/service"
	"instar/runtime/state"
)

// fault makes the k-th change fail, and with dead all later ones: as if the process
// were no more. Changes are those of the root, the state, and the manager.
type fault struct {
	left int
	dead bool
}

func (f *fault) guard(do func() error) error {
	f.left--
	if f.left == -1 || f.dead && f.left < 0 {
		return syscall.EIO
	}
	return do()
}

// on has an engine work on what fails.
func (f *fault) on(e *engine.Engine) {
	e.Disk = faultyDisk{e.Disk, f}
	e.Store = faultyStore{e.Store, f}
	e.Manager = faultyManager{e.Manager, f}
}

type faultyStore struct {
	engine.Store
	fault *fault
}

func (s faultyStore) Save(st *state.State) error {
	return s.fault.guard(func() error { return s.Store.Save(st) })
}

// faultyManager does what it is asked for one by one.
type faultyManager struct {
	service.Manager
	fault *fault
}

func (m faultyManager) Apply(ctx context.Context, instance string, changes []service.Change) error {
	for _, c := range changes {
		if err := m.fault.guard(func() error { return m.Manager.Apply(ctx, instance, []service.Change{c}) }); err != nil {
			return err
		}
	}
	return nil
}

type faultyDisk struct {
	engine.Disk
	fault *fault
}

func (d faultyDisk) wrap(disk afero.Fs, err error) (afero.Fs, error) {
	if root, ok := disk.(*fsys.Root); ok && err == nil {
		return faultyFs{root, d.fault}, nil
	}
	return disk, err
}

func (d faultyDisk) Peek() (afero.Fs, error) { return d.wrap(d.Disk.Peek()) }

func (d faultyDisk) Open() (disk afero.Fs, err error) {
	err = d.fault.guard(func() error { disk, err = d.wrap(d.Disk.Open()); return err })
	return disk, err
}

// realFs is what faultyFs lets through of a root.
type realFs interface {
	afero.Fs
	afero.Lstater
	afero.Linker
	afero.LinkReader
	fsys.Lchowner
	fsys.Syncer
}

type faultyFs struct {
	realFs
	fault *fault
}

func (f faultyFs) OpenFile(name string, flag int, perm fs.FileMode) (file afero.File, err error) {
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE|os.O_TRUNC) == 0 {
		return f.realFs.OpenFile(name, flag, perm)
	}
	err = f.fault.guard(func() error { file, err = f.realFs.OpenFile(name, flag, perm); return err })
	return faultyFile{file, f.fault}, err
}

func (f faultyFs) Mkdir(name string, perm fs.FileMode) error {
	return f.fault.guard(func() error { return f.realFs.Mkdir(name, perm) })
}
func (f faultyFs) Remove(name string) error {
	return f.fault.guard(func() error { return f.realFs.Remove(name) })
}
func (f faultyFs) RemoveAll(name string) error {
	return f.fault.guard(func() error { return f.realFs.RemoveAll(name) })
}
func (f faultyFs) Rename(from, to string) error {
	return f.fault.guard(func() error { return f.realFs.Rename(from, to) })
}
func (f faultyFs) Chmod(name string, mode fs.FileMode) error {
	return f.fault.guard(func() error { return f.realFs.Chmod(name, mode) })
}
func (f faultyFs) LchownIfPossible(name string, uid, gid int) error {
	return f.fault.guard(func() error { return f.realFs.LchownIfPossible(name, uid, gid) })
}
func (f faultyFs) SymlinkIfPossible(to, name string) error {
	return f.fault.guard(func() error { return f.realFs.SymlinkIfPossible(to, name) })
}
func (f faultyFs) SyncFS() error {
	return f.fault.guard(f.realFs.SyncFS)
}

type faultyFile struct {
	afero.File
	fault *fault
}

func (f faultyFile) Write(b []byte) (n int, err error) {
	err = f.fault.guard(func() error { n, err = f.File.Write(b); return err })
	if n == 0 && err != nil {
		n, _ = f.File.Write(b[:len(b)/2]) // torn
	}
	return n, err
}

// Chmod and Chown act on the descriptor, as fsys wants them.
func (f faultyFile) Chmod(mode fs.FileMode) error {
	return f.fault.guard(func() error { return f.File.(interface{ Chmod(fs.FileMode) error }).Chmod(mode) })
}
func (f faultyFile) Chown(uid, gid int) error {
	return f.fault.guard(func() error { return f.File.(interface{ Chown(int, int) error }).Chown(uid, gid) })
}

// TestFaults has a change of the root, the state or the services fail, or the
// process end there, in each of some applies of drawn profiles on a real folder;
// the last profile, applied without faults, leaves what it alone would have left, and
// every service runs with what it alone would run with.
func TestFaults(t *testing.T) {
	dir := proofDir(t)
	prove(t, 30, func(rt *rapid.T) {
		p := newProof(rt, dir)
		p.drawParams(rt)
		w := wishes{commands: true, services: true}
		var story []string
		for range rapid.IntRange(1, 4).Draw(rt, "faults") {
			source := drawProfile(rt, w).source()
			p.profile(source)
			f := &fault{left: rapid.IntRange(0, 60).Draw(rt, "change"), dead: rapid.Bool().Draw(rt, "dead")}
			o := p.apply(f.on)
			if f.left < 0 && o.err == nil {
				rt.Logf("nobody minds a change that failed") // a temporary file's removal, say
			}
			story = append(story, source, fmt.Sprintf("fault: %v", o.err))
		}
		last := drawProfile(rt, w).source()
		p.profile(last)
		there := p.apply()
		fresh := newProof(rt, dir)
		fresh.params = p.params
		fresh.profile(last)
		alone := fresh.apply()
		if fmt.Sprint(there.err) != fmt.Sprint(alone.err) {
			rt.Fatalf("after faults: %v\nalone: %v\n%s\n%s", there.err, alone.err, strings.Join(story, "\n"), last)
		}
		if alone.err != nil {
			return
		}
		if diff := cmp.Diff(alone.tree, there.tree); diff != "" {
			rt.Fatalf("tree (-alone +after faults):\n%s\n%s\n%s", diff, strings.Join(story, "\n"), last)
		}
		if diff := cmp.Diff(fresh.digests(), p.digests()); diff != "" {
			rt.Fatalf("services (-alone +after faults):\n%s\n%s\n%s", diff, strings.Join(story, "\n"), last)
		}
	})
}

// digests are those that the services were started with: a restart that was lost
// leaves another one.
func (p *proof) digests() map[string]string {
	have, err := p.manager.Observe(context.Background(), "proof")
	p.must(err)
	digests := map[string]string{}
	for name, s := range have {
		digests[name] = fmt.Sprintf("%s %s %s", s.Status, s.Digest, s.ReloadDigest)
	}
	return digests
}

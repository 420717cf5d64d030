package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// What is swapped for a link: folders that the profiles write into, remove and
// make, and files that they replace, change and copy.
var swapped = []string{"a", "a/b", "a/b/c", "d", "a/file", "a/b/file", "d/file", "copied", "etc", "etc/services"}

// swapProfile is one of two profiles that take turns; n is in all contents.
func swapProfile(n int) string {
	s := drawnParams + fmt.Sprintf(`
file("a/file", "%[1]d", mode = 0o64%[2]d)
file("a/b/file", "%[1]d")
symlink("a/b/link", "%[1]d")
file("d/file", "%[1]d", mode = 0o60%[2]d)
service("s", ["/bin/sleep", "%[1]d"])
`, n, n%2*4)
	if n%2 == 1 {
		return s + "copy(\"copied\", instance.root + \"/a/b\")\n"
	}
	owner := ""
	if os.Geteuid() == 0 {
		owner = ", owner = \"nobody\""
	}
	return s + "mkdir(\"a/b/c\", mode = 0o700" + owner + ")\nfile(\"a/b/c/deep/file\", \"x\")\n"
}

// linkTo is what a path below the root is swapped for, or has been.
func linkTo(links, name string) string {
	return filepath.Join(links, strings.ReplaceAll(name, "/", "-"))
}

// swap swaps one thing after another until it is over.
func (p *proof) swap(links string, over *atomic.Bool, swaps *atomic.Int64, r *rand.Rand) {
	for !over.Load() {
		name := swapped[r.IntN(len(swapped))]
		for range 1 + min(1, r.IntN(4)) { // there, and mostly back
			if exchange(p.path("root"), name, linkTo(links, name)) == nil {
				swaps.Add(1)
			}
			if r.IntN(3) == 0 {
				time.Sleep(time.Duration(r.IntN(200)) * time.Microsecond)
			}
		}
	}
}

// exchange swaps a path below root for another object. It follows no link below
// root itself: else it would be the adversary that changes things outside.
func exchange(root, name, other string) error {
	top, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(top)
	folder, err := unix.Openat2(top, filepath.Dir(name), &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return err
	}
	defer unix.Close(folder)
	return unix.Renameat2(folder, filepath.Base(name), unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
}

// unswap puts the links back where they are kept, and forgets what they had been
// swapped for: the profile makes it anew.
func (p *proof) unswap(links string) {
	p.must(os.RemoveAll(p.path("root")))
	p.must(os.RemoveAll(links))
	p.must(os.Mkdir(links, 0o755))
	for _, name := range swapped {
		p.must(os.Symlink(p.path("outside", name), linkTo(links, name)))
	}
}

// quickly applies without a cache: then an apply does not wait for the clock.
func (p *proof) quickly() error {
	p.t.Helper()
	in := p.instance()
	unlock, err := in.lock()
	p.must(err)
	defer unlock()
	e, done := in.real(p.manager, nil)
	defer done()
	inProcess(e, in)
	e.Cache = nil
	_, err = e.Converge(context.Background())
	return err
}

// TestContained: somebody swaps folders and files below the root for links that
// lead out of it, at any moment, while instar applies, and nothing outside changes.
// With INSTAR_PROVE these are 200,000 swaps and more.
func TestContained(t *testing.T) {
	dir := proofDir(t)
	p := newProof(t, dir)
	p.profile(swapProfile(0))
	if o := p.apply(); o.err != nil {
		t.Fatal(o.err)
	}
	outside, links := p.path("outside"), p.path("links")
	for _, name := range swapped { // what would be hit has the same names
		at := filepath.Join(outside, name)
		p.must(os.MkdirAll(filepath.Dir(at), 0o777))
		if strings.HasSuffix(name, "file") {
			p.must(os.WriteFile(at, []byte("precious"), 0o666))
		} else {
			p.must(os.MkdirAll(filepath.Join(at, "deep"), 0o777))
		}
	}
	p.unswap(links)
	before := fingerprint(t, outside)

	want := int64(4_000)
	switch {
	case thorough() > 0:
		want = 200_000 * int64(thorough())
	case testing.Short() || raced:
		want = 1_000
	}
	var swaps atomic.Int64
	var over atomic.Bool
	var adversary sync.WaitGroup
	attack := func(seed uint64) {
		over.Store(false)
		adversary.Go(func() { p.swap(links, &over, &swaps, rand.New(rand.NewPCG(seed, 2))) })
	}
	attack(0)
	applied, failed := 0, 0
	for n := 1; swaps.Load() < want || applied == 0 || failed == 0; n++ {
		p.profile(swapProfile(n))
		if p.quickly() == nil {
			applied++
		} else {
			failed++
		}
		if n%50 == 0 { // what was swapped away for good
			over.Store(true)
			adversary.Wait()
			p.unswap(links)
			attack(uint64(n))
		}
	}
	over.Store(true)
	adversary.Wait()
	if diff := cmp.Diff(before, fingerprint(t, outside)); diff != "" {
		t.Errorf("outside the root (-before +after):\n%s", diff)
	}
	t.Logf("%d swaps, %d applies came to their end, %d were refused", swaps.Load(), applied, failed)
}

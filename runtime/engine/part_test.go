package engine

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"instar/runtime/generation"
	"instar/runtime/plan"
	"instar/runtime/state"
)

func newKeeping(t *testing.T, blind bool) *onDisk {
	d := newOnDisk(t)
	d.blind = blind
	d.keeper = generation.Keeper{Store: generation.In(d.folder)}
	return d
}

// outcome is all that an apply leaves and says, but for when.
type outcome struct {
	Changes, Warnings, Tree []string
	Err                     string
	State                   *state.State
	Paths                   []generation.Path
}

func (d *onDisk) outcome(parts []any) outcome {
	d.t.Helper()
	d.parts, d.key = nil, d.key+"." // another profile has another key
	for _, part := range parts {
		if part == mentions {
			part = program("alpha", d.root+"/a", d.root+"/b", d.root+"/new-1")
		}
		d.parts = append(d.parts, part)
	}
	var o outcome
	var err error
	if o.Changes, err = d.try(); err != nil {
		o.Err = strings.ReplaceAll(err.Error(), d.root, "ROOT")
	}
	o.Warnings = d.warnings
	_ = filepath.WalkDir(d.root, func(name string, _ fs.DirEntry, _ error) error {
		info, err := os.Lstat(name)
		if err != nil {
			return nil // there is no root
		}
		text, _ := os.ReadFile(name)
		to, _ := os.Readlink(name)
		o.Tree = append(o.Tree, fmt.Sprintf("%s %v %s %q", strings.TrimPrefix(name, d.root), info.Mode(), to, text))
		return nil
	})
	if o.State, err = d.folder.Load(); err != nil {
		d.t.Fatal(err)
	}
	o.State.AppliedAt, o.State.Settings.Root = time.Time{}, ""
	for name, s := range o.State.Services {
		s.Digest = "" // has the root; that it changes shows in Changes
		o.State.Services[name] = s
	}
	if o.State.Generation > 0 {
		g, err := generation.In(d.folder).Read(o.State, o.State.Generation)
		if err == nil {
			err = g.Verify()
		}
		if err != nil {
			d.t.Fatal(err)
		}
		o.Paths = g.Paths
	}
	return o
}

// A round that goes by a part of its plan leaves and says what one does that compares
// all of it: whatever changes in the profile, and whoever meddles between.
func TestPartIsAsTheWhole(t *testing.T) {
	parted := 0
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 7))
		one, whole := newKeeping(t, false), newKeeping(t, true)
		var parts []any
		for step := range 6 {
			if step == 0 || r.IntN(4) == 0 {
				parts = plainParts(r)
			} else {
				parts = alter(r, parts)
			}
			got, want := one.outcome(parts), whole.outcome(parts)
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("seed %d, step %d: %s", seed, step, diff)
			}
			if one.folder.LoadCache() != nil && one.folder.LoadPlanned(one.folder.LoadCache()) != nil {
				parted++
			}
			if got.Err == "" && r.IntN(3) == 0 {
				name := []string{"a", "b", "c/a", "d/b/c"}[r.IntN(4)]
				how := r.IntN(3)
				for _, d := range []*onDisk{one, whole} {
					meddle(d.root+"/"+name, how)
				}
			}
		}
	}
	if parted < 100 {
		t.Errorf("only %d applies could have gone by a part", parted)
	}
}

// mentions stands for a service that mentions files of the instance.
const mentions = "a service"

// plainParts is a plan without copies, in which each resource has a line of its own.
func plainParts(r *rand.Rand) []any {
	parts := slices.DeleteFunc(randomParts(r, true), func(part any) bool { _, is := part.(*plan.Copy); return is })
	if r.IntN(3) == 0 {
		parts = append(parts, mentions)
	}
	return parts
}

// alter changes a little of a plan.
func alter(r *rand.Rand, parts []any) []any {
	out := slices.Clone(parts)
	for range 1 + r.IntN(3) {
		if len(out) == 0 {
			return plainParts(r)
		}
		i := r.IntN(len(out))
		switch r.IntN(5) {
		case 0: // the last one: nothing is in it
			out = out[:len(out)-1]
		case 1:
			out = append(out, file(fmt.Sprintf("new-%d", r.IntN(3)), "new"))
			if len(out) > 1 && slices.ContainsFunc(out[:len(out)-1], func(p any) bool { return idOf(p) == idOf(out[len(out)-1]) }) {
				out = out[:len(out)-1]
			}
		default:
			switch old := out[i].(type) {
			case *plan.File:
				f := *old
				f.Content, f.At.Line = []byte(strings.Repeat("y", r.IntN(4))), f.At.Line+int32(r.IntN(2))
				out[i] = &f
			case *plan.Dir:
				d := *old
				d.Mode = []plan.Mode{0o750, 0o700}[r.IntN(2)]
				out[i] = &d
			case *plan.Link:
				l := *old
				l.To = "elsewhere"
				out[i] = &l
			}
		}
	}
	return out
}

func idOf(part any) plan.ID {
	if r, ok := part.(plan.Resource); ok {
		return r.ID()
	}
	return ""
}

// meddle is somebody else at work.
func meddle(name string, how int) {
	switch how {
	case 0:
		_ = os.WriteFile(name, []byte("by hand"), 0o600) // where there is a folder, nothing happens
	case 1:
		_ = os.RemoveAll(name)
	case 2:
		_ = os.Chmod(name, 0o711)
	}
}

// What is new is found wherever it is, and what was moved, too.
func TestMatch(t *testing.T) {
	digest := func(n int) (d plan.Digest) { d[0], d[1] = byte(n), byte(n>>8); return d }
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var was []state.PlannedResource
		for i := range r.IntN(200) {
			was = append(was, state.PlannedResource{Digest: digest(i), At: i})
		}
		var now []plan.Digest
		for _, w := range was {
			switch r.IntN(8) {
			case 0: // gone
			case 1:
				now = append(now, digest(1000+r.IntN(9000)), w.Digest)
			default:
				now = append(now, w.Digest)
			}
		}
		if r.IntN(2) == 0 {
			r.Shuffle(len(now), func(i, j int) { now[i], now[j] = now[j], now[i] })
		}
		from, left := match(was, now)
		seen := map[int]bool{}
		for i, k := range from {
			old := slices.IndexFunc(was, func(w state.PlannedResource) bool { return w.Digest == now[i] })
			if k != old {
				t.Fatalf("%d is matched with %d, want %d", i, k, old)
			}
			seen[k] = true
		}
		for _, k := range left {
			if seen[k] {
				t.Fatalf("%d is left, and matched", k)
			}
			seen[k] = true
		}
		for k := range was {
			if !seen[k] {
				t.Fatalf("%d is neither left nor matched", k)
			}
		}
	}
}

// A folder that is no longer declared and not empty goes once it is, though parts of
// plans were gone by in between.
func TestKeptFolderGoesLater(t *testing.T) {
	d := newKeeping(t, false)
	foreign := filepath.Join(d.root, "old/by-hand")
	d.outcome([]any{dir("old"), file("a", "1")})
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, d.outcome([]any{file("a", "1")}).Changes)
	expect(t, d.outcome([]any{file("a", "2")}).Changes, "write a")
	expect(t, d.outcome([]any{file("a", "3")}).Changes, "write a")
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	expect(t, d.apply(), "remove old")
	expect(t, d.apply())
}

// What another build of the program found out is not gone by.
func TestPartOfAnotherBuild(t *testing.T) {
	d := newKeeping(t, false)
	d.outcome([]any{file("a", "1"), file("b", "1")})
	c := d.folder.LoadCache()
	p := d.folder.LoadPlanned(c)
	if p == nil {
		t.Fatal("nothing is known of the plan")
	}
	// As another build would have had it: a file counts as planned that is not.
	p.Build, p.Resources[0].Digest = "another", digests(planOf(file("a", "2")))[0]
	if err := d.folder.SavePlanned(c, p); err != nil {
		t.Fatal(err)
	}
	expect(t, d.outcome([]any{file("a", "2"), file("b", "1")}).Changes, "write a")
}

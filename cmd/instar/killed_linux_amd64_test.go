package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"instar/profiles"
	"instar/runtime/command"
)

// The profiles of the scenario: kinds of things change places, commands read
// files and make some, one wipes what it made.
const (
	killedBefore = drawnParams + `
keep = file("keep/a", "1")
file("old/b", "2")
file("turn", "a file")
file("swap/in", "a folder")
symlink("link", keep)
copy("copied", "tree")
wrapper("bin/run", ["/bin/echo", keep])
command_changed("changed", ["sh", "-ec", "cat keep/a > compiled; echo changed >> LOG"], env = {"F": keep}, creates = "compiled")
command_once("once", ["sh", "-ec", "echo x > only; echo once >> LOG"], creates = "only")
service("sleeper", ["sleep", "1", keep])
`
	killedDuring = drawnParams + `
keep = file("keep/a", "two", mode = 0o600)
file("turn/in", "x")
file("swap", "a file")
symlink("link", "new")
copy("copied", "tree/sub")
file("new/c", random_hex("value"))
data = mkdir_once("data")
command_changed("changed", ["sh", "-ec", "cat keep/a > compiled; echo changed >> LOG"], env = {"F": keep}, creates = "compiled")
command_once("fill", ["sh", "-ec", "test -z \"$(ls data)\" || exit 7; echo half > data/1; echo whole > data/2; echo fill >> LOG"], creates = data / "2", wipe = data)
command_once("once", ["sh", "-ec", "echo x > only; echo once >> LOG"], creates = "only")
service("sleeper", ["sleep", "1", keep])
`
	killedAfter = drawnParams + `
file("keep", "now a file")
file("old/b/deep", "a folder where a file was")
data = mkdir_once("data")
command_once("fill", ["sh", "-ec", "test -z \"$(ls data)\" || exit 7; echo half > data/1; echo whole > data/2; echo fill >> LOG"], creates = data / "2", wipe = data)
`
	killedNothing = drawnParams
)

// logged has the profile's commands note what they did in p's log.
func (p *proof) logged(source string) string { return strings.ReplaceAll(source, "LOG", p.path("log")) }

// args are the command line that applies p's profile.
func (p *proof) args() []string {
	args := []string{"--state-dir", p.path("state"), "-q", "apply", p.path("profile"), "--name", "proof", "--root", p.path("root"),
		"--release", "/usr", "--manager", "none", "--wait", "1s", "--reset"}
	for name, text := range p.params {
		args = append(args, "--set", name+"="+text)
	}
	return args
}

// runs counts how often each command has come to its end.
func (p *proof) runs() map[string]int {
	p.t.Helper()
	data, err := os.ReadFile(p.path("log"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.t.Fatal(err)
	}
	runs := map[string]int{}
	for _, name := range strings.Fields(string(data)) {
		runs[name]++
	}
	return runs
}

// record is that of a command's last attempt, nil for none.
func (p *proof) record(name string) *command.Record {
	p.t.Helper()
	rec, err := command.Load(p.instance().folder.Path("commands"), name)
	p.must(err)
	return rec
}

// killed runs the program, and has the process that makes the k-th call (or all
// that instar started) killed before it. It reports whether there was a k-th.
func (p *proof) killed(t testing.TB, k int, how judgement) (bool, string) {
	t.Helper()
	n, hit := 0, ""
	out, err := watched(t, p.dir, p.args(), func(c call) judgement {
		if c.sync() {
			return goOn // what it makes durable, only a power cut shows
		}
		if n++; n-1 != k {
			return goOn
		}
		hit = c.name + " " + strings.TrimPrefix(c.path, p.dir)
		return how
	})
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || hit == "" && err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return hit != "", hit
}

// settledState fails unless nothing is claimed any more, and all that the root holds
// is owned.
func (p *proof) settledState(t testing.TB, tree []string, data ...string) {
	t.Helper()
	st, err := p.instance().folder.Load()
	p.must(err)
	for name, rec := range st.Owned {
		if rec.Claim != nil {
			t.Errorf("%s is still claimed: %+v", name, rec)
		}
	}
	for _, line := range without(tree, data) {
		name, _, _ := strings.Cut(line, " ")
		if _, ok := st.Owned[name]; !ok {
			t.Errorf("nobody owns %s", name)
		}
	}
}

// TestKilled kills the real program at every system call that changes a file, its
// own, or that of a process that it started; alone, or together with all of
// them. Then the profile is another one, which is applied: the tree is that of an
// undisturbed run, no command ran again that had succeeded, and each that had not did.
func TestKilled(t *testing.T) {
	dir := proofDir(t)
	p := newProof(t, dir)
	p.profile(p.logged(killedBefore))
	if o := p.apply(); o.err != nil {
		t.Fatal(o.err)
	}
	image := dir + "-image"
	copyTree(t, dir, image)
	defer os.RemoveAll(image)
	afters := []string{killedBefore, killedDuring, killedAfter, killedNothing}
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
	step := 9
	if testing.Short() || raced {
		step = 40
	}
	if thorough() > 0 {
		step = 1
	}
	tried := 0
	for k := 0; ; k += step {
		more := false
		for i := range afters {
			for j, how := range []judgement{killIt, killThemAll} {
				if thorough() == 0 && (2*i+j)%(2*len(afters)) != k/step%(2*len(afters)) {
					continue // one of the ways for each call
				}
				tried++
				copyTree(t, image, dir)
				p := &proof{t: t, dir: dir, manager: p.manager}
				p.profile(p.logged(killedDuring))
				hit, where := p.killed(t, k, how)
				more = more || hit
				t.Run(fmt.Sprintf("%d %s then %d, all=%v", k, where, i, how == killThemAll), func(t *testing.T) {
					p.recovers(t, p.logged(afters[i]), undisturbed[i])
				})
				if t.Failed() {
					t.FailNow()
				}
			}
		}
		if !more {
			break
		}
	}
	t.Logf("killed %d times", tried)
}

// recovers applies the profile, after a kill, and checks what is there.
func (p *proof) recovers(t *testing.T, source string, undisturbed []string) {
	t.Helper()
	before, records := p.runs(), map[string]*command.Record{}
	for _, name := range []string{"changed", "once", "fill"} {
		records[name] = p.record(name)
	}
	p.profile(source)
	o := p.apply()
	if o.err != nil {
		t.Fatal(o.err)
	}
	// What a command of the interrupted run made in its folder of data stays.
	data := []string{"data"}
	got, want := o.named(o.tree), undisturbed
	if strings.Contains(source, "fill") {
		data = nil
	}
	if diff := cmp.Diff(without(want, data), without(got, data)); diff != "" {
		t.Errorf("tree (-undisturbed +got):\n%s", diff)
	}
	p.settledState(t, o.tree, "data")
	after := p.runs()
	for _, name := range []string{"once", "fill"} {
		rec := records[name]
		if !strings.Contains(source, `"`+name+`"`) {
			continue
		}
		want := before[name] + 1
		if rec != nil && rec.Status == command.Succeeded {
			want = before[name]
		}
		if after[name] != want {
			t.Errorf("command %s ran %d times, and %d times before: %+v", name, after[name], before[name], rec)
		}
	}
	if again := p.apply(); again.err != nil || len(again.report.Changes) > 0 {
		t.Errorf("applied again: %v, %v", again.err, changesOf(again))
	}
}

// copyTree makes a copy of a folder, with modes, owners and links, in place of to.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestKilledDrawn applies drawn profiles one after another, kills the program in
// each apply but the last at some call, and finds what the last one alone leaves.
func TestKilledDrawn(t *testing.T) {
	dir := proofDir(t)
	prove(t, 25, func(rt *rapid.T) {
		p := newProof(rt, dir)
		p.drawParams(rt)
		w := wishes{commands: true, values: true, services: true}
		var story []string
		for range rapid.IntRange(1, 4).Draw(rt, "kills") {
			source := drawProfile(rt, w).source()
			p.profile(source)
			how := rapid.SampledFrom([]judgement{killIt, killThemAll}).Draw(rt, "how")
			_, where := p.killed(t, rapid.IntRange(0, 150).Draw(rt, "call"), how)
			story = append(story, source, fmt.Sprintf("killed at %q, all=%v", where, how == killThemAll))
		}
		last := drawProfile(rt, w).source()
		p.profile(last)
		there := p.apply()
		p2 := newProof(rt, dir)
		p2.params = p.params
		p2.profile(last)
		alone := p2.apply()
		if fmt.Sprint(there.err) != fmt.Sprint(alone.err) {
			rt.Fatalf("after kills: %v\nalone: %v\n%s\n%s", there.err, alone.err, strings.Join(story, "\n"), last)
		}
		if diff := cmp.Diff(alone.named(alone.tree), there.named(there.tree)); alone.err == nil && diff != "" {
			rt.Fatalf("tree (-alone +after kills):\n%s\n%s\n%s", diff, strings.Join(story, "\n"), last)
		}
	})
}

// TestBundledProfilesKilled kills the first apply of every bundled profile at some
// calls; the next one leaves what an undisturbed one does.
func TestBundledProfilesKilled(t *testing.T) {
	for _, name := range profiles.Names() {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, name)
			p := &proof{t: t, dir: filepath.Dir(tr.root)}
			tr.apply()
			undisturbed := p.tree()
			every := 29
			switch {
			case thorough() > 0:
				every = 1
			case testing.Short() || raced:
				every = 100
			}
			for k, hit := 0, true; hit; k += every {
				if err := errors.Join(os.RemoveAll(tr.root), os.RemoveAll(tr.state)); err != nil {
					t.Fatal(err)
				}
				n := 0
				hit = false
				args := append([]string{"--state-dir", tr.state, "-q", "apply", tr.profile}, tr.flags...)
				_, _ = watched(t, p.dir, args, func(c call) judgement {
					if n++; n-1 != k {
						return goOn
					}
					hit = true
					return killThemAll
				})
				tr.apply()
				if diff := cmp.Diff(undisturbed, p.tree()); diff != "" {
					t.Fatalf("killed at call %d (-undisturbed +got):\n%s", k, diff)
				}
				tr.settled()
			}
		})
	}
}

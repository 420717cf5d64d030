package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"instar/runtime/apply"
	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/secret"
	"instar/runtime/state"
)

// holding adds secrets to a plan.
func holding(p *plan.Plan, secrets ...string) *plan.Plan {
	p.Secrets = append(p.Secrets, secrets...)
	return p
}

// shown is all that a plan of the profile shows of what it would do.
func (w *world) shown() string {
	w.t.Helper()
	e := w.engine()
	e.Planning, e.Diffs = true, true
	e.Mask = secret.New(nil)
	st, err := w.store.Load()
	if err != nil {
		w.t.Fatal(err)
	}
	if e.Store, err = state.NewMemory(st); err != nil {
		w.t.Fatal(err)
	}
	copied := *w
	copied.overlay = w.overlay
	rep, err := e.Converge(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	var all strings.Builder
	for _, c := range rep.Changes {
		all.WriteString(c.Why + c.Diff)
	}
	return all.String()
}

const (
	oldSecret = "old-hunter2-old"
	newSecret = "new-hunter3-new"
)

// The claim of an apply with a new secret forgot the old one, which still stood in
// the files: after a crash, or a command that failed, a plan showed it in the
// lines that go.
func TestOldSecretsStayMaskedUntilTheyAreGone(t *testing.T) {
	for name, after := range map[string]func(w *world) error{
		"killed after the claim": func(w *world) error {
			left := 1 // the state is saved, and nothing after it
			fault := faulty{w.overlay, &left}
			w.disk, w.saver = fault, faultyStore{w.store, fault}
			_, err := w.apply()
			w.disk, w.saver = w.overlay, w.store
			return err
		},
		"pending before the file": func(w *world) error {
			full := w.profile
			w.profile = func(plan.View) *plan.Plan {
				return holding(planOf(file("other", newSecret), &plan.Pending{Why: "not yet"}), newSecret)
			}
			_, err := w.apply()
			w.profile = full
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.profile = func(plan.View) *plan.Plan { return holding(planOf(file("a", "pw="+oldSecret+"\n")), oldSecret) }
			if _, err := w.apply(); err != nil {
				t.Fatal(err)
			}
			w.profile = func(plan.View) *plan.Plan { return holding(planOf(file("a", "pw="+newSecret+"\n")), newSecret) }
			if err := after(w); err != nil && !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			if got := w.shown(); strings.Contains(got, "hunter") {
				t.Errorf("shown:\n%s", got)
			}
			if _, err := w.apply(); err != nil {
				t.Fatal(err)
			}
			st, err := w.store.Load()
			if err != nil {
				t.Fatal(err)
			}
			if len(st.Secrets) != 1 || st.Secrets[0] != newSecret {
				t.Errorf("secrets remembered in the end: %q", st.Secrets)
			}
		})
	}
}

// What stood below a link that became a folder was looked up through that link, and
// what stood below a folder that became one, too: the apply failed for ever.
func TestLinkBecomesFolderAndBack(t *testing.T) {
	linked := []any{dir("other"), link("d", "other"), dir("top"), link("top/l", "../other")}
	folder := []any{dir("d"), dir("d/sub"), file("d/sub/in", "1"), dir("top"), dir("top/l"), file("top/l/in", "2")}
	for _, seq := range [][][]any{{linked, folder}, {folder, linked}, {linked, folder, linked}, {folder, {}}} {
		w, fresh := newWorld(t), newWorld(t)
		for _, parts := range seq {
			w.converge(parts...)
		}
		last := seq[len(seq)-1]
		fresh.converge(last...)
		w.expectTree(fresh.tree()...)
		expect(t, w.converge(last...))
	}
}

// A link that the instance's user put where a folder was made an apply, and a
// destruction, fail although what lay in that folder was to go.
func TestLinkPlantedAboveWhatGoes(t *testing.T) {
	begin := func() *world {
		w := newWorld(t)
		w.put("elsewhere/in", "precious")
		w.converge(dir("d"), file("d/in", "1"), file("e", "2"))
		if err := w.overlay.RemoveAll("d"); err != nil {
			t.Fatal(err)
		}
		if err := w.overlay.SymlinkIfPossible("elsewhere", "d"); err != nil {
			t.Fatal(err)
		}
		return w
	}
	w := begin()
	expect(t, w.converge(), "remove e")
	expect(t, w.converge())
	w.expectTree("d -> elsewhere", "elsewhere/ 0755", "elsewhere/in 0640 precious")
	for _, purge := range []bool{false, true} {
		w = begin()
		if _, err := w.engine().Destroy(context.Background(), purge); err != nil {
			t.Errorf("purge %v: %v", purge, err)
		}
		if data, err := fsys.ReadRegular(w.overlay, "elsewhere/in", 100); err != nil || string(data) != "precious" {
			t.Errorf("purge %v: %q, %v", purge, data, err)
		}
	}
}

// A command that a killed deployer had left running was not waited for once the
// profile had it no more: what it made afterwards was nobody's. And what had been
// set aside for it stayed beside.
func TestCommandLeftRunningAndNoLongerDeclared(t *testing.T) {
	w := newWorld(t)
	made := &plan.Command{Name: "make", Changed: true, Exec: plan.Exec{Argv: []string{"/bin/make", "1"}, Dir: testRoot}, Creates: []string{"made"}}
	w.commands.do = func(*plan.Command) error { w.put("made", "1"); return nil }
	w.converge(made)
	// The second run was begun, and its deployer killed.
	if err := w.overlay.Rename("made", asideName("made")); err != nil {
		t.Fatal(err)
	}
	w.commands.waited = func(name string) {
		if name == "make" {
			w.put("made", "2") // that is when it ends
			w.commands.records["make"].Creates["made"] = "sha256:" + apply.Hash([]byte("2"))
		}
	}
	w.converge(file("other", "x"))
	w.expectTree("other 0640 x")
	w.commands.waited = nil
	expect(t, w.converge(file("other", "x")))
}

// A folder was made with mode 0700 and root's, and given away afterwards: killed in
// between, an implicit or an `_once` one stayed like that for ever, and the
// instance's user could not enter it.
func TestKilledWhileFoldersAreMade(t *testing.T) {
	implicit := func(name string) *plan.Dir { d := dir(name); d.Implicit = true; return d }
	parts := []any{implicit("a"), implicit("a/b"), file("a/b/c", "1"), once(dir("data")), dir("e")}
	fresh := newWorld(t)
	fresh.converge(parts...)
	for k := 0; ; k++ {
		w, left := newWorld(t), k
		fault := faulty{w.overlay, &left}
		w.disk, w.saver = fault, faultyStore{w.store, fault}
		w.profile = func(plan.View) *plan.Plan { return planOf(parts...) }
		_, err := w.apply()
		w.disk, w.saver = w.overlay, w.store
		if err == nil {
			break
		}
		w.converge(parts...)
		w.expectTree(fresh.tree()...)
		w.converge()
		w.expectTree("data/ 0750")
		if k > 200 {
			t.Fatal("the apply never came to its end")
		}
	}
}

// A folder called like the note of an attempt, put there by the instance's user,
// made every apply and every destruction fail.
func TestPlantedNoteIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.put(".instar-attempt-x/in", "1")
	w.put(".instar-attempt-y", "1")
	w.converge(file("a", "1"))
	w.expectTree(".instar-attempt-x/ 0755", ".instar-attempt-x/in 0640 1", "a 0640 1")
	if _, err := w.engine().Destroy(context.Background(), true); err != nil {
		t.Error(err)
	}
}

// What was made once became an ordinary file, and lost what it held, when a later
// profile declared it as one, and an ordinary folder as the parent of another.
func TestOnceStaysWhateverTheProfileSays(t *testing.T) {
	for name, later := range map[string][]any{
		"file": {file("data/x", "new"), dir("data")}, "link": {link("data/x", "elsewhere")},
		"implicit": {&plan.Dir{Meta: meta("data", 0o750), Implicit: true}, file("data/y", "1")},
		"mode":     {dir("data")}, "link for the folder": {link("empty", "data")}, "nothing": {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := dir("data")
			d.Mode = 0o700
			w.converge(once(d), once(file("data/x", "1")), once(dir("empty")))
			w.put("data/x", "precious")
			before := w.tree()
			w.converge(later...)
			expect(t, w.converge(later...))
			w.converge()
			w.expectTree(before...)
		})
	}
}

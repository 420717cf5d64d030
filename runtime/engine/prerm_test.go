package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"instar/runtime/command"
	"instar/runtime/fsys"
	"instar/runtime/plan"
)

// doomed is a world whose instance has data, two programs in etc/prerm and what
// they need.
func doomed(t *testing.T) (*world, *fakeCommands, func(purge bool) ([]string, error)) {
	w := newWorld(t)
	program := func(name, text string) *plan.File {
		return &plan.File{Meta: meta("etc/prerm/"+name, 0o750), Content: []byte(text)}
	}
	w.converge(once(file("data", "precious")), file("other", "x"), dir("empty"), dir("etc"), dir("bin"), dir("lib"), dir("etc/prerm"),
		file("etc/list", "see "+testRoot+"/etc/inner"), file("etc/inner", ""), file("lib/x", ""),
		&plan.File{Meta: meta("bin/real", 0o750), Content: []byte(testRoot + "/lib/x")},
		program("10-a", "cat "+testRoot+"/etc/list"), link("etc/prerm/20-b", "../../bin/real"), program("30-c", ""))
	prerm := &fakeCommands{world: w, records: map[string]*command.Record{}, do: func(*plan.Command) error { return nil }}
	return w, prerm, func(purge bool) ([]string, error) {
		e := w.engine()
		e.Prerm = prerm
		r, err := e.Destroy(context.Background(), purge)
		return changes(r), err
	}
}

func TestPrermKeepsWhatItNeeds(t *testing.T) {
	w, prerm, destroy := doomed(t)
	for range 2 {
		if _, err := destroy(false); err != nil {
			t.Fatal(err)
		}
		w.expectTree("bin/ 0750", "bin/real 0750 /srv/web/lib/x", "data 0640 precious", "etc/ 0750", "etc/inner 0640 ",
			"etc/list 0640 see /srv/web/etc/inner", "etc/prerm/ 0750", "etc/prerm/10-a 0750 cat /srv/web/etc/list",
			"etc/prerm/20-b -> ../../bin/real", "etc/prerm/30-c 0750 ", "lib/ 0750", "lib/x 0640 ")
	}
	if len(prerm.ran) > 0 {
		t.Errorf("ran %v", prerm.ran)
	}
	// Without them in the way, applying nothing leaves the data alone.
	if w.converge(once(file("data", ""))); len(w.tree()) != 1 {
		t.Errorf("left: %v", w.tree())
	}
}

func TestPrermRunsUntilItSucceeds(t *testing.T) {
	w, prerm, destroy := doomed(t)
	prerm.do = func(cmd *plan.Command) error {
		if cmd.Timeout != 10*time.Minute || cmd.Exec.Dir != testRoot || cmd.Exec.Identity.User != "web" || cmd.Exec.Argv[0] != testRoot+"/etc/prerm/"+cmd.Name {
			t.Errorf("runs as %+v", cmd)
		}
		if cmd.Name == "20-b" {
			return errors.New("not yet")
		}
		return nil
	}
	before := w.tree()
	_, err := destroy(true)
	var failed *PrermError
	if !errors.As(err, &failed) || failed.Path != "etc/prerm/20-b" || !strings.Contains(err.Error(), "not yet") {
		t.Fatalf("error: %v", err)
	}
	if !slices.Equal(before, w.tree()) {
		t.Errorf("something went: %v", w.tree())
	}
	// Then what has succeeded counts, even if the removal does not come to its end.
	prerm.do = func(*plan.Command) error { return nil }
	w.disk = stuck{w.overlay}
	if _, err = destroy(true); err == nil || !strings.Contains(err.Error(), "stuck") {
		t.Fatalf("error: %v", err)
	}
	w.disk = w.overlay
	if _, err := destroy(true); err != nil {
		t.Fatal(err)
	}
	if want := []string{"10-a", "20-b", "20-b", "30-c"}; !slices.Equal(prerm.ran, want) {
		t.Errorf("ran %v", prerm.ran)
	}
	w.expectTree()
}

// stuck is a disk on which nothing can be removed.
type stuck struct{ *fsys.Overlay }

func (stuck) RemoveAll(string) error { return errors.New("stuck") }

// What had succeeded when a destruction was given up is run again by the next
// one, and so is a program that was changed since.
func TestPrermBelongsToItsDestruction(t *testing.T) {
	w := newWorld(t)
	script := func(name, text string) *plan.File {
		return &plan.File{Meta: meta("etc/prerm/"+name, 0o750), Content: []byte(text)}
	}
	prerm := &fakeCommands{world: w, records: map[string]*command.Record{}, do: func(cmd *plan.Command) error {
		if cmd.Name == "b" {
			return errors.New("never")
		}
		return nil
	}}
	clock := time.Unix(1e9, 0)
	destroy := func(what string, want ...string) {
		t.Helper()
		e := w.engine()
		e.Prerm, prerm.ran = prerm, nil
		e.Now = func() time.Time { clock = clock.Add(time.Second); return clock }
		if _, err := e.Destroy(context.Background(), true); err == nil {
			t.Fatal("no error")
		}
		if !slices.Equal(prerm.ran, want) {
			t.Errorf("%s: ran %v", what, prerm.ran)
		}
	}
	w.converge(dir("etc"), dir("etc/prerm"), script("a", "one"), script("b", ""))
	destroy("destroyed", "a", "b")
	destroy("continued", "b")
	w.put("etc/prerm/a", "two")
	if err := w.overlay.Chmod("etc/prerm/a", 0o750); err != nil {
		t.Fatal(err)
	}
	destroy("changed", "a", "b")
	destroy("continued", "b")
	w.requested = "started"
	w.converge(dir("etc"), dir("etc/prerm"), script("a", "two"), script("b", ""))
	if st, _ := w.store.Load(); !st.DestroyedAt.IsZero() {
		t.Errorf("destroyed at %v", st.DestroyedAt)
	}
	w.requested = ""
	destroy("destroyed anew", "a", "b")
}

// Without something that runs it, nothing is removed.
func TestPrermNeedsCommands(t *testing.T) {
	w, _, _ := doomed(t)
	before := w.tree()
	if _, err := w.engine().Destroy(context.Background(), true); err == nil || !slices.Equal(before, w.tree()) {
		t.Errorf("%v: %v", err, w.tree())
	}
}

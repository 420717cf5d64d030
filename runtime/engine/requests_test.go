package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"instar/runtime/plan"
	"instar/runtime/state"
)

// tree is an instance called web and those that it requests, in memory.
type tree struct {
	t        *testing.T
	members  map[string]*world
	left     *int // changes until all is killed; nil: never
	requests []plan.Request
}

func newTree(t *testing.T) *tree {
	return &tree{t: t, members: map[string]*world{"web": newWorld(t)}}
}

// member returns an instance of the tree, made when it is asked for first.
func (f *tree) member(name string) *world {
	if f.members[name] == nil {
		w := newWorld(f.t)
		store, err := state.NewMemory(state.New(name))
		if err != nil {
			f.t.Fatal(err)
		}
		w.store, w.saver = store, store
		f.members[name] = w
	}
	return f.members[name]
}

func (f *tree) State(name string) (*state.State, error) {
	if f.members[name] == nil {
		return state.New(name), nil
	}
	return f.members[name].store.Load()
}

func (f *tree) Complete(c *Child) error {
	c.Settings = state.Settings{Root: testRoot, Release: "/usr", Profile: "/profiles/" + c.Request.Profile,
		Requester: &state.Requester{Instance: "web", Name: c.Name}}
	for name, value := range c.Request.Params {
		c.Settings.Params = map[string]state.Given{name: {Value: value}}
	}
	return nil
}

// engine wires up one instance, to be killed with all others.
func (f *tree) engine(name string) *Engine {
	w := f.member(name)
	w.disk, w.saver = w.overlay, w.store
	if f.left != nil {
		fault := faulty{w.overlay, f.left}
		w.disk, w.saver = fault, faultyStore{w.store, fault}
	}
	e := w.engine()
	e.Name = name
	return e
}

func (f *tree) Fulfil(ctx context.Context, children []*Child) []Outcome {
	outcomes := make([]Outcome, len(children))
	for i, c := range children {
		e := f.engine(c.Instance)
		e.Settings, e.Requested = c.Settings, c.State
		e.Evaluate = func(context.Context, *state.State, plan.View) (*plan.Plan, error) {
			p := planOf(file("conf", c.Name), once(dir("data")))
			p.Published["url"] = "http://" + c.Name
			if c.Name == "bad" {
				return nil, errors.New("bad")
			}
			return p, nil
		}
		outcomes[i].Report, outcomes[i].Err = e.Converge(ctx)
	}
	return outcomes
}

func (f *tree) Destroy(ctx context.Context, names []string, purge bool) []Outcome {
	outcomes := make([]Outcome, len(names))
	for i, name := range names {
		st, err := f.State(name)
		if err != nil {
			f.t.Fatal(err)
		}
		e := f.engine(name)
		e.Settings = st.Settings
		outcomes[i].Report, outcomes[i].Err = e.Destroy(ctx, purge)
	}
	return outcomes
}

// apply processes the tree with the given requests, by name.
func (f *tree) apply(names ...string) ([]string, error) {
	f.requests = nil
	for _, name := range names {
		f.requests = append(f.requests, plan.Request{Name: name, Profile: "x", State: state.Started})
	}
	e := f.engine("web")
	e.Children = f
	e.Evaluate = func(_ context.Context, st *state.State, _ plan.View) (*plan.Plan, error) {
		p := planOf(dir("etc"))
		p.Requests = f.requests
		for _, name := range names {
			child, _ := f.State(st.Requests[name].Instance)
			url, ok := child.Published["url"].(string)
			if !ok {
				p.Pending = &plan.Pending{Why: name + " is not published yet"}
				return p, nil
			}
			p.Resources = append(p.Resources, file("etc/"+name, url))
		}
		return p, nil
	}
	rep, err := e.Converge(context.Background())
	return changes(rep), err
}

// alive lists the children that exist and are not destroyed, and those of which
// more than data is left.
func (f *tree) alive() []string {
	list := []string{}
	for _, name := range plan.SortedKeys(f.members) {
		st, err := f.State(name)
		if err != nil {
			f.t.Fatal(err)
		}
		left := strings.Join(f.members[name].tree(), ",")
		if name != "web" && (st.Exists() && !st.IsDestroyed() || strings.Contains(left, "conf")) {
			list = append(list, name+" "+left)
		}
	}
	return list
}

// One processing makes all that is requested, reads what it publishes, and
// releases what is requested no more; the next one has nothing to do.
func TestRequestsInOneProcessing(t *testing.T) {
	f := newTree(t)
	got, err := f.apply("a", "b")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, got, "mkdir etc", "request web-a", "request web-b", "write etc/a", "write etc/b")
	saves := f.members["web"].store.Saves + f.members["web-a"].store.Saves
	if got, err = f.apply("a", "b"); err != nil {
		t.Fatal(err)
	}
	expect(t, got)
	if now := f.members["web"].store.Saves + f.members["web-a"].store.Saves; now != saves {
		t.Errorf("applied again, %d states are written", now-saves)
	}
	if got, err = f.apply("b"); err != nil {
		t.Fatal(err)
	}
	expect(t, got, "remove etc/a", "release web-a")
	if diff := cmp.Diff([]string{"web-b conf 0640 b,data/ 0750"}, f.alive()); diff != "" {
		t.Error(diff)
	}
}

// A child that fails keeps its parent from releasing others, and is told.
func TestRequestFails(t *testing.T) {
	f := newTree(t)
	if _, err := f.apply("a", "b"); err != nil {
		t.Fatal(err)
	}
	_, err := f.apply("b", "bad")
	var failed *RequestsError
	if !errors.As(err, &failed) || failed.Unkept || len(failed.Failed) != 1 || failed.Failed[0].Name != "bad" {
		t.Fatalf("got %v", err)
	}
	if got := f.alive(); len(got) != 2 {
		t.Errorf("alive are %v", got)
	}
	if _, err := f.apply("b"); err != nil {
		t.Fatal(err)
	}
	if got := f.alive(); len(got) != 1 {
		t.Errorf("alive are %v", got)
	}
}

// TestRequestsKilledAtEveryChange kills a processing of a tree at its k-th
// change, for every k, and then goes on in another way: no child is left that
// nobody requests, and none is missing.
func TestRequestsKilledAtEveryChange(t *testing.T) {
	for name, after := range map[string][]string{"same": {"b", "c"}, "before": {"a", "b"}, "none": {}, "another": {"d"}} {
		t.Run(name, func(t *testing.T) {
			for k, done := 0, false; !done; k++ {
				f, fresh := newTree(t), newTree(t)
				for _, each := range []*tree{f, fresh} {
					if _, err := each.apply("a", "b"); err != nil {
						t.Fatal(err)
					}
				}
				left := k
				f.left = &left
				_, err := f.apply("b", "c")
				done = err == nil
				f.left = nil
				if _, err := f.apply(after...); err != nil {
					t.Fatalf("k = %d: %v", k, err)
				}
				if _, err := fresh.apply(after...); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(fresh.alive(), f.alive()); diff != "" {
					t.Errorf("killed at change %d (-undisturbed +got):\n%s", k, diff)
				}
				if got, err := f.apply(after...); err != nil || len(got) > 0 {
					t.Errorf("killed at change %d: not settled: %v, %v", k, got, err)
				}
				if k > 500 {
					t.Fatal("the apply never came to its end")
				}
			}
		})
	}
}

// TestTreeDestroyKilledAtEveryChange kills a destruction, which the next one
// brings to its end.
func TestTreeDestroyKilledAtEveryChange(t *testing.T) {
	for _, purge := range []bool{false, true} {
		for k, done := 0, false; !done; k++ {
			f := newTree(t)
			if _, err := f.apply("a", "b"); err != nil {
				t.Fatal(err)
			}
			destroy := func() error {
				e := f.engine("web")
				e.Children = f
				_, err := e.Destroy(context.Background(), purge)
				return err
			}
			left := k
			f.left = &left
			done = destroy() == nil
			f.left = nil
			if err := destroy(); err != nil {
				t.Fatalf("killed at change %d: %v", k, err)
			}
			if got := f.alive(); len(got) > 0 {
				t.Errorf("killed at change %d: alive are %v", k, got)
			}
			if web, _ := f.State("web"); !purge && !web.IsDestroyed() {
				t.Errorf("killed at change %d: %q, ending %v", k, web.Requested, web.Ending)
			}
		}
	}
}

func TestChildNames(t *testing.T) {
	long := strings.Repeat("x", 41)
	for _, c := range []struct{ parent, name, want string }{
		{"web", "db", "web-db"},
		{"web", "db-1", "web-db-1"},
		{"web", strings.Repeat("y", 37), "web-" + strings.Repeat("y", 37)},
	} {
		if got := childNames(c.parent, c.name)[0]; got != c.want {
			t.Errorf("%s requests %s: %s, want %s", c.parent, c.name, got, c.want)
		}
	}
	seen := map[string]string{}
	for _, c := range [][2]string{{"web", "Db"}, {"web", "dB"}, {"web", "d_b"}, {"web", "d.b"}, {"web", "-b"}, {long, "a"}, {long, "b"}, {"web", long}, {"web-" + long[:30], "a.b"}} {
		for _, got := range childNames(c[0], c[1]) {
			if err := state.CheckName(got); err != nil {
				t.Errorf("%s requests %s: %v", c[0], c[1], err)
			}
			if other, ok := seen[got]; ok {
				t.Errorf("%v and %s are both %s", c, other, got)
			}
			seen[got] = c[0] + " " + c[1]
		}
	}
}

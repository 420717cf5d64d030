package engine

import (
	"slices"
	"sort"
	"strings"

	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/state"
)

// Mostly, an evaluation tells little that is new. Where everything stands as the
// last run left it, a resource that is what it was then needs no comparison, and
// what is owned of it stays as it is. So a round then does what it always does with
// a part: the resources that are new or another, the paths that are no longer
// declared, and what is owned of these.

// part is what of a plan has to be compared.
type part struct {
	plan    *plan.Plan // with no other resources than those
	same    []plan.Resource
	state   *state.State // with what is owned of the part
	cache   *state.Cache
	planned *state.Planned
	from    []int // for each resource of the whole plan its index in planned, or -1
}

// partial reports whether this run may go by a part of a plan: what is saved, or held
// against something saved, tells of everything.
func (r *run) partial() bool { return r.foresight == nil && r.Saved == nil }

// build tells this program from others; "" where that is not known.
func (e *Engine) build() string {
	if e.Build == nil {
		return ""
	}
	build, err := e.Build()
	if err != nil {
		return ""
	}
	return build
}

// partOf returns what of p has to be compared when all stands as c says; nil when
// that is most of it, or when it has to be looked at in its whole.
func (r *run) partOf(c *state.Cache, planned *state.Planned, p *plan.Plan) *part {
	names, err := r.Commands.Names()
	if err != nil || len(names) > 0 || !p.Complete() || len(p.Digests) != len(p.Resources) {
		return nil
	}
	if _, there, err := plan.Lookup(r.view, "."); err != nil || !there {
		return nil
	}
	from, left := match(planned.Resources, p.Digests)
	w := &part{cache: c, planned: planned, from: from}
	only := *p
	only.Resources, only.Digests = nil, nil
	w.same = make([]plan.Resource, 0, len(p.Resources))
	for i, res := range p.Resources {
		if from[i] >= 0 {
			w.same = append(w.same, res)
		} else {
			only.Resources = append(only.Resources, res)
		}
	}
	if len(only.Resources)+len(left) > len(p.Resources)/2+few {
		return nil
	}
	paths := slices.Clone(planned.Rest)
	for _, res := range only.Resources {
		path, ok := r.alone(c, res)
		if !ok {
			return nil
		}
		paths = append(paths, path)
	}
	for _, i := range left {
		if at := planned.Resources[i].At; at >= 0 {
			paths = append(paths, c.Inside[at].Path)
		}
	}
	slices.Sort(paths)
	w.plan = &only
	store, ok := r.Store.(partStore)
	if !ok {
		return nil
	}
	w.state, err = store.LoadPart(c.Brief, slices.Compact(paths))
	if err != nil {
		return nil
	}
	return w
}

// few is up to how many resources a part is never too large.
const few = 16

// A partStore is a [Store] that can load a part of a state.
type partStore interface {
	LoadPart(brief *state.State, paths []string) (*state.State, error)
}

// alone reports whether a resource can be brought in line without a look at what is
// below its path: it is no other kind of thing there than what stands there.
func (r *run) alone(c *state.Cache, res plan.Resource) (string, bool) {
	var want fsys.Sig
	switch res.(type) {
	case *plan.Dir:
		want.Mode = 0o040000
	case *plan.File:
		want.Mode = 0o100000
	case *plan.Link:
		want.Mode = 0o120000
	default:
		return "", false
	}
	path := res.(plan.PathResource).Target().Path
	i, known := entryOf(c.Inside, path)
	if known && c.Inside[i].How != state.Absent && c.Inside[i].Sig.Type() != want.Type() {
		return "", false
	}
	return path, true
}

// entryOf finds the entry of a path.
func entryOf(entries []state.Entry, path string) (int, bool) {
	return slices.BinarySearchFunc(entries, path, func(e state.Entry, path string) int { return strings.Compare(e.Path, path) })
}

// window is how far behind the one that is expected a resource is sought: so much may
// be missing, or have changed, in one place.
const window = 64

// match returns for each of the digests in now its index in was, or -1, and the
// indices in was that are none of them.
func match(was []state.PlannedResource, now []plan.Digest) (from, left []int) {
	from = make([]int, len(now))
	taken := make([]bool, len(was))
	next, missed := 0, 0
	for i := range now {
		from[i] = -1
		for k := next; k < len(was) && k < next+window; k++ {
			if was[k].Digest == now[i] && !taken[k] {
				from[i], taken[k], next = k, true, k+1
				break
			}
		}
		if from[i] < 0 {
			missed++
		}
	}
	for k := range was {
		if !taken[k] {
			left = append(left, k)
		}
	}
	if missed == 0 || len(left) == 0 {
		return from, left
	}
	elsewhere := make(map[plan.Digest]int, len(left))
	for _, k := range left {
		elsewhere[was[k].Digest] = k
	}
	for i := range now {
		if from[i] < 0 {
			if k, moved := elsewhere[now[i]]; moved && !taken[k] {
				from[i], taken[k] = k, true
			}
		}
	}
	return from, slices.DeleteFunc(left, func(k int) bool { return taken[k] })
}

// merge puts together what is looked at next: the entries of a part, which are sorted,
// and those of the same resources. It also returns, for each index into the entries of
// the last run, where its path is now, or -1.
func (w *part) merge(fresh []state.Entry) (all []state.Entry, moved []int) {
	old := w.cache.Inside
	stays := make([]bool, len(old))
	for _, k := range w.from {
		if k >= 0 && w.planned.Resources[k].At >= 0 {
			stays[w.planned.Resources[k].At] = true
		}
	}
	all = make([]state.Entry, 0, len(old)+len(fresh))
	moved = make([]int, len(old))
	for i := range old {
		moved[i] = -1
		for len(fresh) > 0 && fresh[0].Path < old[i].Path {
			all, fresh = append(all, fresh[0]), fresh[1:]
		}
		switch {
		case len(fresh) > 0 && fresh[0].Path == old[i].Path:
			moved[i] = len(all)
			all, fresh = append(all, fresh[0]), fresh[1:]
		case stays[i]:
			moved[i] = len(all)
			all = append(all, old[i])
		}
	}
	return append(all, fresh...), moved
}

// planned is what lets the next run go by a part of its plan; nil when it cannot.
func (g *gathering) planned() *state.Planned {
	p := g.plan
	if !g.last || len(g.cmp.Warnings) > 0 || len(p.Digests) != len(p.Resources) {
		return nil
	}
	all := &state.Planned{Build: g.build(), Kept: g.kept, Resources: make([]state.PlannedResource, len(p.Resources))}
	undeclared := len(g.owned)
	for i, res := range p.Resources {
		switch res.(type) {
		case *plan.Dir, *plan.File, *plan.Link:
		default:
			return nil // it is not for itself
		}
		at := -1
		if g.part != nil && g.part.from[i] >= 0 {
			if at = g.part.planned.Resources[g.part.from[i]].At; at >= 0 {
				at = g.moved[at]
			}
		} else {
			path := res.(plan.PathResource).Target().Path
			if _, owned := g.owned[path]; owned {
				undeclared--
				at = g.indexOf(path)
			}
		}
		all.Resources[i] = state.PlannedResource{Digest: p.Digests[i], At: at}
	}
	if undeclared > 0 {
		for path := range g.owned {
			if _, declared := g.cmp.Declared[path]; !declared {
				all.Rest = append(all.Rest, path)
			}
		}
		sort.Strings(all.Rest)
	}
	return all
}

// indexOf returns the index of an entry that there is.
func (g *gathering) indexOf(path string) int {
	if g.part == nil {
		return g.index[path]
	}
	i, _ := entryOf(g.entries, path)
	return i
}

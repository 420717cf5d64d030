package apply

import (
	"instar/runtime/fsys"
	"instar/runtime/plan"
)

// A comparison of many resources is mostly of folders and files that are as they
// were, or not there yet. These can be compared in any order, so all processors
// do it, ahead of the rest; what is less plain is left to the ordinary way, as is
// every error.

// prepared is the step of one resource, if it was plain.
type prepared struct {
	plain bool
	held  bool // see shadow
	edits []plan.Edit
}

// prepare compares what is plain. It counts as long as nothing has to go before
// something else can stand in its place.
func (c *Comparison) prepare(resources []plan.Resource, v *View) []prepared {
	all := make([]prepared, len(resources))
	fsys.InParts(len(resources), func(from, to int) {
		n := &noting{View: v}
		for i := from; i < to; i++ {
			if c.isPlain(resources[i], v) {
				n.held = false
				edits, err := resources[i].Diff(n)
				all[i] = prepared{plain: err == nil, held: n.held, edits: edits}
			}
		}
	})
	return all
}

// noting is a view that notes whether a file was known to hold what it should.
type noting struct {
	*View
	held bool
}

// Holds implements [plan.Knower].
func (n *noting) Holds(path string, content []byte) (same, known bool) {
	same, known = n.View.Holds(path, content)
	n.held = same && known
	return same, known
}

// isPlain reports whether r is a folder or a file of which nothing is there and
// nothing was, or that an earlier apply has settled.
func (c *Comparison) isPlain(r plan.Resource, v *View) bool {
	var m plan.Meta
	implicit, want := false, plan.KindFile
	switch r := r.(type) {
	case *plan.Dir:
		m, implicit, want = r.Meta, r.Implicit, plan.KindDir
	case *plan.File:
		m = r.Meta
	default:
		return false
	}
	s, looked := v.ahead.seen[m.Path]
	rec, owned := c.owned[m.Path]
	switch {
	case !looked:
		return false
	case s.missing:
		return !owned
	}
	return owned && !m.Once && !rec.Once && rec.Claim == nil && (!implicit || rec.Implicit) && infoOf(s.sig).Kind == want
}

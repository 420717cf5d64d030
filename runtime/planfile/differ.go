package planfile

import (
	"fmt"
	"strconv"
	"strings"

	"instar/runtime/plan"
	"instar/runtime/report"
)

// Vary marks in f the digests that are another in g, which was made with other
// values in the place of all secrets: placeholders do not cover what was computed
// from them. A nil g is one that could not be made: then no digest stays of what
// others may not read.
func (f *Forecast) Vary(g *Forecast) {
	type occurrence struct {
		editKey
		op    plan.Op
		count int
	}
	seen, other := map[occurrence]int{}, map[occurrence]Edit{}
	if g != nil {
		for _, e := range g.Edits {
			one := occurrence{e.key(), e.Op, 0}
			seen[one]++
			one.count = seen[one]
			other[one] = e
		}
	}
	clear(seen)
	for i := range f.Edits {
		e := &f.Edits[i]
		one := occurrence{e.key(), e.Op, 0}
		seen[one]++
		one.count = seen[one]
		b, ok := other[one]
		if g == nil && e.public() {
			b, ok = *e, true
		}
		if e.Content != "" && (!ok || e.Content != b.Content) {
			e.Content = Varies
		}
		if e.Definition != "" && (!ok || e.Definition != b.Definition) {
			e.Definition = Varies
		}
	}
}

// public reports whether everybody may read what e makes.
func (e Edit) public() bool {
	mode, err := strconv.ParseUint(e.Mode, 8, 32)
	return err == nil && mode&0o004 != 0
}

// same reports whether b is what a planned.
func (e Edit) same(b Edit) bool {
	if e.Content == Varies && b.Content != "" {
		b.Content = Varies
	}
	if e.Definition == Varies && b.Definition != "" {
		b.Definition = Varies
	}
	b.At = e.At // where it stands in the profile is no part of it
	return e == b
}

// Differences says in what now is not as f has it, in the order of f: what the
// instance was, what the evaluation saw, what stands at the paths, the edits.
// Nothing means that the plan holds.
func (f *Forecast) Differences(now *Forecast) []report.Difference {
	var d differences
	d.texts("instance", f.Instance, now.Instance)
	d.texts("generation", fmt.Sprint(f.Generation), fmt.Sprint(now.Generation))
	d.texts("state", f.Requested, now.Requested)
	d.texts("user", f.User, now.User)
	d.texts("release", f.Release, now.Release)
	d.maps("setting ", "not set", f.Remembered, now.Remembered)
	d.maps("", "not looked at", f.Inputs, now.Inputs)
	for _, name := range plan.SortedKeys(f.Paths) {
		if is, ok := now.Paths[name]; ok && is != f.Paths[name] {
			was, found := f.Paths[name].apart(is)
			d.add(name, was.String(), found.String())
		}
	}
	d.edits(f.Edits, now.Edits)
	d.texts("evaluation", f.outcome(), now.outcome())
	return d.list
}

func (f *Forecast) outcome() string {
	if f.Complete {
		return "complete"
	}
	return "pending: " + f.Pending
}

// differences collects what differs.
type differences struct {
	list  []report.Difference
	about map[string]bool
}

func (d *differences) add(path, planned, now string) {
	if d.about == nil {
		d.about = map[string]bool{}
	}
	d.about[path] = true
	d.list = append(d.list, report.Difference{Path: path, Planned: planned, Now: now})
}

func (d *differences) texts(what, planned, now string) {
	if planned != now {
		d.add(what, planned, now)
	}
}

// maps compares by key; prefix stands before a key, and missing is said of what
// has no value.
func (d *differences) maps(prefix, missing string, planned, now map[string]string) {
	for _, key := range plan.SortedKeys(planned) {
		if is, ok := now[key]; !ok {
			d.add(prefix+key, short(planned[key]), missing)
		} else if is != planned[key] {
			d.add(prefix+key, short(planned[key]), short(is))
		}
	}
	for _, key := range plan.SortedKeys(now) {
		if _, ok := planned[key]; !ok {
			d.add(prefix+key, missing, short(now[key]))
		}
	}
}

// edits compares what is done with each path and name, and then the order.
func (d *differences) edits(planned, now []Edit) {
	order, was := grouped(planned)
	more, is := grouped(now)
	found := false
	for _, key := range append(order, more...) {
		if same(was[key], is[key]) {
			continue
		}
		found = true
		if !d.about[key.what()] { // else it is said already why
			d.add(key.what(), described(was[key]), described(is[key]))
		}
	}
	if found {
		return
	}
	for i := range planned {
		if planned[i].key() != now[i].key() {
			d.add(planned[i].key().what(), "is done before "+now[i].key().what(), "is done after it")
			return
		}
	}
}

func same(a, b []Edit) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].same(b[i]) {
			return false
		}
	}
	return true
}

// editKey is what an edit is about.
type editKey struct{ path, kind, name string }

func (e Edit) key() editKey {
	switch {
	case e.Path != "":
		return editKey{path: e.Path}
	case e.Op == plan.OpRun:
		return editKey{kind: "command", name: e.Name}
	case e.Op == plan.OpRequest || e.Op == plan.OpRelease:
		return editKey{kind: "instance", name: e.Name}
	}
	return editKey{kind: "service", name: e.Name}
}

func (k editKey) what() string { return strings.TrimSpace(k.path + k.kind + " " + k.name) }

func grouped(edits []Edit) (order []editKey, by map[editKey][]Edit) {
	by = map[editKey][]Edit{}
	for _, e := range edits {
		if _, known := by[e.key()]; !known {
			order = append(order, e.key())
		}
		by[e.key()] = append(by[e.key()], e)
	}
	return order, by
}

func described(edits []Edit) string {
	if len(edits) == 0 {
		return "no change"
	}
	var texts []string
	for _, e := range edits {
		texts = append(texts, e.String())
	}
	return strings.Join(texts, "; ")
}

// String says what the edit does, for people: "write 0640 sha256:0123456789ab (content
// differs)".
func (e Edit) String() string {
	parts := []string{string(e.Op), e.Mode, e.Owner, short(e.Content), short(e.Definition)}
	if e.From != "" {
		parts = append(parts, "from "+e.From)
	}
	if e.To != "" {
		parts = append(parts, "to "+e.To)
	}
	if e.StartedWith != "" {
		parts = append(parts, "started with "+e.StartedWith)
	}
	return joined(append(parts, "("+e.Why+")"))
}

// String says what stands there, for people: "file 0640 1000:1000 sha256:0123456789ab".
func (f Found) String() string {
	parts := []string{f.Kind, f.Mode, f.Owner, short(f.Content)}
	if f.To != "" {
		parts = append(parts, "to "+f.To)
	}
	return joined(parts)
}

// apart returns f and now without what both have: of two files with stamps, the
// first part of these that differs is enough.
func (f Found) apart(now Found) (was, is Found) {
	if f.Kind != now.Kind {
		return f, now
	}
	was, is = f, now
	if was.Mode == is.Mode {
		was.Mode, is.Mode = "", ""
	}
	if was.Owner == is.Owner {
		was.Owner, is.Owner = "", ""
	}
	if was.Content == is.Content {
		was.Content, is.Content = "", ""
	}
	a, b := strings.Split(was.Content, ", "), strings.Split(is.Content, ", ")
	for i := 0; len(a) == len(b) && i < len(a); i++ {
		if a[i] != b[i] {
			was.Content, is.Content = a[i], b[i]
			break
		}
	}
	return was, is
}

func joined(parts []string) string {
	return strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
}

// short is a text with a digest cut to what people compare.
func short(text string) string {
	if digestForm.MatchString(text) {
		return text[:len("sha256:")+12]
	}
	return text
}

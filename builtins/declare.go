package builtins

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// declaration is who declared something, and where.
type declaration struct {
	what string // the builtin: "template"
	at   plan.Pos
	kind pathKind
	// generates is set when the profile itself says what stands there, always:
	// then there is nothing to observe.
	generates bool
}

// pathKind is what stands at a declared path.
type pathKind int

const (
	aFolder pathKind = iota
	aFile
	aCopy    // a file or a folder
	aProduct // named in creates
)

// declare adds a resource that stands at a path, and returns its handle.
func (c *call) declare(kind pathKind, r plan.PathResource) (starlark.Value, error) {
	m := r.Target()
	generates := !m.Once && (kind == aFile || kind == aCopy)
	if err := c.claim(m.Path, declaration{c.row.Name, m.At, kind, generates}); err != nil {
		return nil, err
	}
	c.plan.Resources = append(c.plan.Resources, r)
	return c.root.handle(m.Path), nil
}

// claim notes that a path is declared, and refuses what contradicts an
// earlier declaration.
func (s *Session) claim(rel string, d declaration) error {
	if old, ok := s.declared[rel]; ok {
		return twice(fmt.Sprintf("%q", rel), *old, d)
	}
	if kid, ok := s.below[rel]; ok && kind(d) != "folder" {
		old := s.declared[kid]
		return fmt.Errorf("%q is declared as a %s, but %s declares %q below it at %s", rel, kind(d), old.what, kid, old.at)
	}
	if kid, ok := s.below[rel]; ok && d.kind == aCopy {
		old := s.declared[kid]
		return hinted("put the copy first", "%q is copied when %q, which is below it, stands there already: %s declares that at %s", rel, kid, old.what, old.at)
	}
	if at, ok := s.observed[rel]; ok && d.generates {
		return observedTwice(rel, declaration{what: "observe", at: at}, d)
	}
	if err := s.claimProgram(rel, d); err != nil {
		return err
	}
	for dir := path.Dir(rel); dir != "."; dir = path.Dir(dir) {
		if old, ok := s.declared[dir]; ok && old.kind == aFile {
			return fmt.Errorf("%q is below %q, which %s declares as a file or link at %s", rel, dir, old.what, old.at)
		}
		if _, ok := s.below[dir]; ok {
			break // so are all above
		}
		s.below[dir] = rel
	}
	s.declared[rel] = &d
	return nil
}

func kind(d declaration) string {
	if d.kind == aFile {
		return "file"
	}
	return "folder" // or what may be one
}

// programFolders hold what is started by standing there. The middle one is
// SlapOS's habit.
var programFolders = []string{"etc/services", "etc/service", "etc/run"}

// nameFolders hold the programs that share their names, by which `logs`,
// `start` and `stop` know them.
var nameFolders = append(programFolders[:len(programFolders):len(programFolders)], timerFolder)

// claimProgram refuses a second program of the same name in nameFolders.
func (s *Session) claimProgram(rel string, d declaration) error {
	dir, name := path.Split(rel)
	if d.kind == aFolder || !strings.HasPrefix(dir, "etc/") {
		return nil
	}
	if !slices.Contains(nameFolders, strings.TrimSuffix(dir, "/")) {
		return nil
	}
	if other, old, ok := s.programNamed(name); ok {
		return fmt.Errorf("%q would be called as %q is, which %s declares at %s: services, runs and timers share their names",
			rel, other, old.what, old.at)
	}
	return nil
}

// programNamed returns what is declared as a program called name.
func (s *Session) programNamed(name string) (what string, d declaration, ok bool) {
	for _, folder := range nameFolders {
		if d, ok := s.declared[folder+"/"+name]; ok && d.kind != aFolder {
			return folder + "/" + name, *d, true
		}
	}
	if d, ok := s.names["program "+name]; ok && d.what == "rotate" {
		return name, d, true
	}
	return "", declaration{}, false
}

// twice is the error of two declarations of one thing.
func twice(what string, old, now declaration) error {
	if old.what == now.what {
		return fmt.Errorf("%s is declared twice: at %s and at %s", what, old.at, now.at)
	}
	return fmt.Errorf("%s is declared twice: by %s at %s and by %s at %s", what, old.what, old.at, now.what, now.at)
}

// claimName notes that a name is taken within its kind: "service", "promise".
func (c *call) claimName(kind, name string, at plan.Pos) error {
	key := kind + " " + name
	d := declaration{what: c.row.Name, at: at}
	if old, ok := c.names[key]; ok {
		return twice(fmt.Sprintf("%s %q", kind, name), old, d)
	}
	c.names[key] = d
	return nil
}

// arrange puts the missing parents of all that is declared before its first
// use. A folder that is declared further down moves up to that place.
func (s *Session) arrange() {
	explicit := map[string]*plan.Dir{}
	for _, r := range s.plan.Resources {
		if dir, ok := r.(*plan.Dir); ok {
			explicit[dir.Path] = dir
		}
	}
	a := arrangement{s: s, explicit: explicit, there: map[string]bool{},
		all: make([]plan.Resource, 0, len(s.plan.Resources)+16)}
	for _, r := range s.plan.Resources {
		a.add(r)
	}
	s.plan.Resources = a.all
}

type arrangement struct {
	s        *Session
	explicit map[string]*plan.Dir
	there    map[string]bool // folders that all holds
	all      []plan.Resource
}

func (a *arrangement) add(r plan.Resource) {
	switch r := r.(type) {
	case *plan.Dir:
		a.folder(r.Path, r.At)
		return
	case *plan.Command:
		for _, product := range r.Creates {
			a.parentsOfProduct(product, r)
		}
	case plan.PathResource:
		m := r.Target()
		a.folder(path.Dir(m.Path), m.At)
	}
	a.all = append(a.all, r)
}

// folder makes sure that a folder and its parents stand before what follows.
func (a *arrangement) folder(rel string, at plan.Pos) {
	if rel == "." || a.there[rel] {
		return
	}
	a.there[rel] = true
	a.folder(path.Dir(rel), at)
	dir := a.explicit[rel]
	if dir == nil {
		if d, ok := a.s.declared[rel]; ok && d.kind == aCopy {
			return
		}
		uid, gid := a.s.ownIDs()
		dir = &plan.Dir{Meta: plan.Meta{Path: rel, Mode: 0o750, UID: uid, GID: gid, At: at}, Implicit: true}
	}
	a.all = append(a.all, dir)
}

// parentsOfProduct makes the parents of what a command creates, but none
// below a folder that the profile declares, or that the command's new attempt
// begins with empty: what is in there is the command's own business.
func (a *arrangement) parentsOfProduct(product string, c *plan.Command) {
	parent := path.Dir(product)
	start := parent
	for dir := parent; dir != "."; dir = path.Dir(dir) {
		if a.explicit[dir] != nil {
			start = dir
			break
		}
	}
	for dir := parent; dir != "."; dir = path.Dir(dir) {
		if slices.Contains(c.Wipe, dir) {
			start = dir
		}
	}
	a.folder(start, c.At)
}

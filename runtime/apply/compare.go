package apply

import (
	"errors"
	"fmt"
	"io/fs"

	"instar/runtime/plan"
	"instar/runtime/state"
)

// Step is one resource of a plan and what must be done for it. The edits of a
// command make way for what it makes: whether it runs is decided when its turn
// comes.
type Step struct {
	Resource plan.Resource
	Edits    []plan.Edit
}

// Declared is one path that the plan declares, be it as part of a copied
// folder.
type Declared struct {
	Resource plan.PathResource
	Implicit bool
	by       plan.Resource // the copy that it is a part of, or Resource itself
}

// Comparison is a plan held against what stands in the root.
type Comparison struct {
	Steps    []Step
	Declared map[string]Declared
	Created  map[string]*plan.Command // paths that commands make, less those declared
	Warnings []string
	// Same are further folders, files and links that the plan declares: they are known
	// to stand as declared, and owned as they are, and were not compared.
	Same   []plan.Resource
	byPath map[string]plan.PathResource // of Same, once asked for

	owned map[string]state.Owned
	view  *shadow
	plan  *plan.Plan
	// copied has, for each copy, what the plan declared before it at the paths
	// that it brings.
	copied map[plan.Resource]map[string]Declared
}

// Compare says what must be done so that the root becomes as p declares. It
// changes nothing. owned is what the instance owned before.
func Compare(p *plan.Plan, owned map[string]state.Owned, v plan.View) (*Comparison, error) {
	c := &Comparison{
		Declared: make(map[string]Declared, len(p.Resources)),
		owned:    owned,
		view:     &shadow{View: v, gone: map[string]bool{}, held: map[string]bool{}},
		plan:     p,
		copied:   map[plan.Resource]map[string]Declared{},
	}
	commands := false
	expanded := make([][]plan.PathResource, len(p.Resources))
	for i, r := range p.Resources {
		_, isCommand := r.(*plan.Command)
		commands = commands || isCommand
		from, isCopy := r.(*plan.Copy)
		parts, err := c.parts(r, commands || isCopy && from.Inside)
		if err != nil {
			return nil, err
		}
		if parts, err = c.declare(r, parts); err != nil {
			return nil, err
		}
		expanded[i] = parts
	}
	c.created()
	var plain []prepared
	if ahead, ok := v.(*View); ok {
		ahead.lookAhead(expanded)
		plain = c.prepare(p.Resources, ahead)
	}
	c.Steps = make([]Step, 0, len(p.Resources))
	for i, r := range p.Resources {
		if plain != nil && plain[i].plain && len(expanded[i]) == 1 && len(c.view.gone) == 0 {
			c.plainStep(r, plain[i])
			continue
		}
		step, err := c.step(r, expanded[i])
		if err != nil {
			return nil, err
		}
		c.Steps = append(c.Steps, step)
	}
	return c, nil
}

// Resource returns what the plan has stand at a path.
func (c *Comparison) Resource(name string) (plan.PathResource, bool) {
	if d, ok := c.Declared[name]; ok {
		return d.Resource, true
	}
	if c.byPath == nil {
		c.byPath = make(map[string]plan.PathResource, len(c.Same))
		for _, r := range c.Same {
			if r, ok := r.(plan.PathResource); ok {
				c.byPath[r.Target().Path] = r
			}
		}
	}
	r, ok := c.byPath[name]
	return r, ok
}

// plainStep adds the step of a resource that was compared ahead. What stands there
// is ours, or nothing.
func (c *Comparison) plainStep(r plan.Resource, p prepared) {
	for i := range p.edits {
		p.edits[i].Foreign = false
	}
	if p.held {
		c.view.held[r.(*plan.File).Path] = true
	}
	c.Steps = append(c.Steps, Step{r, p.edits})
}

// created collects what commands make and nothing else declares.
func (c *Comparison) created() {
	c.Created = map[string]*plan.Command{}
	for _, r := range c.plan.Resources {
		cmd, ok := r.(*plan.Command)
		if !ok {
			continue
		}
		for _, name := range cmd.Creates {
			if _, declared := c.Declared[name]; !declared {
				c.Created[name] = cmd
			}
		}
	}
}

// parts returns the paths that r declares. A copy whose source may still have to
// be made has none yet.
func (c *Comparison) parts(r plan.Resource, early bool) ([]plan.PathResource, error) {
	switch r := r.(type) {
	case *plan.Copy:
		parts, err := r.Expand(c.view)
		if errors.Is(err, fs.ErrNotExist) && early {
			return nil, nil
		}
		return parts, err
	case plan.PathResource:
		return []plan.PathResource{r}, nil
	}
	return nil, nil
}

// Again compares one resource anew, after a command, or what stands before it in
// the plan, may have changed what it was compared with.
func (c *Comparison) Again(r plan.Resource) (Step, error) {
	parts, err := c.parts(r, false)
	if err != nil {
		return Step{}, err
	}
	c.view.gone = map[string]bool{}
	c.undeclare(r)
	if parts, err = c.declare(r, parts); err != nil {
		return Step{}, err
	}
	return c.step(r, parts)
}

// undeclare forgets the paths that the copy r brought when it was compared: its
// source may have been something else then.
func (c *Comparison) undeclare(r plan.Resource) {
	for name, before := range c.copied[r] {
		if before.Resource == nil {
			delete(c.Declared, name)
		} else {
			c.Declared[name] = before
		}
	}
	delete(c.copied, r)
}

// declare notes the paths that r declares, and returns the parts of r that are
// its own: not a missing parent that a copied folder brings. That a copy brings
// something else that is declared, only its source can tell.
func (c *Comparison) declare(r plan.Resource, parts []plan.PathResource) ([]plan.PathResource, error) {
	own := parts[:0:0]
	if _, isCopy := r.(*plan.Copy); isCopy {
		c.copied[r] = make(map[string]Declared, len(parts))
	}
	for _, part := range parts {
		m := part.Target()
		dir, isDir := part.(*plan.Dir)
		implicit := isDir && dir.Implicit
		if old, ok := c.Declared[m.Path]; ok && old.by != r && !(isDir && old.Implicit) {
			if implicit {
				continue
			}
			return nil, &plan.PathError{Path: m.Path, Where: m.At, Err: fmt.Errorf(
				"is declared twice, once as part of a copied folder: at %s and at %s", old.Resource.Target().At, m.At)}
		}
		if before := c.copied[r]; before != nil {
			before[m.Path] = c.Declared[m.Path]
		}
		c.Declared[m.Path] = Declared{part, implicit, r}
		own = append(own, part)
	}
	return own, nil
}

func (c *Comparison) step(r plan.Resource, parts []plan.PathResource) (Step, error) {
	step := Step{Resource: r}
	if cmd, ok := r.(*plan.Command); ok {
		edits, err := c.makeWay(cmd)
		step.Edits = edits
		return step, err
	}
	for _, part := range parts {
		if data, err := c.data(part); err != nil || data {
			if err != nil {
				return step, err
			}
			continue
		}
		before, err := c.clear(part)
		if err != nil {
			return step, err
		}
		edits, err := c.explicit(part).Diff(c.view)
		if err != nil {
			return step, err
		}
		step.Edits = append(step.Edits, before...)
		for _, e := range edits {
			if err := c.foreign(&e); err != nil {
				return step, err
			}
			step.Edits = append(step.Edits, e)
		}
	}
	return step, nil
}

// data reports whether what stands at part's path was made once, by an earlier
// profile: then it stays, whatever this one says.
func (c *Comparison) data(part plan.PathResource) (bool, error) {
	m := part.Target()
	dir, isDir := part.(*plan.Dir)
	if !c.owned[m.Path].Once || m.Once || isDir && dir.Implicit {
		return false, nil
	}
	info, ok, err := plan.Lookup(c.view, m.Path)
	if err != nil || !ok || isDir && info.Kind != plan.KindDir {
		return false, err
	}
	c.Warnings = append(c.Warnings, m.At.String()+": "+m.Path+" was made once, and is data: it stays as it is")
	return true, nil
}

// explicit returns part, or, for a parent folder that an earlier profile had
// declared with a mode and owner of its own, one that takes these back.
func (c *Comparison) explicit(part plan.PathResource) plan.PathResource {
	d, ok := part.(*plan.Dir)
	if !ok || !d.Implicit {
		return part
	}
	rec, owned := c.owned[d.Path]
	if !owned || rec.Implicit && rec.Claim == nil || rec.Foreign || rec.Once {
		return part
	}
	return &plan.Dir{Meta: d.Meta}
}

// foreign marks an edit that replaces what instar did not put there, and warns
// of it.
func (c *Comparison) foreign(e *plan.Edit) error {
	e.Foreign = false
	if e.Op != plan.OpWrite && e.Op != plan.OpLink && e.Op != plan.OpCopy {
		return nil
	}
	info, ok, err := plan.Lookup(c.view, e.Path)
	if err != nil || !ok || info.Kind == plan.KindDir {
		return err
	}
	ours, err := c.ours(e.Path, info)
	if err != nil || ours {
		return err
	}
	e.Foreign = true
	c.Warnings = append(c.Warnings, e.At.String()+": "+e.Path+" was there before, with other content: replaced")
	return nil
}

// ours reports whether what stands at name was put there by an apply, even if
// it was changed by hand since.
func (c *Comparison) ours(name string, info plan.Info) (bool, error) {
	rec, ok := c.owned[name]
	if !ok {
		return false, nil
	}
	if rec.Claim == nil || rec.Claim.Was != wasForeign {
		return true, nil
	}
	hash, err := hashOf(c.view, name, info.Kind)
	return hash != rec.Claim.Hash, err
}

// untouched reports whether what stands at name is as the last apply left it.
// After an interrupted apply all counts as ours but the foreign content that it
// was going to replace.
func (c *Comparison) untouched(name string, rec state.Owned, info plan.Info) (bool, error) {
	return untouched(c.view, name, rec, info)
}

// Leftover reports whether what stands at name is what an earlier plan had there,
// as that left it, if the plan of now declares nothing there: it is about to go.
func Leftover(owned map[string]state.Owned, v plan.View, name string, info plan.Info) (bool, error) {
	rec, ok := owned[name]
	if !ok || rec.Once || rec.Foreign || rec.By != "" || info.Kind == plan.KindSpecial {
		return false, nil
	}
	return untouched(v, name, rec, info)
}

func untouched(v plan.View, name string, rec state.Owned, info plan.Info) (bool, error) {
	if rec.Claim != nil && rec.Claim.Was != wasForeign {
		return true, nil
	}
	hash, err := hashOf(v, name, info.Kind)
	if err != nil {
		return false, err
	}
	if rec.Claim != nil {
		return hash != rec.Claim.Hash, nil
	}
	return rec.Kind == info.Kind && hash == rec.Hash, nil
}

// clear returns the removals that must come before part can stand at its path:
// of what an earlier profile put there as another kind of thing.
func (c *Comparison) clear(part plan.PathResource) ([]plan.Edit, error) {
	m := part.Target()
	rec, owned := c.owned[m.Path]
	if !owned || rec.Once || rec.Foreign {
		return nil, nil
	}
	info, ok, err := plan.Lookup(c.view, m.Path)
	if err != nil || !ok {
		return nil, err
	}
	_, wantDir := part.(*plan.Dir)
	switch isDir := info.Kind == plan.KindDir; {
	case isDir == wantDir:
		return nil, nil
	case isDir:
		return c.clearDir(m)
	}
	same, err := c.untouched(m.Path, rec, info)
	if err != nil || !same {
		return nil, err
	}
	c.view.gone[m.Path] = true
	return []plan.Edit{removal(m.Path, info, "was a "+string(info.Kind), m.At)}, nil
}

// makeWay returns the removals of what an earlier profile put where cmd makes
// something: that is not what the command makes, and must not count as such.
func (c *Comparison) makeWay(cmd *plan.Command) ([]plan.Edit, error) {
	var edits []plan.Edit
	for _, name := range cmd.Creates {
		rec, owned := c.owned[name]
		if _, mine := c.Created[name]; !mine || !owned || rec.Once || rec.Foreign || rec.By == cmd.Name {
			continue
		}
		info, ok, err := plan.Lookup(c.view, name)
		if err != nil || !ok {
			continue // an error is for the command to meet
		}
		if info.Kind == plan.KindDir {
			below, err := c.clearDir(plan.Meta{Path: name, At: cmd.At})
			if err != nil {
				return nil, err
			}
			edits = append(edits, below...)
			continue
		}
		same, err := c.untouched(name, rec, info)
		if err != nil {
			return nil, err
		}
		if same {
			c.view.gone[name] = true
			edits = append(edits, removal(name, info, fmt.Sprintf("command %q makes it", cmd.Name), cmd.At))
		}
	}
	return edits, nil
}

// clearDir returns the removals of a folder and all below it, or none when
// something in it is not ours to remove.
func (c *Comparison) clearDir(m plan.Meta) ([]plan.Edit, error) {
	var edits []plan.Edit
	var walk func(name string) (bool, error)
	walk = func(name string) (bool, error) {
		info, err := c.view.Lstat(name)
		if err != nil {
			return false, err
		}
		rec, ok := c.owned[name]
		if !ok || rec.Once || rec.Foreign {
			return false, nil
		}
		if same, err := c.untouched(name, rec, info); err != nil || !same {
			return false, err
		}
		if info.Kind == plan.KindDir {
			names, err := c.view.ReadDir(name)
			if err != nil {
				return false, err
			}
			for _, n := range names {
				if ok, err := walk(join(name, n)); err != nil || !ok {
					return false, err
				}
			}
		}
		edits = append(edits, removal(name, info, "was a folder", m.At))
		return true, nil
	}
	ok, err := walk(m.Path)
	if err != nil || !ok {
		return nil, err
	}
	for _, e := range edits {
		c.view.gone[e.Path] = true
	}
	return edits, nil
}

func removal(name string, info plan.Info, why string, at plan.Pos) plan.Edit {
	return plan.Edit{Op: plan.OpRemove, Path: name, Dir: info.Kind == plan.KindDir, Why: why, At: at, UID: -1, GID: -1}
}

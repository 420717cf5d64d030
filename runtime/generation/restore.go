package generation

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"instar/runtime/plan"
)

// Restore has a plan, which was made from the generation's sources, settings and
// values, give paths the contents that they had: facts, the release and the
// program itself may have changed since. The generation was verified. It returns
// what it had to change. What is made once stays as the plan has it, and so does
// a path that only one of the two has.
func (g *Generation) Restore(p *plan.Plan, view plan.View) (changed []string, err error) {
	var out []plan.Resource
	declared := map[string]bool{}
	for _, r := range p.Resources {
		if at, ok := r.(plan.PathResource); ok {
			declared[at.Target().Path] = true
		}
	}
	for _, r := range p.Resources {
		with := []plan.Resource{r}
		switch r := r.(type) {
		case *plan.File, *plan.Link:
			with, err = g.one(r.(plan.PathResource))
		case *plan.Copy:
			if !r.Inside {
				with, err = g.copy(r, view, declared)
			}
		}
		if err != nil {
			return nil, err
		}
		if len(with) != 1 || with[0] != r {
			changed = append(changed, r.(plan.PathResource).Target().Path)
		}
		out = append(out, with...)
	}
	p.Resources, p.Digests = out, nil
	known := map[string]bool{}
	for _, s := range p.Secrets {
		known[s] = true
	}
	for _, s := range g.Texts() {
		if !known[s] {
			p.Secrets = append(p.Secrets, s)
		}
	}
	return changed, nil
}

// Overlay returns values, those that the generation had before others.
func (g *Generation) Overlay(values map[string]plan.Value) map[string]plan.Value {
	all := maps.Clone(values)
	if all == nil {
		all = map[string]plan.Value{}
	}
	maps.Copy(all, g.Values)
	return all
}

// one restores a file or a link.
func (g *Generation) one(r plan.PathResource) ([]plan.Resource, error) {
	m := r.Target()
	rec, ok := g.Find(m.Path)
	if !ok || rec.Hash == "" || rec.Made || m.Once {
		return []plan.Resource{r}, nil
	}
	var now []byte
	kind := plan.KindFile
	switch r := r.(type) {
	case *plan.File:
		now = r.Content
	case *plan.Link:
		now, kind = []byte(r.To), plan.KindLink
	}
	if rec.Kind == kind && hashOf(now) == rec.Hash {
		return []plan.Resource{r}, nil
	}
	restored, err := g.resource(rec, m, plan.SourceOf(r))
	return []plan.Resource{restored}, err
}

// resource makes what stood at a path, with the position and owner of m.
func (g *Generation) resource(rec Path, m plan.Meta, source string) (plan.Resource, error) {
	m.Path, m.Mode, m.Once = rec.Name, rec.Mode, false
	if rec.Kind == plan.KindDir {
		return &plan.Dir{Meta: m}, nil
	}
	data, err := g.Content(rec.Hash)
	if errors.Is(err, ErrNotKept) {
		err = fmt.Errorf("generation %d cannot be brought back: the profile gives %q another content now, and the old one is not kept, since it is larger than %d MiB or changed meanwhile",
			g.Number, rec.Name, MaxContent>>20)
	}
	if err != nil {
		return nil, err
	}
	if rec.Kind == plan.KindLink {
		return &plan.Link{Meta: m, To: string(data)}, nil
	}
	return &plan.File{Meta: m, Content: data, Source: source}, nil
}

// copy restores what was copied, by its parts where any of them differs.
func (g *Generation) copy(r *plan.Copy, view plan.View, declared map[string]bool) ([]plan.Resource, error) {
	var had []Path
	for _, rec := range g.Below(r.Path) {
		if !rec.Made && !rec.Once && (rec.Name == r.Path || !declared[rec.Name]) {
			had = append(had, rec)
		}
	}
	if len(had) == 0 {
		return []plan.Resource{r}, nil
	}
	same, err := g.sameParts(r, view, had)
	if err != nil || same {
		return []plan.Resource{r}, err
	}
	var parts []plan.Resource
	for _, rec := range had {
		part, err := g.resource(rec, r.Meta, r.Source)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func (g *Generation) sameParts(r *plan.Copy, view plan.View, had []Path) (bool, error) {
	parts, err := r.Expand(view)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if len(parts) != len(had) {
		return false, nil
	}
	byName := map[string]Path{}
	for _, rec := range had {
		byName[rec.Name] = rec
	}
	for _, part := range parts {
		m := part.Target()
		rec, ok := byName[m.Path]
		if !ok {
			return false, nil
		}
		hash, mode := "", m.Mode
		switch part := part.(type) {
		case *plan.Dir:
		case *plan.Link:
			hash, mode = hashOf([]byte(part.To)), 0
		default:
			data, err := plan.Bytes(part, view)
			if err != nil {
				return false, err
			}
			hash = hashOf(data)
		}
		if hash != rec.Hash || mode != rec.Mode {
			return false, nil
		}
	}
	return true, nil
}

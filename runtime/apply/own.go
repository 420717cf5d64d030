package apply

import (
	"errors"
	"fmt"
	"sort"

	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/state"
)

// What stood at a path before an apply began.
const (
	wasNothing = "nothing"
	wasOurs    = "ours"
	wasForeign = "foreign"
)

// Claims returns what the instance owns while the comparison's edits are
// performed: all that it owned, and every path that will be edited or that a
// command will make, with what stood there. After a crash this is a superset of
// what exists.
func (c *Comparison) Claims(owned map[string]state.Owned) (map[string]state.Owned, error) {
	claims, err := c.Claim(owned, c.Steps...)
	if err != nil {
		return nil, err
	}
	for name, cmd := range c.Created {
		if _, ok := claims[name]; ok || c.isData(name) {
			continue
		}
		if _, exists, err := plan.Lookup(c.view, name); err != nil || exists {
			continue // what was there before the command is nobody's to claim
		}
		if len(claims) == len(owned) {
			claims = clone(claims, 0)
		}
		claims[name] = state.Owned{UID: -1, GID: -1, At: cmd.At, By: cmd.Name, Claim: &state.Claim{Was: wasNothing}}
	}
	return claims, nil
}

// Claim returns owned with the paths that steps will edit.
func (c *Comparison) Claim(owned map[string]state.Owned, steps ...Step) (map[string]state.Owned, error) {
	claims := owned
	copied := false
	for _, step := range steps {
		for _, e := range step.Edits {
			if rec, ok := claims[e.Path]; ok && rec.Claim != nil && !c.neverMade(e.Path, rec) {
				continue
			}
			rec, err := c.claim(e)
			if err != nil {
				return nil, err
			}
			if !copied {
				claims, copied = clone(owned, len(steps)), true
			}
			claims[e.Path] = rec
		}
	}
	return claims, nil
}

// neverMade reports whether rec is a claim of an apply that did not come to making
// what it claimed, or data that is gone: what it was to be does not count.
func (c *Comparison) neverMade(name string, rec state.Owned) bool {
	if !rec.Once && (rec.Claim == nil || rec.Claim.Was != wasNothing) {
		return false
	}
	_, exists, err := plan.Lookup(c.view, name)
	return err == nil && !exists
}

// onlyClaimed reports whether rec is a claim to data that an interrupted apply did
// not come to making: what others put there later is not the instance's.
func (c *Comparison) onlyClaimed(name string, rec state.Owned) bool {
	return rec.Claim != nil && rec.Claim.Was == wasNothing && c.neverMade(name, rec)
}

// isData reports whether name lies in a folder that is made once.
func (c *Comparison) isData(name string) bool {
	for p := parent(name); p != "."; p = parent(p) {
		if d, ok := c.Declared[p]; ok && d.Resource.Target().Once || c.owned[p].Once {
			return true
		}
	}
	return false
}

// clone has room for so many more.
func clone(m map[string]state.Owned, more int) map[string]state.Owned {
	c := make(map[string]state.Owned, len(m)+more)
	for k, v := range m {
		c[k] = v
	}
	return c
}

func (c *Comparison) claim(e plan.Edit) (state.Owned, error) {
	rec, ok := c.owned[e.Path]
	if ok && !c.neverMade(e.Path, rec) {
		rec.Claim = &state.Claim{Was: wasOurs}
		return rec, nil
	}
	rec = state.Owned{UID: -1, GID: -1, At: e.At, Claim: &state.Claim{Was: wasNothing}}
	if d, ok := c.Declared[e.Path]; ok {
		c.describe(&rec, d)
	}
	if v, ok := c.view.View.(*View); ok && v.isMissing(e.Path) {
		return rec, nil
	}
	info, exists, err := plan.Lookup(c.view, e.Path) // below what must go first there is nothing
	if err != nil || !exists {
		return rec, err
	}
	hash, err := hashOf(c.view.View, e.Path, info.Kind)
	if err != nil {
		return rec, err
	}
	rec.Foreign = true
	rec.Claim = &state.Claim{Was: wasForeign, Hash: hash}
	return rec, nil
}

// describe fills rec with what the plan declares.
func (c *Comparison) describe(rec *state.Owned, d Declared) {
	m := d.Resource.Target()
	rec.Mode, rec.UID, rec.GID = m.Mode, m.UID, m.GID
	rec.Once, rec.At, rec.Implicit = m.Once, m.At, d.Implicit
	rec.Source, rec.Hash = "", ""
	switch r := d.Resource.(type) {
	case *plan.Dir:
		rec.Kind = plan.KindDir
	case *plan.Link:
		rec.Kind, rec.Mode = plan.KindLink, 0
		rec.Hash = Hash([]byte(r.To))
	default:
		rec.Kind = plan.KindFile
		rec.Source = plan.SourceOf(r)
	}
}

// Settle returns what the instance owns after the edits were performed. changed
// names the paths that were edited; generation is the one being made; kept is
// what [Comparison.Obsolete] leaves, nil after an incomplete plan: then all that
// is not declared stays as it was.
func (c *Comparison) Settle(claims map[string]state.Owned, changed map[string]bool, generation int, kept map[string]state.Owned) (map[string]state.Owned, error) {
	settled := make(map[string]state.Owned, len(c.Declared))
	hashes := c.hashes(changed)
	for name, d := range c.Declared {
		old, had := claims[name]
		if d.Implicit && !had { // a parent that was there before
			continue
		}
		rec := old
		rec.Claim, rec.By = nil, ""
		if had && old.Once && !d.Resource.Target().Once && !changed[name] {
			settled[name] = rec // data, which stays
			continue
		}
		if !had {
			rec = state.Owned{Foreign: true}
		}
		c.describe(&rec, d)
		if changed[name] || !had {
			rec.Generation = generation
		}
		if rec.Kind == plan.KindFile && c.view.held[name] && had && !changed[name] {
			rec.Hash = old.Hash
		} else if hash, ok := hashes[name]; ok {
			rec.Hash = hash
		} else if rec.Kind == plan.KindFile {
			hash, err := c.settledHash(name, d)
			if err != nil {
				return nil, err
			}
			rec.Hash = hash
		}
		settled[name] = rec
	}
	if err := c.settleCreated(claims, settled, generation); err != nil {
		return nil, err
	}
	rest := kept
	if kept == nil {
		rest = claims
	}
	for name, rec := range rest {
		if _, ok := settled[name]; !ok {
			settled[name] = rec
		}
	}
	if root, ok := claims["."]; ok {
		root.Claim = nil
		settled["."] = root
	}
	return settled, nil
}

// settleCreated records the files that commands made, so that they go when no
// command declares them any more. What lies in an `_once` folder is data.
func (c *Comparison) settleCreated(claims, settled map[string]state.Owned, generation int) error {
	for name, cmd := range c.Created {
		info, ok, err := plan.Lookup(c.view.View, name)
		if err != nil {
			return &plan.PathError{Path: name, Where: cmd.At, Err: err}
		}
		if !ok || info.Kind != plan.KindFile && info.Kind != plan.KindLink {
			continue
		}
		hash, err := hashOf(c.view.View, name, info.Kind)
		if err != nil {
			return &plan.PathError{Path: name, Where: cmd.At, Err: err}
		}
		old, had := claims[name]
		rec := state.Owned{Kind: info.Kind, Hash: hash, Mode: info.Mode, UID: info.UID, GID: info.GID,
			By: cmd.Name, At: cmd.At, Source: "command " + cmd.Name, Once: c.isData(name), Generation: generation,
			Foreign: !had || old.Foreign}
		if had && old.Hash == hash && old.By == cmd.Name {
			rec.Generation = old.Generation
		}
		settled[name] = rec
	}
	return nil
}

// hashes returns the hashes of the files whose contents stand in the plan, as far
// as they are not known: where these are many, all processors compute them.
func (c *Comparison) hashes(changed map[string]bool) map[string]string {
	var files []*plan.File
	for _, r := range c.plan.Resources {
		f, ok := r.(*plan.File)
		if ok && !f.Once && (!c.view.held[f.Path] || changed[f.Path]) {
			files = append(files, f)
		}
	}
	texts := make([]string, len(files))
	fsys.InParts(len(files), func(from, to int) {
		for i := from; i < to; i++ {
			texts[i] = Hash(files[i].Content)
		}
	})
	hashes := make(map[string]string, len(files))
	for i, f := range files {
		hashes[f.Path] = texts[i]
	}
	return hashes
}

// settledHash is the hash to remember for a file. What is created once is
// nobody's to compare, so it has none.
func (c *Comparison) settledHash(name string, d Declared) (string, error) {
	if d.Resource.Target().Once {
		return "", nil
	}
	data, err := plan.Bytes(d.Resource, c.view.View)
	if err != nil {
		return "", fmt.Errorf("%q: %w", name, err)
	}
	return Hash(data), nil
}

// Obsolete says what to do with the paths that are owned and no longer
// declared: remove, deepest first, or keep and tell. kept holds the records
// that stay: `_once` data, and folders that are not empty.
func (c *Comparison) Obsolete(claims map[string]state.Owned) (edits []plan.Edit, kept map[string]state.Owned, warnings []string, err error) {
	kept = map[string]state.Owned{}
	c.view.gone = map[string]bool{}
	for _, name := range c.undeclared(claims) {
		rec := claims[name]
		if rec.Once {
			if !c.onlyClaimed(name, rec) {
				rec.Claim = nil
				kept[name] = rec
			}
			continue
		}
		if rec.Foreign {
			continue
		}
		info, ok, err := plan.Lookup(c.view, name)
		if errors.Is(err, fsys.ErrRefused) {
			if !c.belowLink(name) {
				warnings = append(warnings, fmt.Sprintf("%s is no longer declared, but a link stands where its folder was: it is left alone", name))
			}
			continue
		}
		if err != nil {
			return nil, nil, nil, err
		}
		if !ok {
			continue
		}
		same, err := c.untouched(name, rec, info)
		if err != nil {
			return nil, nil, nil, err
		}
		if !same {
			warnings = append(warnings, fmt.Sprintf("%s is no longer declared, but was changed by hand: it stays", name))
			continue
		}
		if info.Kind == plan.KindDir {
			names, err := c.view.ReadDir(name)
			if err != nil {
				return nil, nil, nil, err
			}
			if len(names) > 0 {
				kept[name] = rec
				continue
			}
		}
		c.view.gone[name] = true
		edits = append(edits, removal(name, info, "no longer declared", rec.At))
	}
	return edits, kept, warnings, nil
}

// belowLink reports whether the plan has a link where one of name's folders was:
// then nothing of that is left.
func (c *Comparison) belowLink(name string) bool {
	for p := parent(name); p != "."; p = parent(p) {
		if d, ok := c.Declared[p]; ok {
			if _, link := d.Resource.(*plan.Link); link {
				return true
			}
		}
	}
	return false
}

// undeclared returns the paths of owned that the plan has nothing stand at, so that
// what lies in a folder comes before it.
func (c *Comparison) undeclared(owned map[string]state.Owned) []string {
	var names []string
	for name := range owned {
		if name != "." && !c.declares(name) {
			names = append(names, name)
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(names)))
	return names
}

// declares reports whether the plan has something stand at name.
func (c *Comparison) declares(name string) bool {
	_, declared := c.Declared[name]
	_, created := c.Created[name]
	return declared || created
}

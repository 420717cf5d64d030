package generation

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff"

	"instar/runtime/plan"
	"instar/runtime/state"
)

// Difference is one thing in which two generations differ. Its texts are masked.
type Difference struct {
	What   string `json:"what"` // "setting", "parameter", "value", "profile" (a file of it), "path", "service"
	Name   string `json:"name"`
	Op     string `json:"op"`               // Added, Removed or Changed
	Detail string `json:"detail,omitempty"` // "mode 0640, was 0600"
	Diff   string `json:"diff,omitempty"`   // of texts: unified
}

// What happened from one generation to another.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// maxDiff bounds the texts that are compared line by line, in bytes.
const maxDiff = 1 << 20

// Masker hides secrets.
type Masker interface{ String(string) string }

// Compare says how b differs from a. Both were verified.
func Compare(a, b *Generation, mask Masker) ([]Difference, error) {
	c := &comparison{a: a, b: b, mask: mask}
	c.settings()
	c.values()
	err := errors.Join(c.sources(), c.paths())
	c.services()
	return c.list, err
}

type comparison struct {
	a, b *Generation
	mask Masker
	list []Difference
}

func (c *comparison) add(d Difference) {
	d.Name, d.Detail, d.Diff = c.mask.String(d.Name), c.mask.String(d.Detail), c.mask.String(d.Diff)
	c.list = append(c.list, d)
}

// each calls do with the keys of a and b, in order, and the operation that leads
// from one to the other: Changed, where both have the key.
func each[V any](a, b map[string]V, do func(key, op string)) {
	all := map[string]V{}
	for key := range a {
		all[key] = a[key]
	}
	for key := range b {
		all[key] = b[key]
	}
	for _, key := range plan.SortedKeys(all) {
		_, inA := a[key]
		_, inB := b[key]
		switch {
		case !inA:
			do(key, Added)
		case !inB:
			do(key, Removed)
		default:
			do(key, Changed)
		}
	}
}

func (c *comparison) settings() {
	a, b := c.a.Settings, c.b.Settings
	for _, s := range []struct{ name, a, b string }{
		{"profile", a.Profile, b.Profile}, {"root", a.Root, b.Root}, {"release", a.Release, b.Release},
		{"user", a.User, b.User}, {"manager", a.Manager, b.Manager}, {"wait", wait(a), wait(b)},
	} {
		if s.a != s.b {
			c.add(Difference{What: "setting", Name: s.name, Op: Changed, Detail: fmt.Sprintf("%s, was %s", orDefault(s.b), orDefault(s.a))})
		}
	}
	each(a.Params, b.Params, func(name, op string) {
		was, is := given(a.Params[name]), given(b.Params[name])
		switch {
		case op == Added:
			c.add(Difference{What: "parameter", Name: name, Op: op, Detail: is})
		case op == Removed:
			c.add(Difference{What: "parameter", Name: name, Op: op, Detail: was})
		case was != is:
			c.add(Difference{What: "parameter", Name: name, Op: op, Detail: fmt.Sprintf("%s, was %s", is, was)})
		}
	})
}

func wait(s state.Settings) string {
	switch {
	case s.Wait < 0:
		return "0s"
	case s.Wait == 0:
		return ""
	}
	return time.Duration(s.Wait).String()
}

func orDefault(text string) string { return cmp.Or(text, "the default") }

// given is a parameter's value as people are shown it.
func given(g state.Given) string {
	if g.Text != nil {
		return *g.Text
	}
	text, err := json.Marshal(g.Value)
	if err != nil {
		return fmt.Sprint(g.Value)
	}
	return string(text)
}

// values names those that were chosen, and shows none.
func (c *comparison) values() {
	each(c.a.Values, c.b.Values, func(name, op string) {
		if op != Changed || c.a.Values[name] != c.b.Values[name] {
			c.add(Difference{What: "value", Name: name, Op: op})
		}
	})
}

func (c *comparison) services() {
	each(c.a.Services, c.b.Services, func(name, op string) {
		a, b := c.a.Services[name], c.b.Services[name]
		a.At, b.At = plan.Pos{}, plan.Pos{}
		if op == Changed && reflect.DeepEqual(a, b) {
			return
		}
		d := Difference{What: "service", Name: name, Op: op}
		if op == Changed && a.Digest == b.Digest && a.ReloadDigest != b.ReloadDigest {
			d.Detail = "files it reloads"
		}
		c.add(d)
	})
}

func (c *comparison) sources() error {
	byName := func(g *Generation) map[string]Source {
		m := map[string]Source{}
		for _, s := range g.Sources {
			if s.Kind != plan.KindDir {
				m[s.Path] = s
			}
		}
		return m
	}
	a, b := byName(c.a), byName(c.b)
	var err error
	each(a, b, func(name, op string) {
		was, is := a[name], b[name]
		d := Difference{What: "profile", Name: name, Op: op}
		if op == Changed {
			d.Detail = metas(was.Kind, is.Kind, was.Mode, is.Mode, 0, 0, 0, 0)
			if was.Link != is.Link {
				d.Detail = fmt.Sprintf("link to %s, was %s", is.Link, was.Link)
			}
		}
		if was.Hash != is.Hash {
			err = errors.Join(err, c.contents(&d, name, was.Hash, is.Hash))
		} else if op == Changed && d.Detail == "" {
			return
		}
		c.add(d)
	})
	return err
}

func (c *comparison) paths() error {
	byName := func(g *Generation) map[string]Path {
		m := make(map[string]Path, len(g.Paths))
		for _, p := range g.Paths {
			m[p.Name] = p
		}
		return m
	}
	a, b := byName(c.a), byName(c.b)
	var err error
	each(a, b, func(name, op string) {
		was, is := a[name], b[name]
		d := Difference{What: "path", Name: name, Op: op}
		if op == Changed {
			d.Detail = metas(was.Kind, is.Kind, was.Mode, is.Mode, was.UID, is.UID, was.GID, is.GID)
		} else {
			d.Detail = string(was.Kind) + string(is.Kind)
		}
		if was.Hash != is.Hash {
			err = errors.Join(err, c.contents(&d, name, was.Hash, is.Hash))
		} else if op == Changed && d.Detail == "" {
			return
		}
		c.add(d)
	})
	return err
}

func metas(wasKind, isKind plan.Kind, wasMode, isMode plan.Mode, wasUID, isUID, wasGID, isGID int) string {
	var all []string
	if wasKind != isKind {
		all = append(all, fmt.Sprintf("%s, was %s", isKind, wasKind))
	}
	if wasMode != isMode {
		all = append(all, fmt.Sprintf("mode %04o, was %04o", isMode, wasMode))
	}
	if wasUID != isUID || wasGID != isGID {
		all = append(all, fmt.Sprintf("owner %d:%d, was %d:%d", isUID, isGID, wasUID, wasGID))
	}
	return strings.Join(all, "; ")
}

// contents fills in how two contents differ; a hash of "" is none.
func (c *comparison) contents(d *Difference, name, was, is string) error {
	old, err := c.text(c.a, was)
	if err != nil {
		return err
	}
	now, err := c.text(c.b, is)
	if err != nil {
		return err
	}
	if old == nil || now == nil {
		d.Detail = strings.TrimPrefix(d.Detail+"; content", "; ")
		return nil
	}
	d.Diff = udiff.Unified("a/"+name, "b/"+name, string(old), string(now))
	return nil
}

// text is a content to be compared by lines; nil when it is none.
func (c *comparison) text(g *Generation, hash string) ([]byte, error) {
	if hash == "" {
		return []byte{}, nil
	}
	data, err := g.Content(hash)
	if errors.Is(err, ErrNotKept) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(data) > maxDiff || !utf8.Valid(data) || slices.Contains(data, 0) {
		return nil, nil
	}
	return append([]byte{}, data...), nil // not nil, if it is empty
}

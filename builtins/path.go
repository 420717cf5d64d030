package builtins

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// Path is a path handle: a path below the instance's root or the release. It
// is accepted wherever text is, as its absolute path.
type Path struct {
	base *base
	rel  string // clean; "" for the folder itself
	abs  string
}

// base is what handles are below.
type base struct {
	dir  string // absolute
	what string // "the instance's root"
	find *starlark.Builtin
}

var (
	_ starlark.HasBinary  = (*Path)(nil)
	_ starlark.HasAttrs   = (*Path)(nil)
	_ starlark.Comparable = (*Path)(nil)
	_ json.Marshaler      = (*Path)(nil)
)

// handle returns the handle of a clean path below b.
func (b *base) handle(rel string) *Path {
	abs := b.dir
	switch {
	case rel == "":
	case strings.HasSuffix(abs, "/"):
		abs += rel
	default:
		abs += "/" + rel
	}
	return &Path{b, rel, abs}
}

// contains returns abs, which is clean, relative to b.
func (b *base) contains(abs string) (rel string, ok bool) {
	if abs == b.dir {
		return "", true
	}
	return strings.CutPrefix(abs, strings.TrimSuffix(b.dir, "/")+"/")
}

func (p *Path) String() string               { return p.abs }
func (p *Path) Type() string                 { return "path" }
func (p *Path) Freeze()                      {}
func (p *Path) Truth() starlark.Bool         { return true }
func (p *Path) Hash() (uint32, error)        { return starlark.String(p.abs).Hash() }
func (p *Path) MarshalJSON() ([]byte, error) { return json.Marshal(p.abs) }

// CompareSameType orders handles by their text.
func (p *Path) CompareSameType(op syntax.Token, other starlark.Value, _ int) (bool, error) {
	return starlark.Compare(op, starlark.String(p.abs), starlark.String(other.(*Path).abs))
}

// Binary is `p / "x"`, the handle of a path below p, and `+` with text.
func (p *Path) Binary(op syntax.Token, y starlark.Value, side starlark.Side) (starlark.Value, error) {
	switch {
	case op == syntax.PLUS:
		text, ok := asText(y)
		if !ok {
			return nil, nil
		}
		if side == starlark.Left {
			return starlark.String(p.abs + text), nil
		}
		return starlark.String(text + p.abs), nil
	case op == syntax.SLASH && side == starlark.Left:
		text, ok := y.(starlark.String)
		if !ok {
			return nil, want("text after /", y)
		}
		rel, err := cleanPath(string(text))
		if err != nil {
			return nil, fmt.Errorf("path %q: %w", string(text), err)
		}
		if strings.HasPrefix(string(text), "/") {
			return nil, fmt.Errorf("path %q is absolute: want one below %s", string(text), p)
		}
		return p.base.handle(path.Join(p.rel, rel)), nil
	}
	return nil, nil
}

// AttrNames implements [starlark.HasAttrs].
func (p *Path) AttrNames() []string {
	if p.rel == "" && p.base.find != nil {
		return []string{"find", "name", "parent"}
	}
	return []string{"name", "parent"}
}

// Attr implements [starlark.HasAttrs].
func (p *Path) Attr(name string) (starlark.Value, error) {
	switch {
	case name == "name":
		return starlark.String(path.Base(p.abs)), nil
	case name == "parent" && p.rel == "":
		return nil, fmt.Errorf("%s is %s: it has no parent", p, p.base.what)
	case name == "parent":
		dir := path.Dir(p.rel)
		if dir == "." {
			dir = ""
		}
		return p.base.handle(dir), nil
	case name == "find" && p.rel == "" && p.base.find != nil:
		return p.base.find, nil
	}
	return nil, noAttr("path", name, p.AttrNames())
}

// Bounds that all systems share.
const (
	maxComponent = 255  // bytes of one name
	maxPath      = 4000 // bytes of a whole path, with room for a suffix
)

// reservedPrefix begins the names that instar makes beside the files it
// writes.
const reservedPrefix = ".instar-"

// cleanPath returns a path without empty and "." components, relative even
// when it was absolute. It refuses what is no path below something.
func cleanPath(text string) (string, error) {
	switch {
	case text == "":
		return "", errors.New("is empty")
	case strings.ContainsRune(text, 0):
		return "", errors.New("holds a zero byte")
	case !utf8.ValidString(text):
		return "", errors.New("is not UTF-8")
	case len(text) > maxPath:
		return "", fmt.Errorf("is %d bytes long, and can be at most %d", len(text), maxPath)
	}
	clean := strings.TrimPrefix(path.Clean("/"+text), "/")
	for part := range strings.SplitSeq(text, "/") {
		switch {
		case part == "..":
			return "", errors.New(`holds ".."`)
		case len(part) > maxComponent:
			return "", fmt.Errorf("has a component of %d bytes, which can be at most %d", len(part), maxComponent)
		case strings.HasPrefix(part, reservedPrefix):
			return "", fmt.Errorf("has a component that begins with %q: such names are instar's own", reservedPrefix)
		}
	}
	if clean == "" && !strings.HasPrefix(text, "/") {
		return "", errors.New("is the folder itself")
	}
	return clean, nil
}

// path resolves an argument that names something below the root, which is
// not the root itself, to the path relative to it.
func (s *Session) path(v starlark.Value) (string, error) {
	if p, ok := v.(*Path); ok && p.base == s.root && p.rel != "" && len(p.abs) <= maxPath {
		return p.rel, nil // what a handle is made of has been checked
	}
	text, ok := asText(v)
	if !ok {
		return "", want("a path", v)
	}
	rel, err := s.pathText(text)
	if err == nil && rel == "" {
		err = fmt.Errorf("path %q is the instance's root itself", text)
	}
	return rel, err
}

// pathText is path for text; "" is the root.
func (s *Session) pathText(text string) (string, error) {
	rel, err := cleanPath(text)
	if err != nil {
		return "", fmt.Errorf("path %q %w", shorten(text), err)
	}
	if !isAbs(text) {
		return rel, nil
	}
	inside, ok := s.root.contains("/" + rel)
	if !ok && isAbs(s.root.dir) && !strings.HasPrefix(s.root.dir, "/") { // C:/srv
		inside, ok = s.root.contains(path.Clean(text))
	}
	if !ok {
		return "", hinted("a path is relative to the instance's root, "+s.root.dir,
			"path %q is outside the instance's root", shorten(text))
	}
	return inside, nil
}

// paths resolves an argument that is a path or a list of them, or None.
func (s *Session) paths(v starlark.Value) ([]string, error) {
	all, ok := items(v)
	if !ok {
		all = []starlark.Value{v}
	}
	var rels []string
	for _, item := range all {
		rel, err := s.path(item)
		if err != nil {
			return nil, err
		}
		rels = append(rels, rel)
	}
	return rels, nil
}

// somewhere resolves a path that is only looked at: relative ones are below
// the root, absolute ones stay.
func (s *Session) somewhere(v starlark.Value) (string, error) {
	text, ok := asText(v)
	if !ok {
		return "", want("a path", v)
	}
	rel, err := cleanPath(text)
	if err != nil {
		return "", fmt.Errorf("path %q %w", shorten(text), err)
	}
	if isAbs(text) {
		return path.Clean(text), nil
	}
	return s.root.handle(rel).abs, nil
}

// isAbs says whether text is an absolute path, here or on Windows.
func isAbs(text string) bool {
	return strings.HasPrefix(text, "/") ||
		len(text) > 2 && text[1] == ':' && (text[2] == '/' || text[2] == '\\')
}

// shorten cuts text that is too long for a message.
func shorten(text string) string {
	if len(text) <= 120 {
		return text
	}
	return strings.ToValidUTF8(text[:100], "") + "…"
}

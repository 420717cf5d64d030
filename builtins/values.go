package builtins

import (
	"go.starlark.net/starlark"

	"instar/starlark/interp"
)

// node: name, os, arch, cpus, memory, ipv4, ipv6, manager
//
// Facts about the machine.
func nodeValue(s *Session) starlark.Value {
	n := s.in.Node
	return record("node", starlark.StringDict{
		"name":    starlark.String(n.Name),
		"os":      starlark.String(n.OS),
		"arch":    starlark.String(n.Arch),
		"cpus":    starlark.MakeInt(n.CPUs),
		"memory":  starlark.MakeInt64(n.Memory),
		"ipv4":    starlark.String(n.IPv4),
		"ipv6":    starlark.String(n.IPv6),
		"manager": starlark.String(n.Manager),
	})
}

// instance: name, root, user, group, uid, gid
//
// The instance that is evaluated; root is a path handle.
func instanceValue(s *Session) starlark.Value {
	i := s.in.Instance
	return record("instance", starlark.StringDict{
		"name":  starlark.String(i.Name),
		"root":  s.root.handle(""),
		"user":  starlark.String(i.User),
		"group": starlark.String(i.Group),
		"uid":   starlark.MakeInt(i.UID),
		"gid":   starlark.MakeInt(i.GID),
	})
}

// release
//
// The path handle of the release's folder.
func releaseValue(s *Session) starlark.Value { return s.release.handle("") }

func record(name string, fields starlark.StringDict) starlark.Value {
	return &namespace{name, fields}
}

// namespace is a value with fixed attributes: facts, or the functions of a
// family.
type namespace struct {
	name    string
	members starlark.StringDict
}

var _ starlark.HasAttrs = (*namespace)(nil)

func (n *namespace) String() string        { return n.name }
func (n *namespace) Type() string          { return n.name }
func (n *namespace) Freeze()               {}
func (n *namespace) Truth() starlark.Bool  { return true }
func (n *namespace) Hash() (uint32, error) { return starlark.String(n.name).Hash() }
func (n *namespace) AttrNames() []string   { return n.members.Keys() }

// Attr implements [starlark.HasAttrs].
func (n *namespace) Attr(name string) (starlark.Value, error) {
	if value, ok := n.members[name]; ok {
		return value, nil
	}
	return nil, noAttr(n.name, name, n.AttrNames())
}

// noAttr is the error of a value without such an attribute.
func noAttr(what, name string, names []string) error {
	hint := ""
	if best, ok := interp.Nearest(name, names); ok {
		hint = "did you mean ." + best + "?"
	}
	return hinted(hint, "%s has no .%s", what, name)
}

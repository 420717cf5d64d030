package builtins

import (
	"slices"
	"strconv"
	"text/template/parse"

	"go.starlark.net/starlark"
)

// Most templates of configuration files are texts with variables in them, and
// nothing else: these are put together by hand, which takes a tenth of the time
// that text/template does. Whatever is unusual, and every error, is left to that.

// segment is a piece of such a template: a text, then the value of a variable.
type segment struct {
	text string
	name string // "": the end
}

// straighten returns what a template consists of, nil when it is more than texts
// and variables. Its printing actions have been checked ([checkPrinted]).
func straighten(root *parse.ListNode) []segment {
	var all []segment
	text := ""
	for _, node := range root.Nodes {
		switch n := node.(type) {
		case *parse.TextNode:
			text += string(n.Text)
		case *parse.CommentNode:
		case *parse.ActionNode:
			name := fieldOf(n.Pipe)
			if name == "" {
				return nil
			}
			all = append(all, segment{text, name})
			text = ""
		default:
			return nil
		}
	}
	return append(all, segment{text, ""})
}

// fieldOf returns the name in {{.name}}, "" for anything else.
func fieldOf(p *parse.PipeNode) string {
	if len(p.Decl) > 0 || len(p.Cmds) != 2 || len(p.Cmds[0].Args) != 1 {
		return ""
	}
	field, ok := p.Cmds[0].Args[0].(*parse.FieldNode)
	if !ok || len(field.Ident) != 1 {
		return ""
	}
	return field.Ident[0]
}

// maxStraight bounds what is put together by hand, in bytes.
const maxStraight = 1 << 20

// straightVars is how many variables a template put together by hand may have.
const straightVars = 32

// renderStraight renders a template of texts and variables from a dict of texts,
// handles, ints and bools. Without ok it is for text/template to do, or to say
// what is wrong.
func (s *source) renderStraight(vars starlark.Value) (content []byte, ok bool) {
	dict, isDict := vars.(*starlark.Dict)
	if s.straight == nil || !isDict || dict.Len() > straightVars {
		return nil, false
	}
	size := 0
	s.names, s.vars = s.names[:0], s.vars[:0]
	for key, value := range dict.Entries() {
		name, isText := key.(starlark.String)
		if !isText || !isIdentifier(string(name)) {
			return nil, false
		}
		text, plain := plainText(value)
		if !plain {
			return nil, false
		}
		s.names, s.vars = append(s.names, string(name)), append(s.vars, text)
	}
	var at [2 * straightVars]int8
	if len(s.straight) > len(at) {
		return nil, false
	}
	for i, seg := range s.straight {
		size += len(seg.text)
		if seg.name == "" {
			break
		}
		k := slices.Index(s.names, seg.name)
		if k < 0 {
			return nil, false
		}
		at[i] = int8(k)
		size += len(s.vars[k])
	}
	if size > maxStraight {
		return nil, false
	}
	content = make([]byte, 0, size)
	for i, seg := range s.straight {
		content = append(content, seg.text...)
		if seg.name != "" {
			content = append(content, s.vars[at[i]]...)
		}
	}
	return content, true
}

// plainText is how text/template prints a value, as far as that is plain.
func plainText(v starlark.Value) (string, bool) {
	switch v := v.(type) {
	case starlark.String:
		return string(v), true
	case *Path:
		return v.abs, true
	case starlark.Bool:
		return strconv.FormatBool(bool(v)), true
	case starlark.Int:
		return v.String(), true
	}
	return "", false
}

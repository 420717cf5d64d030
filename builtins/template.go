package builtins

import (
	"errors"
	"fmt"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// template(path, source=None, text=None, vars={}, mode=0o640, owner=None, group=None)
//
// A file made from a Go template (text/template), which is a file of the
// profile or given as text. Printing or indexing what is missing or None is
// an error.
func template(c *call) (starlark.Value, error) { return templateFile(c, false) }

// template_once, with the same arguments, makes a file that is created if
// missing; then it is neither changed nor removed by an apply.
func templateOnce(c *call) (starlark.Value, error) { return templateFile(c, true) }

func templateFile(c *call, once bool) (starlark.Value, error) {
	var path, ref, text, vars, owner, group starlark.Value
	mode := plan.Mode(0o640)
	if err := c.unpack(&path, &ref, &text, &vars, &mode, &owner, &group); err != nil {
		return nil, err
	}
	m, err := c.meta(path, mode, owner, group)
	if err != nil {
		return nil, err
	}
	m.Once = once
	src, err := c.source(ref, text)
	if err != nil {
		return nil, err
	}
	content, ok := src.renderStraight(vars)
	if !ok {
		data, err := templateVars(vars)
		if err != nil {
			return nil, prefixed("vars", err)
		}
		if content, err = src.render(data); err != nil {
			return nil, err
		}
	}
	return c.declare(aFile, &plan.File{Meta: m, Content: content, Source: src.label})
}

// source returns the parsed template that the arguments name.
func (c *call) source(ref, text starlark.Value) (*source, error) {
	switch {
	case ref == nil && text == nil:
		return nil, errors.New("missing argument: either source or text")
	case ref != nil && text != nil:
		return nil, errors.New("got both source and text, takes one of them")
	case text != nil:
		body, ok := text.(starlark.String)
		if !ok {
			return nil, prefixed("text", want("text", text))
		}
		return c.parsed("", string(body))
	}
	name, ok := ref.(starlark.String)
	if !ok {
		return nil, prefixed("source", want("the name of a file of the profile", ref))
	}
	canonical, err := c.resolve(string(name))
	if err != nil {
		return nil, prefixed("source", err)
	}
	if src, ok := c.sources["file "+canonical]; ok {
		return src, nil
	}
	_, body, err := c.readSource(string(name))
	if err != nil {
		return nil, prefixed("source", err)
	}
	return c.parsed(canonical, string(body))
}

// maxParsed bounds the templates given as text that are kept.
const maxParsed = 1000

// parsed parses a template, once. Without a name it was given as text.
func (c *call) parsed(name, body string) (*source, error) {
	key := "file " + name
	if name == "" {
		key = "text " + body
	}
	if src, ok := c.sources[key]; ok {
		return src, nil
	}
	src, err := newSource(name, body)
	if err != nil {
		return nil, err
	}
	if len(c.sources) < maxParsed {
		c.sources[key] = src
	}
	return src, nil
}

// templateVars returns the variables of a template: text, int64, float64,
// bool, nil, []any and map[string]any.
func templateVars(v starlark.Value) (map[string]any, error) {
	if v == nil || v == starlark.None {
		return nil, nil
	}
	dict, ok := v.(*starlark.Dict)
	if !ok {
		return nil, want("a dict", v)
	}
	vars := make(map[string]any, dict.Len())
	for _, item := range dict.Items() {
		name, ok := item[0].(starlark.String)
		if !ok || !isIdentifier(string(name)) {
			return nil, hinted("a letter or _, then letters, digits and _", "%s is no name of a variable", item[0])
		}
		value, err := templateValue(item[1], 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", string(name), err)
		}
		vars[string(name)] = value
	}
	return vars, nil
}

// templateValue converts one value. An int that is too big for Go is text.
func templateValue(v starlark.Value, depth int) (any, error) {
	switch v := v.(type) {
	case starlark.String:
		return string(v), nil
	case *Path:
		return v.abs, nil
	case starlark.Int:
		if n, ok := v.Int64(); ok {
			return n, nil
		}
		return v.String(), nil
	case starlark.Bool:
		return bool(v), nil
	case starlark.NoneType:
		return nil, nil
	case starlark.Float:
		return float64(v), nil
	}
	if depth > maxDepth {
		return nil, errors.New("is nested too deeply, or contains itself")
	}
	switch v := v.(type) {
	case *starlark.List:
		all := make([]any, v.Len())
		for i := range all {
			item, err := templateValue(v.Index(i), depth+1)
			if err != nil {
				return nil, err
			}
			all[i] = item
		}
		return all, nil
	case *starlark.Dict:
		m := make(map[string]any, v.Len())
		for _, item := range v.Items() {
			key, ok := asText(item[0])
			if !ok {
				return nil, fmt.Errorf("the key %s is not text", item[0])
			}
			value, err := templateValue(item[1], depth+1)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", shorten(key), err)
			}
			m[key] = value
		}
		return m, nil
	}
	data, err := plainAt(v, depth) // sets, tuples, structs, bytes
	if err != nil {
		return nil, err
	}
	return goNumbers(maps(data)), nil
}

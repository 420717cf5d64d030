package builtins

import (
	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// run(name, command, env={}, cwd=None, user=None, after=[], uses=[])
//
// A program that is started together with the services and expected to end.
// It writes etc/run/NAME, and returns its handle.
func run(c *call) (starlark.Value, error) {
	var p process
	var after, uses starlark.Value
	if err := c.unpack(&p.name, &p.command, &p.env, &p.cwd, &p.user, &after, &uses); err != nil {
		return nil, err
	}
	at := c.at()
	exec, _, err := c.exec("program", p, true, at)
	if err != nil {
		return nil, err
	}
	r := plan.Run{Name: p.name, Exec: exec, At: at}
	if r.After, err = c.after("run "+p.name, after, at); err != nil {
		return nil, err
	}
	if r.Uses, err = c.uses("uses", uses, at); err != nil {
		return nil, err
	}
	if r.Script, err = c.programScript("etc/run", p.name, exec, at); err != nil {
		return nil, err
	}
	c.plan.Runs = append(c.plan.Runs, r)
	return c.root.handle(r.Script), nil
}

// after takes the names of what is started before.
func (c *call) after(who string, v starlark.Value, at plan.Pos) ([]string, error) {
	all, ok := items(v)
	if !ok {
		return nil, prefixed("after", want("a list of names", v))
	}
	var names []string
	for _, item := range all {
		name, ok := item.(starlark.String)
		if !ok {
			return nil, prefixed("after", want("a name", item))
		}
		names = append(names, string(name))
	}
	if len(names) > 0 {
		c.afters = append(c.afters, afterNames{who, names, at})
	}
	return names, nil
}

// uses takes the paths that something depends on: relative to the root, or
// absolute in the release.
func (c *call) uses(argument string, v starlark.Value, at plan.Pos) ([]string, error) {
	all, ok := items(v)
	if !ok {
		all = []starlark.Value{v}
	}
	var paths []string
	for _, item := range all {
		text, ok := asText(item)
		if !ok {
			return nil, prefixed(argument, want("a path", item))
		}
		if abs, ok := c.inRelease(item, text); ok {
			if what, err := c.stat(abs); err == nil && what == "" {
				return nil, prefixed(argument, c.missingProgram(abs))
			}
			paths = append(paths, abs)
			continue
		}
		rel, err := c.path(item)
		if err != nil {
			return nil, prefixed(argument, err)
		}
		paths = append(paths, rel)
		c.refs = append(c.refs, reference{argument, rel, at})
	}
	return paths, nil
}

// inRelease returns the absolute path of something in the release.
func (c *call) inRelease(v starlark.Value, text string) (string, bool) {
	if p, ok := v.(*Path); ok {
		return p.abs, p.base == c.release
	}
	if !isAbs(text) {
		return "", false
	}
	if _, ok := c.root.contains(text); ok {
		return "", false
	}
	_, ok := c.release.contains(text)
	return text, ok
}

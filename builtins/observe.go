package builtins

import (
	"errors"
	"fmt"
	"io/fs"
	gopath "path"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// observe(path, default=…)
//
// The text of a regular file of at most 1 MiB that a command or service made
// in the instance. When it is missing, the default; without one, evaluation
// stops as pending.
func observe(c *call) (starlark.Value, error) {
	var path, fallback starlark.Value
	if err := c.unpack(&path, &fallback); err != nil {
		return nil, err
	}
	rel, err := c.path(path)
	if err != nil {
		return nil, err
	}
	at := c.at()
	if err := c.observable(rel, at); err != nil {
		return nil, err
	}
	if _, ok := c.observed[rel]; !ok {
		c.observed[rel] = at
	}
	text, err := c.host.Observe(rel)
	switch {
	case err == nil:
		return starlark.String(text), nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%q: %w", rel, err)
	case fallback != nil:
		return fallback, nil
	}
	return nil, &stopped{&plan.Pending{Why: fmt.Sprintf("observe(%q): no such file yet", rel), At: at}}
}

// observable refuses a path that the profile itself gives a content.
func (c *call) observable(rel string, at plan.Pos) error {
	for dir := rel; dir != "."; dir = gopath.Dir(dir) {
		d, ok := c.declared[dir]
		if !ok || !d.generates || dir != rel && d.kind != aCopy {
			continue
		}
		return observedTwice(rel, declaration{what: "observe", at: at}, *d)
	}
	return nil
}

func observedTwice(rel string, observed, declared declaration) error {
	return hinted("use the handle, or the text that the file is given",
		"%q is observed at %s, but its content is the profile's own: %s declares it at %s", rel, observed.at, declared.what, declared.at)
}

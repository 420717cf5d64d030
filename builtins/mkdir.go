package builtins

import (
	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// mkdir(path, mode=0o750, owner=None, group=None)
//
// A folder with the given mode and owner. What is in it, and undeclared, is
// left alone.
func mkdir(c *call) (starlark.Value, error) { return folder(c, false) }

// mkdir_once(path, mode=0o750, owner=None, group=None)
//
// A folder that is created if missing; then it is neither changed nor
// removed by an apply, and what is in it neither.
func mkdirOnce(c *call) (starlark.Value, error) { return folder(c, true) }

func folder(c *call, once bool) (starlark.Value, error) {
	var path, owner, group starlark.Value
	mode := plan.Mode(0o750)
	if err := c.unpack(&path, &mode, &owner, &group); err != nil {
		return nil, err
	}
	m, err := c.meta(path, mode, owner, group)
	if err != nil {
		return nil, err
	}
	m.Once = once
	return c.declare(aFolder, &plan.Dir{Meta: m})
}

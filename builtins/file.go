package builtins

import (
	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// file(path, content, mode=0o640, owner=None, group=None)
//
// A file with the given content, which is text or bytes.
func file(c *call) (starlark.Value, error) { return plainFile(c, false) }

// file_once(path, content, mode=0o640, owner=None, group=None)
//
// A file that is created if missing; then it is neither changed nor removed
// by an apply.
func fileOnce(c *call) (starlark.Value, error) { return plainFile(c, true) }

func plainFile(c *call, once bool) (starlark.Value, error) {
	var path, owner, group starlark.Value
	var content []byte
	mode := plan.Mode(0o640)
	if err := c.unpack(&path, &content, &mode, &owner, &group); err != nil {
		return nil, err
	}
	m, err := c.meta(path, mode, owner, group)
	if err != nil {
		return nil, err
	}
	m.Once = once
	return c.declare(aFile, &plan.File{Meta: m, Content: content})
}

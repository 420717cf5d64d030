package builtins

import (
	"errors"
	"strings"
	"unicode/utf8"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// symlink(path, target)
//
// A symbolic link. The target is a path handle, which becomes its absolute
// path, or text, which is taken verbatim.
func symlink(c *call) (starlark.Value, error) {
	var path starlark.Value
	var target string
	if err := c.unpack(&path, &target); err != nil {
		return nil, err
	}
	switch {
	case target == "":
		return nil, errors.New("target: is empty")
	case strings.ContainsRune(target, 0):
		return nil, errors.New("target: holds a zero byte")
	case !utf8.ValidString(target):
		return nil, errors.New("target: is not UTF-8")
	case len(target) > maxPath:
		return nil, errors.New("target: is too long")
	}
	m, err := c.meta(path, 0o777, nil, nil)
	if err != nil {
		return nil, err
	}
	return c.declare(aFile, &plan.Link{Meta: m, To: target})
}

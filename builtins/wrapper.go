package builtins

import (
	"fmt"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// wrapper(path, command, env={}, cwd=None, umask=None, wait_for=[], mode=0o750)
//
// A shell script that executes the command, followed by the script's own
// arguments. Its environment is that of its caller with env added.
func wrapper(c *call) (starlark.Value, error) {
	var path, command, env, cwd, umask, waitFor starlark.Value
	mode := plan.Mode(0o750)
	if err := c.unpack(&path, &command, &env, &cwd, &umask, &waitFor, &mode); err != nil {
		return nil, err
	}
	m, err := c.meta(path, mode, nil, nil)
	if err != nil {
		return nil, err
	}
	s := script{umask: -1}
	if s.argv, err = c.command(command); err != nil {
		return nil, prefixed("command", err)
	}
	if s.env, err = c.env(env, true); err != nil {
		return nil, err
	}
	if s.dir, err = c.dir(cwd); err != nil {
		return nil, err
	}
	if s.umask, err = umaskOf(umask); err != nil {
		return nil, prefixed("umask", err)
	}
	if s.waitFor, err = c.waitFor(waitFor); err != nil {
		return nil, prefixed("wait_for", err)
	}
	c.argvs = append(c.argvs, argv{"wrapper", m.Path, s.argv, m.At})
	return c.declare(aFile, &plan.File{Meta: m, Content: s.text()})
}

// umaskOf returns the umask, or -1 for None.
func umaskOf(v starlark.Value) (int, error) {
	if v == nil {
		return -1, nil
	}
	var mask plan.Mode
	if err := assignMode(v, &mask); err != nil {
		return 0, err
	}
	if mask > 0o777 {
		return 0, fmt.Errorf("0o%o is no umask: want 0 to 0o777", mask)
	}
	return int(mask), nil
}

// waitFor takes a path or a list of them, below the root or elsewhere.
func (c *call) waitFor(v starlark.Value) ([]string, error) {
	all, ok := items(v)
	if !ok {
		all = []starlark.Value{v}
	}
	var paths []string
	for _, item := range all {
		abs, err := c.somewhere(item)
		if err != nil {
			return nil, err
		}
		paths = append(paths, abs)
	}
	return paths, nil
}

package builtins

import (
	"fmt"
	"path"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// command_once(name, command, creates=None, wipe=None, env={}, cwd=None, user=None, stdin=None, uses=[], timeout=600)
//
// A command that the deployer executes, in its place among the files, until
// it has succeeded once.
func commandOnce(c *call) (starlark.Value, error) { return command(c, false) }

// command_changed, with the same arguments, is executed again whenever its
// definition, or the content of a declared file that it mentions, changes.
func commandChanged(c *call) (starlark.Value, error) { return command(c, true) }

func command(c *call, changed bool) (starlark.Value, error) {
	var p process
	var creates, wipe, uses starlark.Value
	cmd := &plan.Command{Changed: changed, Timeout: 10 * time.Minute, At: c.at()}
	if err := c.unpack(&p.name, &p.command, &creates, &wipe, &p.env, &p.cwd, &p.user, &cmd.Stdin, &uses, &cmd.Timeout); err != nil {
		return nil, err
	}
	cmd.Name = p.name
	var err error
	if cmd.Exec, _, err = c.exec("command", p, false, cmd.At); err != nil {
		return nil, err
	}
	if cmd.Creates, err = c.paths(creates); err != nil {
		return nil, prefixed("creates", err)
	}
	if cmd.Wipe, err = c.paths(wipe); err != nil {
		return nil, prefixed("wipe", err)
	}
	if cmd.Uses, err = c.uses("uses", uses, cmd.At); err != nil {
		return nil, err
	}
	for _, product := range cmd.Creates {
		if err := c.product(product, cmd.At); err != nil {
			return nil, prefixed("creates", err)
		}
	}
	for _, dir := range cmd.Wipe {
		if err := c.wipe(dir, cmd.Name, cmd.At); err != nil {
			return nil, prefixed("wipe", err)
		}
	}
	c.plan.Resources = append(c.plan.Resources, cmd)
	return starlark.None, nil
}

// product notes a path that a command makes.
func (c *call) product(rel string, at plan.Pos) error {
	if d, ok := c.declared[rel]; ok && d.kind == aFolder {
		return hinted("name what the command writes last", "%q always exists: %s declares it at %s", rel, d.what, d.at)
	}
	return c.claim(rel, declaration{what: c.row.Name, at: at, kind: aProduct})
}

// wipe notes a path that is emptied. What the profile puts there before the
// command could never be missing or empty when it begins.
func (c *call) wipe(rel, name string, at plan.Pos) error {
	if d, ok := c.declared[rel]; ok && (d.kind == aFile || d.kind == aCopy) {
		return fmt.Errorf("%q is the profile's own: %s declares it at %s", rel, d.what, d.at)
	}
	if kid, ok := c.below[rel]; ok {
		if d := c.declared[kid]; d.kind != aProduct {
			return fmt.Errorf("%q would not be empty when the command begins: %s declares %q in it at %s", rel, d.what, kid, d.at)
		}
	}
	for dir := path.Dir(rel); dir != "."; dir = path.Dir(dir) {
		if d, ok := c.declared[dir]; ok && d.kind == aCopy {
			return fmt.Errorf("%q is in %q, which %s declares at %s", rel, dir, d.what, d.at)
		}
	}
	for _, folder := range []string{"etc/services/", "etc/run/", "etc/prerm/"} {
		if strings.HasPrefix(rel+"/", folder) {
			return fmt.Errorf("%q holds programs", rel)
		}
	}
	return nil
}

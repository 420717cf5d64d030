package builtins

import (
	"errors"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// fail(*values, sep=" ")
//
// Ends the evaluation with an error.
func failCall(c *call) (starlark.Value, error) {
	text, err := c.joined()
	if err != nil {
		return nil, err
	}
	return nil, errors.New(text)
}

// print(*values, sep=" ")
//
// Writes its arguments to the log.
func printCall(c *call) (starlark.Value, error) {
	text, err := c.joined()
	if err != nil {
		return nil, err
	}
	c.print(c.at(), text)
	return starlark.None, nil
}

// joined returns the text of all arguments.
func (c *call) joined() (string, error) {
	sep := " "
	for _, kwarg := range c.kwargs {
		name, _ := starlark.AsString(kwarg[0])
		if name != "sep" {
			return "", hinted(c.usage(), "unexpected argument %s", name)
		}
		if err := assign(kwarg[1], &sep); err != nil {
			return "", prefixed("sep", err)
		}
	}
	var parts []string
	for _, arg := range c.args {
		text, ok := asText(arg)
		if !ok {
			text = arg.String()
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, sep), nil
}

// struct(**fields)
//
// A value with the given fields.
func makeStruct(c *call) (starlark.Value, error) {
	return starlarkstruct.Make(c.thread, starlark.NewBuiltin("struct", starlarkstruct.Make), c.args, c.kwargs)
}

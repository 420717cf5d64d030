package builtins

import (
	"errors"
	"fmt"

	"go.starlark.net/starlark"
)

// publish(**values), publish({…})
//
// Connection parameters, any JSON, for whoever asked for the instance. Empty
// ones are not published.
func publish(c *call) (starlark.Value, error) {
	if len(c.args) > 1 || len(c.args) == 1 && len(c.kwargs) > 0 {
		return nil, errors.New("takes either a dict, or names with values")
	}
	values := c.kwargs
	if len(c.args) == 1 {
		dict, ok := c.args[0].(*starlark.Dict)
		if !ok {
			return nil, want("a dict", c.args[0])
		}
		values = dict.Items()
	}
	at := c.at()
	for _, item := range values {
		name, ok := item[0].(starlark.String)
		if !ok || name == "" {
			return nil, fmt.Errorf("the key %s is no name", item[0])
		}
		value, err := plain(item[1])
		if err == nil {
			err = notUTF8([]pair{{string(name), value}})
		}
		if err != nil {
			return nil, prefixed(string(name), err)
		}
		if err := c.claimName("value", string(name), at); err != nil {
			return nil, err
		}
		if value != nil && value != "" {
			c.plan.Published[string(name)] = maps(value)
		}
	}
	return starlark.None, nil
}

package builtins

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
	"instar/starlark/interp"
)

// call is one call of a builtin.
type call struct {
	*Session
	thread *starlark.Thread
	row    *row
	args   starlark.Tuple
	kwargs []starlark.Tuple
}

// row is a line of the table, ready for use by a session.
type row struct {
	Builtin
	params []parameter
}

// parameter is one argument of a signature. Optional ones with the default
// None take None for absent.
type parameter struct {
	name     string
	optional bool
	none     bool
}

// parseSignature takes "path, mode=0o750, owner=None" apart. Commas stand
// between parameters only.
func parseSignature(signature string) []parameter {
	if signature == "" || strings.HasPrefix(signature, "*") {
		return nil
	}
	var params []parameter
	for part := range strings.SplitSeq(signature, ", ") {
		name, value, optional := strings.Cut(part, "=")
		params = append(params, parameter{name, optional, value == "None"})
	}
	return params
}

// builtin returns the Starlark function of a line of the table.
func (s *Session) builtin(b Builtin) *starlark.Builtin {
	r := &row{b, parseSignature(b.Params)}
	return starlark.NewBuiltin(b.Name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		c := &call{s, thread, r, args, kwargs}
		if err := c.begin(); err != nil {
			return nil, err
		}
		value, err := b.call(c)
		if err != nil {
			return nil, prefixed(b.Name, err)
		}
		return value, nil
	})
}

// begin closes the parameters before anything else happens.
func (c *call) begin() error {
	if c.row.Does == Pure || c.row.Does == Parameter {
		return nil
	}
	if c.row.Does == Declares && interp.Loading(c.thread) {
		return hinted("put it into a function, which the profile calls",
			"%s: a module cannot declare anything while it is being loaded", c.row.Name)
	}
	if !c.params.closed {
		c.params.closedBy, c.params.closedAt = c.row.Name, c.at()
	}
	if err := c.closeParams(); err != nil {
		return err
	}
	if c.in.ParamsOnly {
		return &stopped{}
	}
	return nil
}

// at returns where the profile made the call.
func (c *call) at() plan.Pos { return position(c.thread) }

// unpack assigns the arguments to vars, one for each parameter of the
// signature in the table. What an absent argument leaves alone is the
// default.
func (c *call) unpack(vars ...any) error {
	params := c.row.params
	if len(vars) != len(params) {
		panic(fmt.Sprintf("%s unpacks %d arguments of %d", c.row.Name, len(vars), len(params)))
	}
	if len(c.args) > len(params) {
		return hinted(c.usage(), "got %d positional arguments, takes at most %d", len(c.args), len(params))
	}
	var given uint64
	for i, arg := range c.args {
		given |= 1 << i
		if err := c.assign(params[i], arg, vars[i]); err != nil {
			return err
		}
	}
	for _, kwarg := range c.kwargs {
		name := string(kwarg[0].(starlark.String))
		i := c.find(name)
		if i < 0 {
			return c.unexpected(name)
		}
		if given&(1<<i) != 0 {
			return fmt.Errorf("got two values for argument %s", name)
		}
		given |= 1 << i
		if err := c.assign(params[i], kwarg[1], vars[i]); err != nil {
			return err
		}
	}
	for i, param := range params {
		if !param.optional && given&(1<<i) == 0 {
			return hinted(c.usage(), "missing argument %s", param.name)
		}
	}
	return nil
}

func (c *call) find(name string) int {
	for i := range c.row.params {
		if c.row.params[i].name == name {
			return i
		}
	}
	return -1
}

func (c *call) unexpected(name string) error {
	names := make([]string, len(c.row.params))
	for i, param := range c.row.params {
		names[i] = param.name
	}
	if best, ok := interp.Nearest(name, names); ok {
		return hinted("did you mean "+best+"?", "unexpected argument %s", name)
	}
	return hinted(c.usage(), "unexpected argument %s", name)
}

func (c *call) usage() string { return "usage: " + c.row.Signature() }

func (c *call) assign(param parameter, v starlark.Value, to any) error {
	if param.none && v == starlark.None {
		return nil
	}
	if err := assign(v, to); err != nil {
		return prefixed(param.name, err)
	}
	return nil
}

// assign stores an argument. A path handle is text.
func assign(v starlark.Value, to any) error {
	switch to := to.(type) {
	case *starlark.Value:
		*to = v
		return nil
	case *string:
		text, ok := asText(v)
		if !ok {
			return want("text", v)
		}
		*to = text
	case *[]byte:
		if b, ok := v.(starlark.Bytes); ok {
			*to = []byte(b)
			return nil
		}
		text, ok := asText(v)
		if !ok {
			return want("text", v)
		}
		*to = []byte(text)
	case *bool:
		b, ok := v.(starlark.Bool)
		if !ok {
			return want("True or False", v)
		}
		*to = bool(b)
	case *int:
		return assignInt(v, to)
	case *int64:
		return assignInt(v, to)
	case *plan.Mode:
		return assignMode(v, to)
	case *time.Duration:
		return assignSeconds(v, to)
	default:
		panic(fmt.Sprintf("cannot assign to %T", to))
	}
	return nil
}

func assignInt(v starlark.Value, to any) error {
	if _, ok := v.(starlark.Int); !ok {
		return want("int", v)
	}
	return starlark.AsInt(v, to)
}

// assignMode takes the twelve permission bits. Decimal 644 is no mode that
// anybody means.
func assignMode(v starlark.Value, to *plan.Mode) error {
	var mode int
	if err := assignInt(v, &mode); err != nil {
		return err
	}
	if mode < 0 || mode > 0o7777 {
		return fmt.Errorf("%d is no mode: want 0 to 0o7777", mode)
	}
	if decimal := strconv.Itoa(mode); mode > 0o777 && len(decimal) == 3 && strings.Trim(decimal, "01234567") == "" {
		return hinted("write 0o"+decimal, "mode %d is decimal: it means 0o%o", mode, mode)
	}
	*to = plan.Mode(mode)
	return nil
}

// maxSeconds is a hundred years: more is a mistake.
const maxSeconds = 100 * 366 * 24 * 3600

// assignSeconds takes a duration above zero.
func assignSeconds(v starlark.Value, to *time.Duration) error {
	seconds, ok := starlark.AsFloat(v)
	if !ok {
		return want("seconds", v)
	}
	if !(seconds > 0 && seconds <= maxSeconds) {
		return fmt.Errorf("want more than 0 and at most %d seconds, got %s", maxSeconds, v)
	}
	*to = time.Duration(seconds * float64(time.Second))
	return nil
}

// want is the error of an argument of the wrong type.
func want(what string, got starlark.Value) error {
	return fmt.Errorf("want %s, got %s", what, describe(got))
}

// describe shows a value briefly: its type, and itself when it is short. No
// text is shown, since it may be secret.
func describe(v starlark.Value) string {
	switch v := v.(type) {
	case starlark.NoneType:
		return "None"
	case starlark.Bool, starlark.Float:
		return v.Type() + " " + v.String()
	case starlark.Int:
		if text := v.String(); len(text) < 24 {
			return "int " + text
		}
	}
	return v.Type()
}

// asText returns the text that a string or a path handle stands for.
func asText(v starlark.Value) (string, bool) {
	switch v := v.(type) {
	case starlark.String:
		return string(v), true
	case *Path:
		return v.abs, true
	}
	return "", false
}

// items returns the elements of a list or tuple. None is an empty one.
func items(v starlark.Value) ([]starlark.Value, bool) {
	switch v := v.(type) {
	case nil, starlark.NoneType:
		return nil, true
	case *starlark.List:
		all := make([]starlark.Value, v.Len())
		for i := range all {
			all[i] = v.Index(i)
		}
		return all, true
	case starlark.Tuple:
		return v, true
	}
	return nil, false
}

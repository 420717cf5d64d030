package builtins

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
	"instar/starlark/interp"
)

// parameters is what a session knows about the profile's parameters.
type parameters struct {
	declared map[string]int // name: index in plan.Params
	problems []paramProblem
	closed   bool
	closedBy string
	closedAt plan.Pos
}

// paramProblem is something wrong with what was given.
type paramProblem struct {
	at   plan.Pos // zero for one that the profile does not have
	text string
}

// minSecret is the least number of characters in a secret: a shorter one
// could not be told from other text.
const minSecret = 8

// param(name, default=None, type=None, doc="", choices=None, min=None, max=None, pattern=None, required=False, secret=False)
//
// The value that the user gave, else the default. What is wrong with the
// values given is reported together, where the parameters close.
func param(c *call) (starlark.Value, error) {
	var a paramArgs
	if err := c.unpack(&a.name, &a.fallback, &a.kind, &a.doc, &a.choices, &a.min, &a.max, &a.pattern, &a.required, &a.secret); err != nil {
		return nil, err
	}
	at := c.at()
	if c.params.closed {
		return nil, hinted("move it up: parameters come first", "%q comes after %s at %s, where the parameters were complete", a.name, c.params.closedBy, c.params.closedAt)
	}
	if i, ok := c.params.declared[a.name]; ok {
		return nil, twice(fmt.Sprintf("parameter %q", a.name), declaration{what: "param", at: c.plan.Params[i].At}, declaration{what: "param", at: at})
	}
	p, err := a.compile()
	if err != nil {
		return nil, err
	}
	p.At = at
	c.params.declared[a.name] = len(c.plan.Params)
	c.plan.Params = append(c.plan.Params, p.Param)
	value := c.value(p)
	for _, choice := range p.choices {
		if text, _ := asText(choice); p.Secret && len([]rune(text)) >= minSecret {
			c.addSecret(text)
		}
	}
	if text, ok := value.(starlark.String); ok && p.Secret && text != "" {
		c.addSecret(string(text))
	}
	return value, nil
}

// paramArgs are the arguments as they came.
type paramArgs struct {
	name, kind, doc  string
	fallback         starlark.Value
	choices          starlark.Value
	min, max         starlark.Value
	pattern          string
	required, secret bool
}

// paramRule is a parameter with what its values are checked against.
type paramRule struct {
	plan.Param
	fallback starlark.Value // nil: none
	choices  []starlark.Value
	min, max starlark.Value
	pattern  *regexp.Regexp
}

var paramTypes = []string{"string", "int", "float", "bool", "list", "dict"}

var paramName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,99}$`)

// compile checks what the profile says about a parameter.
func (a *paramArgs) compile() (*paramRule, error) {
	if !paramName.MatchString(a.name) {
		return nil, hinted("a letter or _, then letters, digits and _ . -", "name: %q is not allowed", shorten(a.name))
	}
	if p, ok := a.fallback.(*Path); ok {
		a.fallback = starlark.String(p.abs)
	}
	if a.kind == "" {
		if err := a.guessType(); err != nil {
			return nil, err
		}
	}
	if !slices.Contains(paramTypes, a.kind) {
		return nil, hinted(didYouMean(a.kind, paramTypes), "type: %q is none of %s", a.kind, quoted(paramTypes))
	}
	p := &paramRule{Param: plan.Param{Name: a.name, Type: a.kind, Doc: a.doc, Pattern: a.pattern, Required: a.required, Secret: a.secret}}
	if a.secret && a.kind != "string" {
		return nil, fmt.Errorf("secret: a secret is a string, not a %s", a.kind)
	}
	if err := a.constraints(p); err != nil {
		return nil, err
	}
	return p, a.checkDefault(p)
}

// guessType takes the type of the default.
func (a *paramArgs) guessType() error {
	switch a.fallback.(type) {
	case nil, starlark.String:
		a.kind = "string"
	case starlark.Int, starlark.Float, starlark.Bool, *starlark.List, *starlark.Dict:
		a.kind = a.fallback.Type()
	case starlark.Tuple:
		a.kind = "list"
	default:
		return fmt.Errorf("default: a %s is no type that parameters have", a.fallback.Type())
	}
	return nil
}

// constraints checks choices, min, max and pattern.
func (a *paramArgs) constraints(p *paramRule) (err error) {
	if a.choices != nil {
		all, ok := items(a.choices)
		if !ok || len(all) == 0 {
			return prefixed("choices", want("a list of values", a.choices))
		}
		for _, choice := range all {
			choice, err := convert(choice, p.Type)
			if err != nil {
				return prefixed("choices", err)
			}
			plain, err := data(choice)
			if err != nil {
				return prefixed("choices", err)
			}
			p.choices = append(p.choices, choice)
			p.Choices = append(p.Choices, plain)
		}
	}
	if p.min, p.Min, err = a.bound("min", a.min); err != nil {
		return err
	}
	if p.max, p.Max, err = a.bound("max", a.max); err != nil {
		return err
	}
	if p.Min != nil && p.Max != nil && *p.Min > *p.Max {
		return fmt.Errorf("min is %s, above max, %s", a.min, a.max)
	}
	if a.pattern == "" {
		return nil
	}
	if a.kind != "string" {
		return fmt.Errorf("pattern: is for strings, and this is a %s", a.kind)
	}
	if p.pattern, err = regexp.Compile(a.pattern); err != nil {
		return prefixed("pattern", err)
	}
	return nil
}

func (a *paramArgs) bound(which string, v starlark.Value) (starlark.Value, *float64, error) {
	if v == nil {
		return nil, nil, nil
	}
	if a.kind != "int" && a.kind != "float" {
		return nil, nil, fmt.Errorf("%s: is for numbers, and this is a %s", which, a.kind)
	}
	f, ok := starlark.AsFloat(v)
	if !ok || math.IsNaN(f) {
		return nil, nil, prefixed(which, want("a number", v))
	}
	return v, &f, nil
}

// checkDefault makes sure that the default is a value the user could give.
func (a *paramArgs) checkDefault(p *paramRule) error {
	if isEmpty(a.fallback) {
		return nil
	}
	value, err := convert(a.fallback, a.kind)
	if err == nil {
		err = p.judge(value)
	}
	if err == nil {
		p.Default, err = data(value)
	}
	if err != nil {
		return prefixed("default", err)
	}
	p.fallback = value
	return nil
}

// isEmpty is the rule that an empty value is the same as none.
func isEmpty(v starlark.Value) bool {
	return v == nil || v == starlark.None || v == starlark.String("")
}

// value returns the value of a parameter: what was given if that is right,
// else the default, so that evaluation can go on to find all that is wrong.
func (s *Session) value(p *paramRule) starlark.Value {
	given, err := p.parse(s.in.Params[p.Name])
	if err == nil && given != nil {
		if err = p.judge(given); err == nil {
			return given
		}
	}
	switch {
	case err != nil:
		s.params.problems = append(s.params.problems, paramProblem{p.At, fmt.Sprintf("%s: %v", p.Name, err)})
	case p.fallback == nil && p.Required:
		s.params.problems = append(s.params.problems, paramProblem{p.At, p.Name + ": is required, and has no value"})
	}
	switch {
	case p.fallback != nil:
		return p.fallback
	case p.Type == "string":
		return starlark.String("")
	}
	return starlark.None
}

// judge checks a value against choices, min, max and pattern. A secret is not
// shown.
func (p *paramRule) judge(v starlark.Value) error {
	show := v.String()
	if p.Secret {
		show = "it"
		if text, _ := asText(v); len([]rune(text)) < minSecret {
			return fmt.Errorf("a secret must have at least %d characters", minSecret)
		}
	}
	show = shorten(show)
	if len(p.choices) > 0 && !p.isChoice(v) {
		if p.Secret {
			return fmt.Errorf("it is none of the %d values allowed", len(p.choices))
		}
		var all []string
		for _, choice := range p.choices {
			all = append(all, choice.String())
		}
		err := fmt.Sprintf("%s is none of %s", show, strings.Join(all, ", "))
		if best, ok := interp.Nearest(show, all); ok {
			err += "; did you mean " + best + "?"
		}
		return fmt.Errorf("%s", err)
	}
	if p.min != nil && less(v, p.min) {
		return fmt.Errorf("%s is below %s, the least allowed", show, p.min)
	}
	if p.max != nil && less(p.max, v) {
		return fmt.Errorf("%s is above %s, the most allowed", show, p.max)
	}
	if text, _ := asText(v); p.pattern != nil && !p.pattern.MatchString(text) {
		return fmt.Errorf("%s does not match %q", show, p.Pattern)
	}
	return nil
}

func (p *paramRule) isChoice(v starlark.Value) bool {
	return slices.ContainsFunc(p.choices, func(choice starlark.Value) bool {
		same, err := starlark.Equal(choice, v)
		return err == nil && same
	})
}

func less(x, y starlark.Value) bool {
	cmp, err := starlark.Compare(lessToken, x, y)
	return err == nil && cmp
}

// closeParams ends the part of the profile in which parameters are declared,
// and reports all that is wrong with them.
func (s *Session) closeParams() error {
	if s.params.closed {
		return nil
	}
	s.params.closed = true
	if s.in.ParamsOnly {
		return nil
	}
	problems := append(s.params.problems, s.unknownParams()...)
	if len(problems) == 0 {
		return nil
	}
	return paramsError(problems)
}

// unknownParams reports what was given for parameters that there are not.
func (s *Session) unknownParams() []paramProblem {
	var known []string
	for _, p := range s.plan.Params {
		known = append(known, p.Name)
	}
	var problems []paramProblem
	for _, name := range plan.SortedKeys(s.in.Params) {
		if _, ok := s.params.declared[name]; ok {
			continue
		}
		text := fmt.Sprintf("%s: the profile has no such parameter", shorten(name))
		if best, ok := interp.Nearest(name, known); ok {
			text += fmt.Sprintf("; did you mean %q?", best)
		} else if len(known) > 0 && len(known) <= 20 {
			text += "; it has " + strings.Join(known, ", ")
		}
		problems = append(problems, paramProblem{text: text})
	}
	return problems
}

// paramsError makes one error of all problems.
func paramsError(problems []paramProblem) error {
	e := &interp.Error{Caret: -1}
	if len(problems) == 1 {
		e.Msg = "parameter " + problems[0].text
		e.Pos = where(problems[0].at)
	} else {
		lines := []string{fmt.Sprintf("%d parameters are wrong:", len(problems))}
		for _, p := range problems {
			line := "  "
			if p.at.File != "" {
				line += p.at.String() + ": "
				if e.Pos.File == "" {
					e.Pos = where(p.at)
				}
			}
			lines = append(lines, line+p.text)
		}
		e.Msg = strings.Join(lines, "\n")
	}
	return e
}

// data returns a parameter's value as plain data, with maps.
func data(v starlark.Value) (any, error) {
	plain, err := plain(v)
	if err == nil {
		err = notUTF8(plain)
	}
	return maps(plain), err
}

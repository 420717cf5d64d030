package builtins

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	gotemplate "text/template"
	"text/template/parse"

	"instar/runtime/plan"
	"instar/starlark/interp"
)

// source is a template, parsed, whose every printing action refuses what is
// missing or None.
type source struct {
	name  string // canonical name of its file, or ""
	label string // "template my.cnf.tmpl"
	tmpl  *gotemplate.Template
	// straight is what a template of texts and variables alone consists of.
	straight    []segment
	names, vars []string // of the call that renders it; kept for their memory
}

// maxRendered bounds what a template makes, in bytes.
const maxRendered = 64 << 20

// printed is the name of the function that every printed value passes
// through.
const printed = "instar_printed"

// newSource parses a template. Its name is "" when it was given as text.
func newSource(name, body string) (*source, error) {
	s := &source{name: name, label: "template " + name}
	if name == "" {
		s.label = "template text"
	}
	var err error
	s.tmpl, err = gotemplate.New("template").Option("missingkey=error").Funcs(templateFuncs).Parse(body)
	if err != nil {
		return nil, s.explain(err, nil)
	}
	for _, t := range s.tmpl.Templates() {
		if t.Tree != nil {
			checkPrinted(t.Tree.Root)
		}
	}
	if s.tmpl.Tree != nil {
		s.straight = straighten(s.tmpl.Root)
	}
	return s, nil
}

// render executes the template.
func (s *source) render(vars map[string]any) ([]byte, error) {
	if vars == nil {
		vars = map[string]any{}
	}
	var out bounded
	if err := s.tmpl.Execute(&out, vars); err != nil {
		return nil, s.explain(err, vars)
	}
	return out.Bytes(), nil
}

// bounded is a buffer with a limit.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxRendered {
		return 0, fmt.Errorf("makes more than %d MiB", maxRendered>>20)
	}
	return b.Buffer.Write(p)
}

// checkPrinted puts the function printed at the end of every pipeline whose
// value is printed.
func checkPrinted(node parse.Node) {
	switch n := node.(type) {
	case *parse.ListNode:
		if n == nil {
			return
		}
		for _, child := range n.Nodes {
			checkPrinted(child)
		}
	case *parse.ActionNode:
		if len(n.Pipe.Decl) == 0 {
			shown := n.Pipe.String()
			n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{NodeType: parse.NodeCommand, Pos: n.Pos, Args: []parse.Node{
				parse.NewIdentifier(printed).SetPos(n.Pos),
				&parse.StringNode{NodeType: parse.NodeString, Pos: n.Pos, Text: shown},
			}})
		}
	case *parse.IfNode:
		checkBranch(&n.BranchNode)
	case *parse.RangeNode:
		checkBranch(&n.BranchNode)
	case *parse.WithNode:
		checkBranch(&n.BranchNode)
	}
}

func checkBranch(n *parse.BranchNode) {
	checkPrinted(n.List)
	if n.ElseList != nil {
		checkPrinted(n.ElseList)
	}
}

// errNone is the error of a printed value that is missing or None.
var errNone = errors.New("the value is None")

// templateFuncs replaces those of Go's functions that print what is missing
// as something else.
var templateFuncs = gotemplate.FuncMap{
	printed:    printable,
	"index":    indexValue,
	"print":    func(args ...reflect.Value) (string, error) { return sprint(args, fmt.Sprint) },
	"println":  func(args ...reflect.Value) (string, error) { return sprint(args, fmt.Sprintln) },
	"html":     func(args ...reflect.Value) (string, error) { return escape(args, html.EscapeString) },
	"js":       func(args ...reflect.Value) (string, error) { return escape(args, gotemplate.JSEscapeString) },
	"urlquery": func(args ...reflect.Value) (string, error) { return escape(args, url.QueryEscape) },
	"printf":   sprintf,
}

// printable returns the value of a pipeline, or an error that shows the
// pipeline.
func printable(pipeline string, v reflect.Value) (any, error) {
	value, err := goValue(v)
	if err != nil {
		return nil, fmt.Errorf("{{%s}}: %w", pipeline, err)
	}
	return value, nil
}

// goValue returns the Go value in v, or an error when it is or holds None.
func goValue(v reflect.Value) (any, error) {
	for v.IsValid() && v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if !v.IsValid() {
		return nil, errNone
	}
	value := v.Interface()
	return value, holdsNone(value)
}

func holdsNone(value any) error {
	switch value := value.(type) {
	case nil:
		return errNone
	case []any:
		for _, item := range value {
			if err := holdsNone(item); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, item := range value {
			if err := holdsNone(item); err != nil {
				return err
			}
		}
	}
	return nil
}

func goValues(args []reflect.Value) ([]any, error) {
	values := make([]any, len(args))
	for i, arg := range args {
		value, err := goValue(arg)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		values[i] = value
	}
	return values, nil
}

func sprint(args []reflect.Value, print func(...any) string) (string, error) {
	values, err := goValues(args)
	return print(values...), err
}

func escape(args []reflect.Value, with func(string) string) (string, error) {
	text, err := sprint(args, fmt.Sprint)
	return with(text), err
}

// sprintf refuses a format that does not fit the values, which Go would show
// in the text.
func sprintf(format string, args ...reflect.Value) (string, error) {
	values, err := goValues(args)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf(format, values...)
	if bad := strings.Count(text, "%!"); bad > 0 {
		for _, value := range values {
			bad -= strings.Count(fmt.Sprint(value), "%!")
		}
		bad -= strings.Count(format, "%%!")
		if bad > 0 {
			return "", fmt.Errorf("the format %q does not fit its values", format)
		}
	}
	return text, nil
}

// indexValue is Go's index, but for what is missing.
func indexValue(item reflect.Value, keys ...reflect.Value) (reflect.Value, error) {
	for _, key := range keys {
		value, err := goItem(item)
		if err != nil {
			return reflect.Value{}, err
		}
		at, err := goValue(key)
		if err != nil {
			return reflect.Value{}, fmt.Errorf("index: %w", err)
		}
		next, err := indexOne(value, at)
		if err != nil {
			return reflect.Value{}, err
		}
		item = reflect.ValueOf(next)
	}
	return item, nil
}

// goItem returns what is to be indexed.
func goItem(v reflect.Value) (any, error) {
	for v.IsValid() && v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if !v.IsValid() {
		return nil, errNone
	}
	return v.Interface(), nil
}

func indexOne(item, key any) (any, error) {
	switch item := item.(type) {
	case map[string]any:
		name, ok := key.(string)
		if !ok {
			return nil, fmt.Errorf("a dict is indexed by text, not by %v", key)
		}
		value, ok := item[name]
		if !ok {
			return nil, fmt.Errorf("map has no entry for key %q", name)
		}
		return value, nil
	case []any:
		i, ok := asIndex(key)
		if !ok || i < 0 || i >= int64(len(item)) {
			return nil, fmt.Errorf("a list of %d items has none at %v", len(item), key)
		}
		return item[i], nil
	case string:
		i, ok := asIndex(key)
		if !ok || i < 0 || i >= int64(len(item)) {
			return nil, fmt.Errorf("a text of %d bytes has none at %v", len(item), key)
		}
		return item[i], nil
	}
	return nil, fmt.Errorf("cannot index a value of type %T", item)
}

func asIndex(key any) (int64, bool) {
	switch key := key.(type) {
	case int64:
		return key, true
	case int:
		return int64(key), true
	}
	return 0, false
}

// goNumbers turns the numbers of plain data into those of templates.
func goNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil && strings.ContainsAny(v.String(), ".e") {
			return f
		}
		return v.String()
	case []any:
		for i := range v {
			v[i] = goNumbers(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = goNumbers(v[key])
		}
	}
	return v
}

var (
	templateError = regexp.MustCompile(`(?s)^template: ?template:(\d+)(?::(\d+))?: (.*)$`)
	executing     = regexp.MustCompile(`(?s)^executing "[^"]*" at <(.*?)>: (.*)$`)
	callFailed    = regexp.MustCompile(`(?s)^error calling (\S+): (.*)$`)
	noEntry       = regexp.MustCompile(`map has no entry for key "(.*)"$`)
	noField       = regexp.MustCompile(`nil pointer evaluating interface \{\}\.(\S+)$|nil data; no entry for key "(.*)"$`)
)

// explain turns an error of text/template into one that names the template's
// file and line, what it tried, and a near miss.
func (s *source) explain(err error, vars map[string]any) error {
	e := &interp.Error{Msg: err.Error()}
	e.Pos.File = s.name
	if m := templateError.FindStringSubmatch(e.Msg); m != nil {
		line, _ := strconv.Atoi(m[1])
		col, _ := strconv.Atoi(m[2])
		e.Pos.Line, e.Msg = int32(line), m[3]
		if m[2] != "" {
			e.Pos.Col = int32(col) + 1
		}
	}
	expression := ""
	if m := executing.FindStringSubmatch(e.Msg); m != nil {
		expression, e.Msg = m[1], m[2]
	}
	if m := callFailed.FindStringSubmatch(e.Msg); m != nil {
		e.Msg = m[2]
		if m[1] != printed {
			e.Msg = m[1] + ": " + e.Msg
		}
	}
	e.Msg, e.Hint = missing(e.Msg, vars)
	if expression != "" && !strings.HasPrefix(expression, printed) {
		e.Msg = "{{" + expression + "}}: " + e.Msg
	}
	if s.name != "" {
		return &templateProblem{e}
	}
	return &problem{msg: fmt.Sprintf("text, line %d: %s", e.Pos.Line, e.Msg), hint: e.Hint}
}

// missing rewords what Go says about a variable that there is not.
func missing(msg string, vars map[string]any) (reworded, hint string) {
	m := noEntry.FindStringSubmatch(msg)
	if m == nil {
		if m = noField.FindStringSubmatch(msg); m != nil {
			return fmt.Sprintf("the value is None, which has no %q", m[1]+m[2]), ""
		}
		return msg, ""
	}
	names := slices.Compact(slices.Sorted(slices.Values(allKeys(vars, nil))))
	hint = didYouMean(m[1], names)
	if known := plan.SortedKeys(vars); hint == "" && len(known) > 0 && len(known) <= 20 {
		hint = "the variables are " + strings.Join(known, ", ")
	}
	return fmt.Sprintf("there is no variable %q", m[1]), hint
}

func allKeys(v any, keys []string) []string {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			keys = allKeys(value, append(keys, key))
		}
	case []any:
		for _, item := range v {
			keys = allKeys(item, keys)
		}
	}
	return keys
}

// templateProblem is an error at a line of a template's file.
type templateProblem struct{ e *interp.Error }

func (p *templateProblem) Error() string       { return p.e.Msg }
func (p *templateProblem) Hint() string        { return p.e.Hint }
func (p *templateProblem) At() interp.Position { return p.e.Pos }

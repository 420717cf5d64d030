package builtins

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"

	"github.com/BurntSushi/toml"
	"go.starlark.net/starlark"
	"go.yaml.in/yaml/v3"
)

// yaml.encode(value)
//
// A value in YAML, dicts in their own order. Text that some version of YAML
// would take for something else is quoted.
func yamlEncode(c *call) (starlark.Value, error) {
	var value starlark.Value
	if err := c.unpack(&value); err != nil {
		return nil, err
	}
	data, err := plain(value)
	if err == nil {
		err = notUTF8(data)
	}
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(yamlNode(data)), enc.Close()); err != nil {
		return nil, err
	}
	return starlark.String(buf.String()), nil
}

func yamlNode(v any) *yaml.Node {
	scalar := func(tag, text string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text}
	}
	switch v := v.(type) {
	case nil:
		return scalar("!!null", "null")
	case bool:
		return scalar("!!bool", fmt.Sprint(v))
	case json.Number:
		return scalar("", v.String())
	case string:
		return yamlText(v)
	case []any:
		node := &yaml.Node{Kind: yaml.SequenceNode}
		if len(v) == 0 {
			node.Style = yaml.FlowStyle
		}
		for _, item := range v {
			node.Content = append(node.Content, yamlNode(item))
		}
		return node
	case []pair:
		node := &yaml.Node{Kind: yaml.MappingNode}
		if len(v) == 0 {
			node.Style = yaml.FlowStyle
		}
		for _, p := range v {
			node.Content = append(node.Content, yamlText(p.key), yamlNode(p.value))
		}
		return node
	}
	panic(fmt.Sprintf("yaml: %T", v))
}

// yamlBare is text that means itself in every version of YAML, apart from
// the words in yamlWords.
var yamlBare = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./+-]*( [A-Za-z0-9_./+-]+)*$`)

var yamlWords = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|true|false|null)$`)

func yamlText(text string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	lines := strings.TrimSuffix(text, "\n")
	switch {
	case yamlBare.MatchString(text) && !yamlWords.MatchString(text):
	case lines != "" && strings.Contains(lines, "\n") && yamlLiteral(lines):
		node.Style = yaml.LiteralStyle
	default:
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}

// yamlLiteral reports whether lines can be written as they are.
func yamlLiteral(lines string) bool {
	for line := range strings.SplitSeq(lines, "\n") {
		if line == "" || line[0] == ' ' || line[0] == '\t' || strings.ContainsFunc(line, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
			return false
		}
	}
	return true
}

// toml.encode(value)
//
// A dict in TOML, its keys sorted, as tables.
func tomlEncode(c *call) (starlark.Value, error) {
	var value starlark.Value
	if err := c.unpack(&value); err != nil {
		return nil, err
	}
	data, err := plain(value)
	if err == nil {
		err = notUTF8(data)
	}
	if err != nil {
		return nil, err
	}
	if _, ok := data.([]pair); !ok {
		return nil, want("a dict", value)
	}
	table, err := tomlValue(data)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	enc := toml.NewEncoder(&buf)
	enc.Indent = ""
	if err := enc.Encode(table); err != nil {
		return nil, err
	}
	return starlark.String(buf.String()), nil
}

func tomlValue(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, errors.New("TOML has no None")
	case json.Number:
		if strings.ContainsAny(v.String(), ".e") {
			return v.Float64()
		}
		n, err := v.Int64()
		if i, ok := new(big.Int).SetString(v.String(), 10); err != nil && ok {
			return nil, fmt.Errorf("%s: TOML has no ints of more than 64 bits", i)
		}
		return n, err
	case []any:
		all := make([]any, len(v))
		for i, item := range v {
			value, err := tomlValue(item)
			if err != nil {
				return nil, fmt.Errorf("item %d: %w", i+1, err)
			}
			all[i] = value
		}
		return all, nil
	case []pair:
		m := make(map[string]any, len(v))
		for _, p := range v {
			value, err := tomlValue(p.value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", shorten(p.key), err)
			}
			m[p.key] = value
		}
		return m, nil
	}
	return v, nil
}

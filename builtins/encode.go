package builtins

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"go.starlark.net/lib/json"
	"go.starlark.net/starlark"
)

// json: encode, encode_indent, decode, indent
//
// The module of Starlark itself, but that path handles may be keys of dicts,
// and that what contains itself is an error.
func jsonValue(*Session) starlark.Value {
	members := starlark.StringDict{}
	for name, member := range json.Module.Members {
		members[name] = member
	}
	for _, name := range []string{"encode", "encode_indent"} {
		original := members[name].(*starlark.Builtin)
		members[name] = starlark.NewBuiltin(original.Name(), func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			if len(args) == 1 {
				value, err := textKeys(args[0], 0)
				if err != nil {
					return nil, prefixed(original.Name(), err)
				}
				args = starlark.Tuple{value}
			}
			text, err := original.CallInternal(thread, args, kwargs)
			if text, ok := text.(starlark.String); ok && err == nil {
				return starlark.String(asJSON(string(text))), nil
			}
			return text, err
		})
	}
	return &namespace{"json", members}
}

// asJSON turns the escapes that the library takes from Go, and that JSON does not
// know, into those of JSON: a delete is \x7f there.
func asJSON(text string) string {
	if !strings.Contains(text, `\x`) {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		out.WriteByte(text[i])
		if text[i] != '\\' || i+1 == len(text) {
			continue
		}
		if i++; text[i] == 'x' {
			out.WriteString("u00")
		} else {
			out.WriteByte(text[i])
		}
	}
	return out.String()
}

// textKeys returns v with its path handles replaced by text where they are
// keys. It copies nothing else.
func textKeys(v starlark.Value, depth int) (starlark.Value, error) {
	if depth > maxDepth {
		return nil, errors.New("the value is nested too deeply, or contains itself")
	}
	switch v := v.(type) {
	case *starlark.Dict:
		dict := starlark.NewDict(v.Len())
		for _, item := range v.Items() {
			key := item[0]
			if p, ok := key.(*Path); ok {
				key = starlark.String(p.abs)
			}
			value, err := textKeys(item[1], depth+1)
			if err != nil {
				return nil, err
			}
			if err := dict.SetKey(key, value); err != nil {
				return nil, err
			}
		}
		return dict, nil
	case *starlark.List, starlark.Tuple:
		all, _ := items(v)
		list := make([]starlark.Value, len(all))
		for i, item := range all {
			value, err := textKeys(item, depth+1)
			if err != nil {
				return nil, err
			}
			list[i] = value
		}
		return starlark.NewList(list), nil
	}
	return v, nil
}

// base64.encode(text)
//
// The standard base64 of text or bytes, with padding.
func base64Encode(c *call) (starlark.Value, error) {
	var text []byte
	if err := c.unpack(&text); err != nil {
		return nil, err
	}
	return starlark.String(base64.StdEncoding.EncodeToString(text)), nil
}

// base64.decode(text)
//
// The text that standard base64 stands for. Line breaks in it are ignored.
func base64Decode(c *call) (starlark.Value, error) {
	var text string
	if err := c.unpack(&text); err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("text: is not base64")
	}
	return starlark.String(data), nil
}

// sha256(text)
//
// The SHA-256 of text or bytes, in hexadecimal digits.
func sha256Hex(c *call) (starlark.Value, error) {
	var text []byte
	if err := c.unpack(&text); err != nil {
		return nil, err
	}
	return starlark.String(answer(text, nil)), nil
}

// ini.encode(value)
//
// A dict of dicts as an INI file: sections with their keys. Keys outside of
// sections come first, and a list is its key repeated. What would not be read
// back as it was, is an error.
func iniEncode(c *call) (starlark.Value, error) {
	var value starlark.Value
	if err := c.unpack(&value); err != nil {
		return nil, err
	}
	data, err := plain(value)
	if err != nil {
		return nil, err
	}
	sections, ok := data.([]pair)
	if !ok {
		return nil, want("a dict of dicts", value)
	}
	var b strings.Builder
	for _, p := range sections {
		if _, ok := p.value.([]pair); !ok {
			if err := iniKey(&b, p); err != nil {
				return nil, err
			}
		}
	}
	for _, section := range sections {
		keys, ok := section.value.([]pair)
		if !ok {
			continue
		}
		if section.key == "" || strings.ContainsAny(section.key, "[]\r\n") || strings.TrimSpace(section.key) != section.key {
			return nil, fmt.Errorf("%q is no name of a section", section.key)
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("[" + section.key + "]\n")
		for _, p := range keys {
			if err := iniKey(&b, p); err != nil {
				return nil, prefixed("["+section.key+"]", err)
			}
		}
	}
	return starlark.String(b.String()), nil
}

// iniKey writes a key with its value, or with each of its values.
func iniKey(b *strings.Builder, p pair) error {
	if p.key == "" || strings.ContainsAny(p.key, "=:\r\n") || strings.ContainsAny(p.key[:1], "[#;") || strings.TrimSpace(p.key) != p.key {
		return fmt.Errorf("%q is no name of a key", p.key)
	}
	values, ok := p.value.([]any)
	if !ok {
		values = []any{p.value}
	}
	for _, value := range values {
		var text string
		switch value := value.(type) {
		case string:
			text = value
		case nil:
			return fmt.Errorf("%s: is None", p.key)
		case []any, []pair:
			return fmt.Errorf("%s: want text, a number, True or False, or a list of them", p.key)
		default:
			text = fmt.Sprint(value)
		}
		if strings.ContainsAny(text, "\r\n\x00") {
			return fmt.Errorf("%s: a value cannot have several lines", p.key)
		}
		if strings.TrimSpace(text) != text {
			return fmt.Errorf("%s: a value cannot begin or end with a blank", p.key)
		}
		b.WriteString(strings.TrimRight(p.key+" = "+text, " ") + "\n")
	}
	return nil
}

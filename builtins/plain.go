package builtins

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"go.starlark.net/starlark"
)

// pair is one item of a dict, as plain data.
type pair struct {
	key   string
	value any
}

// plain returns a value as plain data: nil, bool, string, json.Number for
// numbers (its text tells an int from a float), []any, and []pair for dicts
// and structs, in their own order. Path handles are text. What has no plain
// form is an error, and so is what contains itself.
func plain(v starlark.Value) (any, error) { return plainAt(v, 0) }

func plainAt(v starlark.Value, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("is nested too deeply, or contains itself")
	}
	switch v := v.(type) {
	case nil, starlark.NoneType:
		return nil, nil
	case starlark.Bool:
		return bool(v), nil
	case starlark.Int:
		return json.Number(v.String()), nil
	case starlark.Float:
		f := float64(v)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("%s is no number that can be written", v)
		}
		return json.Number(formatFloat(f)), nil
	case starlark.String:
		return string(v), nil
	case starlark.Bytes:
		return string(v), nil
	case *Path:
		return v.abs, nil
	case starlark.IterableMapping:
		return plainDict(v, depth)
	case starlark.Iterable:
		return plainList(v, depth)
	case *starlark.Builtin, *starlark.Function:
	case starlark.HasAttrs:
		return plainStruct(v, depth)
	}
	return nil, fmt.Errorf("a %s has no such form", v.Type())
}

// formatFloat keeps a sign of being no int.
func formatFloat(f float64) string {
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if !bytes.ContainsAny([]byte(text), ".e") {
		text += ".0"
	}
	return text
}

func plainDict(v starlark.IterableMapping, depth int) (any, error) {
	all := []pair{}
	for _, item := range v.Items() {
		key, ok := asText(item[0])
		if !ok {
			return nil, fmt.Errorf("the key %s is not text", item[0])
		}
		value, err := plainAt(item[1], depth+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", shorten(key), err)
		}
		all = append(all, pair{key, value})
	}
	return all, nil
}

func plainList(v starlark.Iterable, depth int) (any, error) {
	all := []any{}
	iter := v.Iterate()
	defer iter.Done()
	var item starlark.Value
	for iter.Next(&item) {
		value, err := plainAt(item, depth+1)
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", len(all)+1, err)
		}
		all = append(all, value)
	}
	return all, nil
}

func plainStruct(v starlark.HasAttrs, depth int) (any, error) {
	all := []pair{}
	for _, name := range v.AttrNames() {
		attr, err := v.Attr(name)
		if err != nil {
			return nil, err
		}
		value, err := plainAt(attr, depth+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, pair{name, value})
	}
	return all, nil
}

// maps returns plain data with maps for the dicts.
func maps(v any) any {
	switch v := v.(type) {
	case []pair:
		m := make(map[string]any, len(v))
		for _, p := range v {
			m[p.key] = maps(p.value)
		}
		return m
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = maps(v[i])
		}
		return all
	}
	return v
}

// notUTF8 returns an error when plain data holds text that JSON would change.
func notUTF8(v any) error {
	switch v := v.(type) {
	case string:
		if !utf8.ValidString(v) {
			return errors.New("holds text that is not UTF-8")
		}
	case []any:
		for _, item := range v {
			if err := notUTF8(item); err != nil {
				return err
			}
		}
	case []pair:
		for _, p := range v {
			if err := errors.Join(notUTF8(p.key), notUTF8(p.value)); err != nil {
				return err
			}
		}
	}
	return nil
}

package builtins

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

const lessToken = syntax.LT

// parse returns the value that was given for a parameter, or nil when it is
// empty or absent. Errors do not show what was given for a secret.
func (p *paramRule) parse(given Given) (starlark.Value, error) {
	var v starlark.Value
	var err error
	switch {
	case len(given.Text) > 0:
		v, err = p.parseText(string(given.Text))
	case len(given.Value) > 0:
		if v, err = fromJSON(given.Value); err == nil && !isEmpty(v) {
			v, err = convert(v, p.Type)
		}
	}
	if isEmpty(v) {
		v = nil
	}
	return v, err
}

var bools = map[string]bool{
	"true": true, "yes": true, "on": true, "1": true,
	"false": false, "no": false, "off": false, "0": false,
}

// parseText parses text as the parameter's type asks.
func (p *paramRule) parseText(text string) (starlark.Value, error) {
	switch p.Type {
	case "string":
		return starlark.String(text), nil
	case "bool":
		if b, ok := bools[strings.ToLower(text)]; ok {
			return starlark.Bool(b), nil
		}
		return nil, fmt.Errorf("%q is neither true nor false", shorten(text))
	case "int":
		return parseInt(text)
	case "float":
		return parseFloat(text)
	case "list":
		if !strings.HasPrefix(strings.TrimSpace(text), "[") {
			return p.parseItems(text)
		}
	}
	v, err := fromJSON([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("want a %s in JSON: %w", p.Type, err)
	}
	return convert(v, p.Type)
}

func parseInt(text string) (starlark.Value, error) {
	i, ok := new(big.Int).SetString(text, 10)
	if !ok || len(text) > 1000 {
		return nil, fmt.Errorf("%q is not an int", shorten(text))
	}
	return starlark.MakeBigInt(i), nil
}

func parseFloat(text string) (starlark.Value, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || strings.ContainsAny(text, "_xX") {
		return nil, fmt.Errorf("%q is not a number", shorten(text))
	}
	return starlark.Float(f), nil
}

// parseItems takes a list apart at its commas. If all items of the default
// are of one simple type, so are these.
func (p *paramRule) parseItems(text string) (starlark.Value, error) {
	item := paramRule{}
	item.Type = "string"
	if list, ok := p.fallback.(*starlark.List); ok && list.Len() > 0 {
		item.Type = list.Index(0).Type()
		for i := range list.Len() {
			if list.Index(i).Type() != item.Type {
				item.Type = "string"
			}
		}
		if item.Type != "int" && item.Type != "float" && item.Type != "bool" {
			item.Type = "string"
		}
	}
	var all []starlark.Value
	for part := range strings.SplitSeq(text, ",") {
		v, err := item.parseText(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return starlark.NewList(all), nil
}

// convert returns v as a parameter of the given type, or an error. An int is
// a float where one is wanted, and the other way round when nothing is lost.
func convert(v starlark.Value, to string) (starlark.Value, error) {
	if p, ok := v.(*Path); ok {
		v = starlark.String(p.abs)
	}
	if v.Type() == to {
		return v, nil
	}
	switch v := v.(type) {
	case starlark.Int:
		if to == "float" {
			if f := v.Float(); !math.IsInf(float64(f), 0) {
				return f, nil
			}
		}
	case starlark.Float:
		if f := float64(v); to == "int" && f == math.Trunc(f) && !math.IsInf(f, 0) {
			return starlark.NumberToInt(v)
		}
	case starlark.Tuple:
		if to == "list" {
			return starlark.NewList(append([]starlark.Value(nil), v...)), nil
		}
	}
	article := "a"
	if to == "int" {
		article = "an"
	}
	return nil, fmt.Errorf("want %s %s, got %s", article, to, describe(v))
}

// maxDepth bounds how deep values nest that are converted.
const maxDepth = 200

// fromJSON returns the value that a JSON text stands for. Objects keep the
// order of their members.
func fromJSON(data []byte) (starlark.Value, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := readJSON(dec, 0)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it ends too early")
		}
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the value")
	}
	return v, nil
}

func readJSON(dec *json.Decoder, depth int) (starlark.Value, error) {
	if depth > maxDepth {
		return nil, errors.New("nested too deeply")
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '[' {
			return readArray(dec, depth)
		}
		return readObject(dec, depth)
	case json.Number:
		if strings.ContainsAny(t.String(), ".eE") {
			return parseFloat(t.String())
		}
		return parseInt(t.String())
	case string:
		return starlark.String(t), nil
	case bool:
		return starlark.Bool(t), nil
	}
	return starlark.None, nil
}

func readArray(dec *json.Decoder, depth int) (starlark.Value, error) {
	var all []starlark.Value
	for dec.More() {
		v, err := readJSON(dec, depth+1)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	_, err := dec.Token()
	return starlark.NewList(all), err
}

func readObject(dec *json.Decoder, depth int) (starlark.Value, error) {
	dict := starlark.NewDict(8)
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		v, err := readJSON(dec, depth+1)
		if err != nil {
			return nil, err
		}
		if err := dict.SetKey(starlark.String(key.(string)), v); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return dict, err
}

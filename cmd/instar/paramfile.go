package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"
)

// maxParams bounds a file of parameters, in bytes.
const maxParams = 16 << 20

// readParams reads the parameters that the file called name holds, or stdin
// when that is "-". The format follows from the extension; without one that is
// known it is found out: JSON begins with a brace, and what YAML takes for a
// mapping is YAML, else TOML. Values are those of JSON; numbers stay exact, and
// dates are texts.
func readParams(name string, stdin io.Reader) (map[string]any, error) {
	in := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--params: %w", err)
		}
		defer file.Close()
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, maxParams+1))
	if err != nil {
		return nil, fmt.Errorf("--params: %w", err)
	}
	if len(data) > maxParams {
		return nil, fmt.Errorf("--params %s: larger than 16 MiB", name)
	}
	values, err := parseParams(strings.ToLower(filepath.Ext(name)), bytes.TrimPrefix(data, []byte("\uFEFF")))
	if err != nil {
		return nil, fmt.Errorf("--params %s: %w", name, err)
	}
	return values, nil
}

func parseParams(extension string, data []byte) (map[string]any, error) {
	switch extension {
	case ".json":
		return parseJSON(data)
	case ".yaml", ".yml":
		return parseYAML(data)
	case ".toml":
		return parseTOML(data)
	}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return parseJSON(data)
	}
	values, err := parseYAML(data)
	if err == nil {
		return values, nil
	}
	if values, tomlErr := parseTOML(data); tomlErr == nil {
		return values, nil
	}
	return nil, fmt.Errorf("neither JSON nor TOML, and as YAML: %w", err)
}

func parseJSON(data []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var values map[string]any
	if err := dec.Decode(&values); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return nil, errNoObject
		}
		at := dec.InputOffset()
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			at = syntax.Offset - 1
		}
		return nil, fmt.Errorf("%w (%s)", err, place(data, at))
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one JSON value (%s)", place(data, dec.InputOffset()))
	}
	return values, nil
}

// place names the line of an offset.
func place(data []byte, offset int64) string {
	offset = max(0, min(offset, int64(len(data))))
	return fmt.Sprintf("line %d", 1+bytes.Count(data[:offset], []byte("\n")))
}

var errNoObject = errors.New("it must be an object (a mapping, a table) of parameters by name")

func parseYAML(data []byte) (map[string]any, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	if doc.Kind == 0 {
		return nil, nil // empty
	}
	datesAsTexts(&doc)
	var value any
	if err := doc.Decode(&value); err != nil {
		return nil, err
	}
	return object(value)
}

// datesAsTexts keeps what only looks like a date as it was written.
func datesAsTexts(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, c := range n.Content {
		datesAsTexts(c)
	}
}

func parseTOML(data []byte) (map[string]any, error) {
	var values map[string]any
	if err := toml.Unmarshal(data, &values); err != nil {
		var at toml.ParseError
		if errors.As(err, &at) {
			return nil, fmt.Errorf("line %d: %s", at.Position.Line, at.Message)
		}
		return nil, err
	}
	return object(values)
}

// object turns a decoded value into what JSON would have decoded to.
func object(value any) (map[string]any, error) {
	if value == nil {
		return nil, nil
	}
	tidy, err := jsonLike(value)
	if err != nil {
		return nil, err
	}
	if _, ok := tidy.(map[string]any); !ok {
		return nil, errNoObject
	}
	data, err := json.Marshal(tidy)
	if err != nil {
		return nil, err
	}
	return parseJSON(data)
}

// jsonLike replaces what JSON does not have: dates, and keys that are no texts.
func jsonLike(value any) (any, error) {
	switch v := value.(type) {
	case time.Time:
		return v.Format(dateFormat(v)), nil
	case map[string]any:
		for key, item := range v {
			tidy, err := jsonLike(item)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			v[key] = tidy
		}
		return v, nil
	case map[any]any:
		tidy := map[string]any{}
		for key, item := range v {
			text, ok := key.(string)
			if !ok {
				return nil, fmt.Errorf("the key %v is no text: put it in quotes", key)
			}
			value, err := jsonLike(item)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", text, err)
			}
			tidy[text] = value
		}
		return tidy, nil
	case []map[string]any:
		items := make([]any, len(v))
		for i, item := range v {
			items[i] = item
		}
		return jsonLike(items)
	case []any:
		for i, item := range v {
			tidy, err := jsonLike(item)
			if err != nil {
				return nil, err
			}
			v[i] = tidy
		}
		return v, nil
	}
	return value, nil
}

// dateFormat returns the form that a date of TOML had: its library marks those
// without an offset by the name of their zone.
func dateFormat(t time.Time) string {
	switch t.Location().String() {
	case "datetime-local":
		return "2006-01-02T15:04:05.999999999"
	case "date-local":
		return time.DateOnly
	case "time-local":
		return "15:04:05.999999999"
	}
	return time.RFC3339Nano
}

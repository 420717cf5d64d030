package secret

import (
	"encoding/json"
	"fmt"
)

// Walk returns a copy of a JSON-like value in which every text is masked, the
// keys of objects too. A number that is a secret becomes the mask. A value of
// another type than those of encoding/json is encoded and decoded first.
func (m *Masker) Walk(value any) any {
	if m.index() == nil {
		return value
	}
	return m.walk(value)
}

// Object is Walk for an object, of which the keys are masked too; never nil.
func (m *Masker) Object(object map[string]any) map[string]any {
	masked, ok := m.Walk(object).(map[string]any)
	if !ok || masked == nil {
		return map[string]any{}
	}
	return masked
}

func (m *Masker) walk(value any) any {
	switch v := value.(type) {
	case nil, bool:
		return v
	case string:
		return m.String(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = m.walk(v[i])
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for k, e := range v {
			object[m.String(k)] = m.walk(e)
		}
		return object
	case []string:
		list := make([]string, len(v))
		for i := range v {
			list[i] = m.String(v[i])
		}
		return list
	case map[string]string:
		object := make(map[string]string, len(v))
		for k, e := range v {
			object[m.String(k)] = m.String(e)
		}
		return object
	case int, int64, float64, json.Number:
		text := fmt.Sprint(v)
		if masked := m.String(text); masked != text {
			return masked
		}
		return v
	}
	return m.walkOther(value)
}

// walkOther walks what JSON makes of value.
func (m *Masker) walkOther(value any) any {
	var plain any
	data, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(data, &plain)
	}
	if err != nil {
		return m.String(fmt.Sprint(value))
	}
	return m.walk(plain)
}

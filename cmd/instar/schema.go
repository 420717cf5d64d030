package main

import "instar/runtime/plan"

// schemaDialect is the version of JSON Schema that schema follows.
const schemaDialect = "https://json-schema.org/draft/2020-12/schema"

// jsonTypes are the names that JSON Schema has for the types of parameters.
var jsonTypes = map[string]string{
	"string": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object",
}

// paramsSchema is the JSON schema of a file that --params takes.
type paramsSchema struct {
	Dialect    string                 `json:"$schema"`
	Title      string                 `json:"title"`
	Type       string                 `json:"type"`
	Properties map[string]paramSchema `json:"properties"`
	Required   []string               `json:"required,omitempty"`
	Additional bool                   `json:"additionalProperties"`
}

// paramSchema is the schema of one parameter's values. That null and "" stand
// for no value is left out: it says what values there are.
type paramSchema struct {
	Type        string   `json:"type"`
	Description string   `json:"description,omitempty"`
	Default     any      `json:"default,omitempty"`
	Enum        []any    `json:"enum,omitempty"`
	Minimum     *float64 `json:"minimum,omitempty"`
	Maximum     *float64 `json:"maximum,omitempty"`
	Pattern     string   `json:"pattern,omitempty"`
	MinLength   int      `json:"minLength,omitempty"`
	WriteOnly   bool     `json:"writeOnly,omitempty"` // a secret
}

// minSecret is the least number of characters in a secret parameter.
const minSecret = 8

// schema describes the parameters of a profile.
func schema(title string, params []plan.Param) paramsSchema {
	s := paramsSchema{Dialect: schemaDialect, Title: title, Type: "object", Properties: map[string]paramSchema{}}
	for _, p := range params {
		one := paramSchema{
			Type: jsonTypes[p.Type], Description: p.Doc, Default: p.Default, Enum: p.Choices,
			Minimum: p.Min, Maximum: p.Max, Pattern: p.Pattern,
		}
		if p.Secret {
			one.Default, one.MinLength, one.WriteOnly = nil, minSecret, true
		}
		s.Properties[p.Name] = one
		if p.Required && p.Default == nil {
			s.Required = append(s.Required, p.Name)
		}
	}
	return s
}

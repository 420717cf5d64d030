package builtins

import (
	"path"
	"strings"
	"testing"

	"go.starlark.net/starlark"
)

// FuzzParam: whatever text is given for a parameter, what comes of it is of the
// parameter's type, or nothing when it is empty, or an error; and it is the same
// when it is given as JSON.
func FuzzParam(f *testing.F) {
	for i, text := range []string{"text", "-12", "1e3", "Yes", "a, b", `{"a": [1, null, "x"]}`, `["\ud800", 1.5]`, "[1,2", "  ", "\xff"} {
		f.Add(byte(i), text)
	}
	f.Fuzz(func(t *testing.T, kind byte, text string) {
		rule := &paramRule{}
		rule.Type = paramTypes[int(kind)%len(paramTypes)]
		v, err := rule.parse(GivenText(text))
		if err != nil || v == nil {
			return
		}
		if v.Type() != rule.Type {
			t.Fatalf("%q for a %s is %s, a %s", text, rule.Type, v, v.Type())
		}
		data, err := starlark.Call(&starlark.Thread{}, jsonValue(nil).(*namespace).members["encode"], starlark.Tuple{v}, nil)
		if err != nil {
			return // what JSON has no form for
		}
		again, err := rule.parse(GivenJSON([]byte(data.(starlark.String))))
		if err != nil {
			t.Fatalf("%q is %s, and as JSON %s: %v", text, v, data, err)
		}
		if same, err := starlark.Equal(v, again); !same && strings.ToValidUTF8(text, "") == text {
			t.Fatalf("%q is %s, and as JSON %s, %v", text, v, again, err)
		}
	})
}

// FuzzPath: a path that is accepted stays below its folder, and is its own clean
// form.
func FuzzPath(f *testing.F) {
	for _, text := range []string{"a/b", "/a", "../a", "a/../..", "a//b/./c", ".", "", "a/../b/", "..a/b..", "a\x00b", "\xff", "a\\..\\b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rel, err := cleanPath(text)
		if err != nil || strings.HasPrefix(text, "/") {
			return
		}
		if abs := path.Join("/top/root", rel); abs != "/top/root" && !strings.HasPrefix(abs, "/top/root/") {
			t.Fatalf("%q is %q, which is %q", text, rel, abs)
		}
		if clean := path.Clean("/" + rel); rel != "" && clean != "/"+rel {
			t.Fatalf("%q is %q, and clean it would be %q", text, rel, clean)
		}
		if again, err := cleanPath(rel); rel != "" && (err != nil || again != rel) {
			t.Fatalf("%q is %q, which is %q, %v", text, rel, again, err)
		}
	})
}

package builtins

import (
	"fmt"
	"testing"

	"go.starlark.net/starlark"
	"pgregory.net/rapid"
)

// A template that is put together by hand is what text/template makes of it.
func TestRenderStraight(t *testing.T) {
	home := &base{dir: "/srv/web", what: "the instance's root"}
	value := rapid.OneOf(
		rapid.Map(rapid.String(), func(s string) starlark.Value { return starlark.String(s) }),
		rapid.Map(rapid.Int64(), func(n int64) starlark.Value { return starlark.MakeInt64(n) }),
		rapid.Map(rapid.Bool(), func(b bool) starlark.Value { return starlark.Bool(b) }),
		rapid.SampledFrom([]starlark.Value{home.handle("etc/x"), starlark.None, starlark.Float(1e21), starlark.MakeInt(1).Lsh(80),
			starlark.NewList([]starlark.Value{starlark.MakeInt(1), starlark.String("x")})}),
	)
	piece := rapid.OneOf(rapid.StringMatching(`[^{}]{0,8}`), rapid.SampledFrom([]string{
		"{{.a}}", "{{ .b }}", "{{- .c -}}", "{{/* no */}}", "{{.a.b}}", "{{.missing}}", `{{"x"}}`, "{{if .a}}x{{end}}", "{{.a | printf \"%v\"}}", "{{$x := .a}}{{$x}}",
	}))
	straight := 0
	rapid.Check(t, func(t *rapid.T) {
		body := ""
		for _, p := range rapid.SliceOfN(piece, 0, 6).Draw(t, "body") {
			body += p
		}
		src, err := newSource("", body)
		if err != nil {
			return
		}
		dict := starlark.NewDict(3)
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "no name"}), 0, 3, rapid.ID).Draw(t, "names") {
			if err := dict.SetKey(starlark.String(name), value.Draw(t, name)); err != nil {
				t.Fatal(err)
			}
		}
		got, ok := src.renderStraight(dict)
		if !ok {
			return
		}
		straight++
		data, err := templateVars(dict)
		if err != nil {
			t.Fatal(err)
		}
		want, err := src.render(data)
		if err != nil || string(got) != string(want) {
			t.Fatal(fmt.Sprintf("%q: got %q, want %q, %v", body, got, want, err))
		}
	})
	if straight == 0 {
		t.Error("not one was put together by hand")
	}
}

package docs_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The rules themselves: each source breaks one, or none.
func TestRules(t *testing.T) {
	const afero = "github.com/spf13/afero"
	source := func(name, text string) file {
		t.Helper()
		f, err := readFile(name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	// pkg is a documented package of one file.
	pkg := func(name string, imports ...string) file {
		t.Helper()
		folders := strings.Split(name, "/")
		text := fmt.Sprintf("// A comment.\npackage %s\n", folders[len(folders)-2])
		for _, imported := range imports {
			text += fmt.Sprintf("import %q\n", imported)
		}
		return source(name, text)
	}
	long := func(lines int) string { return strings.Repeat("\n", lines-2) + "// C.\npackage x\n" }

	for _, test := range []struct {
		name  string
		files []file
		want  []string // the beginnings of what is reported
	}{
		{"nothing", nil, nil},
		{"runtime may import runtime",
			[]file{pkg("runtime/engine/a.go", "instar/runtime/apply"), pkg("runtime/apply/a.go", "os", afero)}, nil},
		{"runtime never imports starlark",
			[]file{pkg("runtime/engine/a.go", "instar/starlark/eval")},
			[]string{"instar/runtime/engine imports instar/starlark/eval: the engine"}},
		{"nor the builtins",
			[]file{pkg("runtime/state/a.go", "fmt", "instar/builtins")},
			[]string{"instar/runtime/state imports instar/builtins: the engine"}},
		{"nor through another package",
			[]file{pkg("runtime/engine/a.go", "instar/profiles"), pkg("profiles/a.go", "instar/starlark/eval")},
			[]string{"instar/runtime/engine imports instar/profiles imports instar/starlark/eval: the engine"}},
		{"a name that merely begins alike",
			[]file{pkg("runtimes/a.go", "instar/builtins"), pkg("runtime/state/a.go", "instar/builtinsets")}, nil},
		{"tests may import what they like",
			[]file{source("runtime/state/a_test.go", "package state\nimport \"instar/builtins\"\n")}, nil},
		{"whatever system a file is for",
			[]file{pkg("runtime/state/a_windows.go", "instar/builtins")},
			[]string{"instar/runtime/state imports instar/builtins: the engine"}},

		{"plan imports the standard library", []file{pkg("runtime/plan/a.go", "fmt", "encoding/json")}, nil},
		{"plan imports nothing of ours",
			[]file{pkg("runtime/plan/a.go", "instar/runtime/state"), pkg("runtime/state/a.go")},
			[]string{"instar/runtime/plan imports instar/runtime/state: a plan"}},
		{"plan imports no other module",
			[]file{pkg("runtime/plan/a.go", "golang.org/x/sys/unix")},
			[]string{"instar/runtime/plan imports golang.org/x/sys/unix: a plan"}},

		{"afero where it belongs",
			[]file{pkg("runtime/fsys/a.go", afero), pkg("cmd/instar/a.go", afero+"/mem"), pkg("runtime/engine/a.go", afero)}, nil},
		{"users of fsys do not have to know",
			[]file{pkg("runtime/node/a.go", "instar/runtime/fsys"), pkg("runtime/fsys/a.go", afero)}, nil},
		{"afero elsewhere",
			[]file{pkg("runtime/promise/a.go", afero)},
			[]string{"instar/runtime/promise imports github.com/spf13/afero: comparison"}},
		{"afero's folders elsewhere",
			[]file{pkg("profiles/a.go", afero+"/mem")},
			[]string{"instar/profiles imports github.com/spf13/afero/mem: comparison"}},
		{"a builtin that writes",
			[]file{pkg("builtins/a.go", "instar/runtime/apply", afero)},
			[]string{"instar/builtins imports github.com/spf13/afero: a builtin", "instar/builtins imports github.com/spf13/afero: comparison",
				"instar/builtins imports instar/runtime/apply: a builtin"}},

		{"service managers where they belong",
			[]file{pkg("runtime/service/native/a.go", "github.com/kardianos/service", "github.com/coreos/go-systemd/v22/dbus")}, nil},
		{"service managers elsewhere",
			[]file{pkg("runtime/service/a.go", "github.com/kardianos/service"), pkg("cmd/instar/a.go", "github.com/godbus/dbus/v5")},
			[]string{"instar/cmd/instar imports github.com/godbus/dbus/v5: service", "instar/runtime/service imports github.com/kardianos/service: service"}},

		{"starlark where it belongs",
			[]file{pkg("starlark/interp/a.go", "go.starlark.net/starlark"), pkg("builtins/a.go", "go.starlark.net/starlark")}, nil},
		{"starlark elsewhere",
			[]file{pkg("cmd/instar/a.go", "go.starlark.net/syntax")},
			[]string{"instar/cmd/instar imports go.starlark.net/syntax: the language"}},
		{"an interpreter that knows the domain",
			[]file{pkg("starlark/interp/a.go", "instar/runtime/plan")},
			[]string{"instar/starlark/interp imports instar/runtime/plan: the interpreter"}},
		{"Go's own runtime is another",
			[]file{pkg("starlark/interp/a.go", "runtime", "runtime/debug")}, nil},

		{"vague folders", []file{pkg("runtime/util/a.go"), pkg("internal/state/a.go")},
			[]string{`internal/state: a package named "internal"`, `runtime/util: a package named "util"`}},
		{"a vague package in a good folder",
			[]file{source("runtime/paths/a.go", "// C.\npackage helper\n")},
			[]string{`runtime/paths: a package named "helper"`}},
		{"a vague package of tests",
			[]file{source("runtime/paths/a_test.go", "package common_test\n")},
			[]string{`runtime/paths: a package named "common"`}},

		{"as long as allowed", []file{source("x/a.go", long(maxLines))}, nil},
		{"too long", []file{source("x/a.go", long(maxLines+1))}, []string{"x/a.go: 601 lines"}},
		{"too long, a test", []file{source("x/a_test.go", long(maxLines+1))}, []string{"x/a_test.go: 601 lines"}},
		{"too long, but generated",
			[]file{source("x/a.go", "// Code generated by x. DO NOT EDIT.\n\n"+long(maxLines))}, nil},

		{"one comment is enough",
			[]file{source("x/a.go", "package x\n"), source("x/b.go", "// Package x is.\npackage x\n")}, nil},
		{"no package comment",
			[]file{source("x/a.go", "// A licence.\n\npackage x\n"), source("x/b.go", "//go:build linux\n\npackage x\n")},
			[]string{"x: no package comment"}},
		{"a comment in a test is none",
			[]file{source("x/a.go", "package x\n"), source("x/a_test.go", "// Package x is.\npackage x\n")},
			[]string{"x: no package comment"}},
		{"a folder with tests only needs none", []file{source("x/a_test.go", "package x_test\n")}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := check(test.files, rules)
			if !slices.EqualFunc(got, test.want, strings.HasPrefix) {
				t.Errorf("reported:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(test.want, "\n\t"))
			}
		})
	}
}

func TestUndecided(t *testing.T) {
	files := []file{{path: "x/a_test.go", imports: []string{
		"net/http", "instar/runtime/plan", "go.starlark.net/starlark", "github.com/spf13/aferox", "gopkg.in/yaml.v3",
	}}}
	got := undecided(files, "**Module** `go.starlark.net`, `github.com/spf13/afero`; not gopkg.in/yaml.v3")
	want := []string{
		"x/a_test.go imports github.com/spf13/aferox, which no page of docs/decisions names",
		"x/a_test.go imports gopkg.in/yaml.v3, which no page of docs/decisions names",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

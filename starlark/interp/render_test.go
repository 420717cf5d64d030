package interp_test

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.starlark.net/starlark"

	"instar/starlark/interp"
)

var update = flag.Bool("update", false, "rewrite what is wanted in testdata")

// parseArchive splits a txtar archive: what precedes the file want, the
// files there, and want. (The module's own txtar needs golang.org/x/tools.)
func parseArchive(text string) (before string, profile files, want string) {
	before, want, _ = strings.Cut(text, "-- want --\n")
	profile = files{}
	name := ""
	for line := range strings.Lines(before) {
		if rest, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(rest, " --\n") {
			name = strings.TrimSuffix(rest, " --\n")
		} else if name != "" {
			profile[name] += line
		}
	}
	return before, profile, want
}

// options returns options that read the files of a profile, with some
// builtins of a domain.
func options(profile files) interp.Options {
	nothing := func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var path string
		mode := 0
		err := interp.UnpackArgs(b.Name(), args, kwargs, "path", &path, "mode?", &mode)
		return starlark.None, err
	}
	opts := interp.Options{
		Read:        profile.read,
		Predeclared: starlark.StringDict{},
		Suggest: func(kind, _ string) []string {
			if kind != "file" {
				return nil
			}
			return slices.Collect(maps.Keys(profile))
		},
	}
	for _, name := range []string{"mkdir", "mkdir_once", "file"} {
		opts.Predeclared[name] = starlark.NewBuiltin(name, nothing)
	}
	return opts
}

// Each archive in testdata/errors is a profile that fails and how that is
// shown.
func TestRender(t *testing.T) {
	paths, err := filepath.Glob("testdata/errors/*.txtar")
	if err != nil || len(paths) < 30 {
		t.Fatalf("found %d archives, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			before, profile, want := parseArchive(string(text))
			_, e := run(t, options(profile))
			if e == nil {
				t.Fatal("no error")
			}
			var got strings.Builder
			if err := e.Render(&got, false); err != nil {
				t.Fatal(err)
			}
			if *update {
				want = got.String()
				if err := os.WriteFile(path, []byte(before+"-- want --\n"+want), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, got.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			sameAfterJSON(t, e)
		})
	}
}

// sameAfterJSON checks that an error is shown the same in another process.
func sameAfterJSON(t *testing.T, e *interp.Error) {
	t.Helper()
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var other interp.Error
	if err := json.Unmarshal(data, &other); err != nil {
		t.Fatal(err)
	}
	var a, b strings.Builder
	if e.Render(&a, true) != nil || other.Render(&b, true) != nil || a.String() != b.String() || !strings.Contains(a.String(), "\x1b[") {
		t.Errorf("after JSON:\n%s\nbefore:\n%s", b.String(), a.String())
	}
	if other.Error() != e.Error() || !reflect.DeepEqual(other.Stack, e.Stack) {
		t.Errorf("after JSON: %v, before: %v", other, e)
	}
}

func TestAddSource(t *testing.T) {
	e := interp.TimeLimit("10s", interp.Position{File: "a.star", Line: 2, Col: 3})
	e.AddSource([]byte("one\r\ntwo\r\nthree"))
	var got strings.Builder
	if err := e.Render(&got, false); err != nil {
		t.Fatal(err)
	}
	want := "a.star:2:3: the time limit (10s) was reached\n    2 | two\n      |   ^\nhint: allow more with --max-time\n"
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

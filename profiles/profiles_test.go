package profiles_test

import (
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"instar/profiles"
)

// Every folder here is a profile, embedded, and explained.
func TestEveryProfileIsEmbedded(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, entry := range entries {
		if entry.IsDir() {
			folders = append(folders, entry.Name())
		}
	}
	if names := profiles.Names(); !slices.Equal(names, folders) {
		t.Fatalf("embedded are %q, the folders here are %q", names, folders)
	}
	for _, name := range folders {
		for _, file := range []string{"instance.star", "README.md"} {
			text, err := fs.ReadFile(profiles.Files, name+"/"+file)
			if err != nil {
				t.Error(err)
			} else if !strings.Contains(string(text), name) {
				t.Errorf("%s/%s does not name its profile", name, file)
			}
		}
	}
}

// A parameter that README.md does not explain is one that nobody finds.
func TestParametersAreExplained(t *testing.T) {
	for _, name := range profiles.Names() {
		program, err := fs.ReadFile(profiles.Files, name+"/instance.star")
		if err != nil {
			t.Fatal(err)
		}
		readme, err := fs.ReadFile(profiles.Files, name+"/README.md")
		if err != nil {
			t.Fatal(err)
		}
		found := parameters(string(program))
		if len(found) == 0 {
			t.Errorf("%s: no parameter found", name)
		}
		for _, parameter := range found {
			if !strings.Contains(string(readme), "| `"+parameter+"` |") {
				t.Errorf("%s/README.md has no table row for the parameter %q", name, parameter)
			}
		}
	}
}

// parameters returns the names in calls of param, the first argument of each
// being a literal.
func parameters(program string) []string {
	var names []string
	for _, call := range strings.Split(program, " param(")[1:] {
		if _, rest, ok := strings.Cut(call, `"`); ok {
			name, _, _ := strings.Cut(rest, `"`)
			names = append(names, name)
		}
	}
	return names
}

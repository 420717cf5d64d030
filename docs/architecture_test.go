package docs_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the path that go.mod gives this source.
const module = "instar"

// maxLines is what a file may have at most, unless it was generated.
const maxLines = 600

// rules say which package may import what; docs/design.md explains the
// layout. A path means that package; with "/..." after it, those below it too.
// They hold for what is built, not for tests.
var rules = []rule{
	{packages: "instar/runtime/...", never: []string{"instar/starlark/...", "instar/builtins/...", "go.starlark.net/..."},
		why: "the engine is given an evaluator, and knows no language"},
	{packages: "instar/runtime/plan", never: []string{notStandard},
		why: "a plan is plain data"},
	{packages: "instar/starlark/interp", never: []string{"instar/runtime/...", "instar/builtins/...", "instar/starlark/eval"},
		why: "the interpreter knows nothing of deployment"},
	{packages: "instar/builtins/...", never: []string{"instar/starlark/eval", "instar/runtime/apply", "instar/runtime/engine", "github.com/spf13/afero/..."},
		why: "a builtin declares, and never touches the machine"},

	{packages: "...", never: []string{"github.com/spf13/afero/..."},
		but: []string{"instar/runtime/fsys/...", "instar/runtime/apply", "instar/runtime/engine", "instar/cmd/..."},
		why: "comparison and evaluation see files through plan.View, which cannot write"},
	{packages: "...", never: []string{"github.com/kardianos/service/...", "github.com/coreos/go-systemd/...", "github.com/godbus/dbus/..."},
		but: []string{"instar/runtime/service/native/..."},
		why: "service managers are behind service.Manager"},
	{packages: "...", never: []string{"go.starlark.net/..."},
		but: []string{"instar/starlark/...", "instar/builtins/..."},
		why: "the language stays in two folders"},
}

// notStandard, as an import, is every package outside the standard library.
const notStandard = "(not standard)"

// vague are names that say nothing about what a package is for.
var vague = []string{"common", "helper", "helpers", "internal", "misc", "pkg", "shared", "util", "utils"}

// A rule forbids packages to import something, directly or through other
// packages of this module.
type rule struct {
	packages string   // whom it binds
	but      []string // whom it does not bind, nor bind through
	never    []string // what they must not import
	why      string
}

// A file is what the rules look at in a source file of this module.
type file struct {
	path      string // relative to the module's folder, slash separated
	pkg       string // as in its package clause
	imports   []string
	lines     int
	doc       bool // has a package comment
	generated bool
}

func (f file) test() bool { return strings.HasSuffix(f.path, "_test.go") }

func TestArchitecture(t *testing.T) {
	files := readSource(t, "..")
	if len(files) < 10 {
		t.Fatalf("found only %d files: does this test still look at the whole source?", len(files))
	}
	for _, problem := range check(files, rules) {
		t.Error(problem)
	}
}

// A dependency is a decision: each package of another module that anything
// imports, tests too, is named by a page of docs/decisions.
func TestDependenciesAreDecided(t *testing.T) {
	pages, err := filepath.Glob("decisions/[0-9]*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no decisions found: %v", err)
	}
	var decided string
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		decided += string(text)
	}
	for _, problem := range undecided(readSource(t, ".."), decided) {
		t.Error(problem)
	}
}

// undecided returns which imports are of a module that the text does not name
// in backquotes.
func undecided(files []file, text string) []string {
	var problems []string
	for _, f := range files {
		for _, imported := range f.imports {
			first, _, _ := strings.Cut(imported, "/")
			named := !strings.Contains(first, ".") // standard, or ours
			for prefix := imported; prefix != "." && !named; prefix = path.Dir(prefix) {
				named = strings.Contains(text, "`"+prefix+"`")
			}
			if !named {
				problems = append(problems, fmt.Sprintf("%s imports %s, which no page of docs/decisions names", f.path, imported))
			}
		}
	}
	return problems
}

// check returns what is wrong with files, sorted.
func check(files []file, rules []rule) []string {
	var problems []string
	report := func(format string, args ...any) {
		if problem := fmt.Sprintf(format, args...); !slices.Contains(problems, problem) {
			problems = append(problems, problem)
		}
	}

	documented := make(map[string]bool) // by folder
	for _, f := range files {
		folder := path.Dir(f.path)
		if f.lines > maxLines && !f.generated {
			report("%s: %d lines, at most %d: split it by what it is about", f.path, f.lines, maxLines)
		}
		names := append(strings.Split(folder, "/"), strings.TrimSuffix(f.pkg, "_test"))
		for _, name := range names {
			if slices.Contains(vague, name) {
				report("%s: a package named %q says nothing about what it is for", folder, name)
			}
		}
		if !f.test() {
			documented[folder] = documented[folder] || f.doc
		}
	}
	for folder, ok := range documented {
		if !ok {
			report("%s: no package comment", folder)
		}
	}

	graph := imports(files)
	for _, r := range rules {
		for importer := range graph {
			if !matches(r.packages, importer) || matchesAny(r.but, importer) {
				continue
			}
			for _, chain := range r.chains(graph, importer) {
				report("%s: %s", strings.Join(chain, " imports "), r.why)
			}
		}
	}
	slices.Sort(problems)
	return problems
}

// chains returns how importer comes to import what r forbids: the packages from
// importer on, the forbidden one last. There is one for each package that is
// forbidden.
func (r rule) chains(graph map[string][]string, importer string) [][]string {
	var found [][]string
	seen := map[string]bool{importer: true}
	for queue := [][]string{{importer}}; len(queue) > 0; queue = queue[1:] {
		chain := queue[0]
		for _, imported := range graph[chain[len(chain)-1]] {
			if seen[imported] {
				continue
			}
			seen[imported] = true
			longer := append(slices.Clone(chain), imported)
			if r.forbids(imported) {
				found = append(found, longer)
			} else if !matchesAny(r.but, imported) {
				queue = append(queue, longer)
			}
		}
	}
	return found
}

func (r rule) forbids(imported string) bool {
	if matchesAny(r.never, imported) {
		return true
	}
	if !slices.Contains(r.never, notStandard) {
		return false
	}
	first, _, _ := strings.Cut(imported, "/")
	return first == module || strings.Contains(first, ".")
}

// imports returns what each package of this module imports, tests aside.
func imports(files []file) map[string][]string {
	graph := make(map[string][]string)
	for _, f := range files {
		if f.test() {
			continue
		}
		importer := path.Join(module, path.Dir(f.path))
		graph[importer] = append(graph[importer], f.imports...)
	}
	for importer, imported := range graph {
		slices.Sort(imported)
		graph[importer] = slices.Compact(imported)
	}
	return graph
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, name) })
}

// matches reports whether the pattern, as in [rules], means the package name.
func matches(pattern, name string) bool {
	if pattern == "..." {
		return true
	}
	if above, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == above || strings.HasPrefix(name, above+"/")
	}
	return name == pattern
}

// readSource reads the Go files of the module in folder, whatever system they
// are built for, but for nested modules, test data and what was built.
func readSource(t *testing.T, folder string) []file {
	t.Helper()
	var files []file
	err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(folder, name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		if entry.IsDir() {
			if relative != "." && skipped(name, relative) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(relative, ".go") {
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f, err := readFile(relative, source)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// skipped reports whether the folder holds no packages of this module.
func skipped(folder, relative string) bool {
	base := path.Base(relative)
	if base == "testdata" || relative == "bin" || relative == "build" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(folder, "go.mod"))
	return err == nil
}

func readFile(name string, source []byte) (file, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return file{}, err
	}
	f := file{
		path:      name,
		pkg:       parsed.Name.Name,
		lines:     bytes.Count(source, []byte("\n")),
		doc:       strings.TrimSpace(parsed.Doc.Text()) != "",
		generated: ast.IsGenerated(parsed),
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return file{}, fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
		}
		f.imports = append(f.imports, imported)
	}
	return f, nil
}

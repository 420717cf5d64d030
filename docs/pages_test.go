package docs_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"instar/builtins"
	"instar/runtime/plan"
	"instar/starlark/eval"
)

// The checks of pages themselves: each page breaks one, or none.
func TestPageChecks(t *testing.T) {
	c := checker{
		targets: []string{"test"}, verbs: []string{"plan"}, flags: []string{"--set"},
		exists: func(name string) bool { return name == "LICENSE" },
	}
	other := newPage("docs/other.md", "# Other page\n\n## A `b` c!\n\n## Twice\n\n## Twice\n")
	for _, test := range []struct {
		name, text string
		want       string // what the one problem contains; "" for none
	}{
		{"nothing", "Text.\n", ""},
		{"good links", "[a](docs/other.md) [b](docs/other.md#a-b-c) [`c`](LICENSE) [d](#here) [e](docs/other.md#twice-1) [f](https://github.com/x)\n# Here\n", ""},
		{"a missing file", "\n[a](docs/anther.md)\n", "README.md:2: docs/anther.md: there is no such file"},
		{"a missing heading", "[a](docs/other.md#b)\n", "there is no such heading"},
		{"a missing heading here", "[a](#b)\n", "there is no such heading"},
		{"a link outside", "[a](../x.md)\n", "leads out of the source"},
		{"links in code", "`[a](b)`\n```\n[a](b)\n```\n", ""},
		{"an unknown host", "see https://packages.example.net/x\n", "leads to a host"},
		{"a path of a machine", "in /work/main/x\n", "a path of one machine"},
		{"an issue", "see issue 12\n", "the number of an issue"},
		{"a page elsewhere", "see ../shared/design.md\n", "a page that is not here"},
		{"unfinished", "TODO: more\n", "something unfinished"},
		{"good commands", "```\nmake test\n$ instar plan x --set a=b\n```\n", ""},
		{"a missing target", "```\nmake tset\n```\n", `README.md:2: make has no target "tset"`},
		{"a missing command", "```console\n$ instar paln x\n```\n", `instar has no command "paln"`},
		{"a missing flag", "```console\n$ instar plan x --sett a=b\n```\n", "instar has no flag --sett"},
		{"other languages", "```python\ninstar paln\n```\n", ""},
	} {
		got := c.check([]page{newPage("README.md", test.text), other})
		ok := len(got) == 0
		if test.want != "" {
			ok = len(got) == 1 && strings.Contains(got[0], test.want)
		}
		if !ok {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// shown is a profile that a page shows, in one block or several, with the files
// that the page shows for it.
type shown struct {
	page  string
	name  string
	files map[string]string // by path in the profile's folder
}

// profilesOf returns the profiles of a page, in order. Their blocks begin with
// "# profile: NAME", and "# profile: NAME, continued" after that; other files are
// blocks whose info is "LANGUAGE file=NAME/PATH".
func profilesOf(p page) []*shown {
	var all []*shown
	files := map[string]string{}
	for _, b := range p.blocks {
		if _, name, ok := strings.Cut(b.info, " file="); ok {
			files[name] = b.text
		}
		first, _, _ := strings.Cut(b.text, "\n")
		title, ok := strings.CutPrefix(first, "# profile: ")
		if !ok {
			continue
		}
		name, _, more := strings.Cut(title, ", continued")
		i := slices.IndexFunc(all, func(s *shown) bool { return s.name == name })
		switch {
		case !more:
			all = append(all, &shown{p.path, name, map[string]string{eval.Entry: b.text}})
		case i >= 0:
			all[i].files[eval.Entry] += "\n" + b.text
		}
	}
	for _, s := range all {
		for name, text := range files {
			if rest, ok := strings.CutPrefix(name, s.name+"/"); ok {
				s.files[rest] = text
			}
		}
	}
	return all
}

// The profiles that pages show yield a complete plan, and what the pages show of
// instar's output names the lines of these profiles.
func TestProfilesOfPages(t *testing.T) {
	count := 0
	for _, p := range readPages(t, "..") {
		all := profilesOf(p)
		for _, s := range all {
			count++
			t.Run(p.path+" "+s.name, func(t *testing.T) {
				made, err := evaluate(t, s)
				if err != nil {
					t.Fatal(err)
				}
				if len(all) == 1 {
					for _, problem := range outputProblems(p, made) {
						t.Error(problem)
					}
				}
			})
		}
	}
	if count < 4 {
		t.Errorf("found only %d profiles: does this test still look at all pages?", count)
	}
}

// That the test of profiles can fail.
func TestProfileChecks(t *testing.T) {
	good := newPage("x.md", "```python\n# profile: a\nfile(\"x\", \"\")\n```\n```text file=a/t\nhello\n```\n```python\n# profile: a, continued\nfile(\"y\", read(\"t\"))\n```\n")
	made, err := evaluate(t, profilesOf(good)[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ output, want string }{
		{"+ write   x       does not exist  instance.star:2\n", ""},
		{"+ write   y       does not exist  instance.star:5\n", ""},
		{"+ write   y       does not exist  instance.star:4\n", `x.md:2: "y" is declared at instance.star:5`},
		{"+ write   z       does not exist  instance.star:4\n", `x.md:2: no profile of this page declares "z"`},
	} {
		got := outputProblems(newPage("x.md", "```console\n"+test.output+"```\n"), made)
		if test.want == "" && len(got) > 0 || test.want != "" && !slices.Equal(got, []string{test.want}) {
			t.Errorf("%s: got %q, want %q", test.output, got, test.want)
		}
	}
	bad := newPage("x.md", "```python\n# profile: a\nflie(\"x\", \"\")\n```\n")
	if _, err := evaluate(t, profilesOf(bad)[0]); err == nil {
		t.Error("a profile with an error passes")
	}
}

// programs are what the releases of the profiles hold.
var programs = []string{"helloworld-server", "python3", "sh"}

// evaluate evaluates a profile as on a machine where the programs are, and
// everything that is observed.
func evaluate(t *testing.T, s *shown) (*plan.Plan, error) {
	t.Helper()
	dir, release := t.TempDir(), t.TempDir()
	for name, text := range s.files {
		write(t, filepath.Join(dir, filepath.FromSlash(name)), text, 0o644)
	}
	for _, name := range programs {
		write(t, filepath.Join(release, "bin", name), "#!/bin/sh\n", 0o755)
	}
	made, err := eval.EvaluateHere(context.Background(), eval.Request{
		Dir: dir, Entry: eval.Entry,
		Inputs: builtins.Inputs{
			Instance: builtins.Instance{Name: s.name, Root: "/srv/instar/" + s.name, User: "ada", Group: "ada", UID: 1000, GID: 1000},
			Release:  release,
		},
	}, func(string) ([]byte, error) { return []byte("what was observed\n"), nil }, eval.Limits{})
	if err != nil {
		return nil, err
	}
	if !made.Complete() {
		t.Errorf("%s: %s: %s", s.page, s.name, made.Pending.Why)
	}
	return made, nil
}

func write(t *testing.T, name, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// changeLine is a line of a plan or report: what, its name, why, and the line.
var changeLine = regexp.MustCompile(`^[+~*>-] \w+ +(\S+) .*instance\.star:(\d+)$`)

// outputProblems compares the changes that a page shows with the profile's plan.
func outputProblems(p page, made *plan.Plan) []string {
	at := map[string]string{}
	for _, r := range made.Resources {
		_, name, _ := strings.Cut(string(r.ID()), ":")
		at[name] = strconv.Itoa(int(r.Declared().Line))
		for dir := filepath.ToSlash(filepath.Dir(name)); dir != "." && at[dir] == ""; dir = filepath.ToSlash(filepath.Dir(dir)) {
			at[dir] = at[name] // "purged" names whole folders
		}
	}
	for _, s := range made.Services {
		at[s.Name] = strconv.Itoa(int(s.At.Line))
	}
	var problems []string
	for _, b := range p.blocks {
		for i, line := range strings.Split(b.text, "\n") {
			found := changeLine.FindStringSubmatch(line)
			if found == nil || at[found[1]] == found[2] {
				continue
			}
			where := p.path + ":" + strconv.Itoa(b.line+i) + ": "
			if at[found[1]] == "" {
				problems = append(problems, where+"no profile of this page declares "+strconv.Quote(found[1]))
			} else {
				problems = append(problems, where+strconv.Quote(found[1])+" is declared at instance.star:"+at[found[1]])
			}
		}
	}
	return problems
}

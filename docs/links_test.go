package docs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"instar/builtins"
	"instar/docs"
)

// forbidden are what no page may say: it would mean something here only.
var forbidden = []struct {
	what *regexp.Regexp
	why  string
}{
	{regexp.MustCompile(`(^|[\s"'(=:])/(work|root|tmp/[a-z])[/\w]*`), "a path of one machine"},
	{regexp.MustCompile(`\.\./shared|\bshared/\w+\.md`), "a page that is not here"},
	{regexp.MustCompile(`(?i)\bissues? #?\d`), "the number of an issue"},
	{regexp.MustCompile(`(?i)\b(GOPROXY|GOSUMDB|GONOSUMDB|npmrc)\b`), "where somebody's packages come from"},
	{regexp.MustCompile(`\b(TODO|FIXME|XXX|TBD)\b`), "something unfinished"},
}

// hosts are those that pages may lead to, and those of examples.
var hosts = []string{"github.com", "pkg.go.dev", "developer.mozilla.org", "127.0.0.1", "localhost", "[::1]", "instar", "HOST", "…"}

// A page is a Markdown file.
type page struct {
	path   string // relative to the module's folder, slash separated
	text   string
	blocks []block
}

// A block is what stands between ``` and ```.
type block struct {
	info string // "python file=x.py"
	text string
	line int // of its first line
}

func TestPages(t *testing.T) {
	pages := readPages(t, "..")
	if len(pages) < 20 {
		t.Fatalf("found only %d pages: does this test still look at all of them?", len(pages))
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	c := checker{targets: makeTargets(string(makefile)), exists: existsIn("..")}
	for _, p := range pages {
		if p.path == "docs/cli.md" {
			c.verbs, c.flags = commandLine(p.text)
		}
	}
	if len(c.verbs) < 10 || len(c.flags) < 10 || len(c.targets) < 5 {
		t.Fatalf("found only %d commands, %d flags, %d targets of make", len(c.verbs), len(c.flags), len(c.targets))
	}
	for _, problem := range c.check(pages) {
		t.Error(problem)
	}
}

// Each builtin has a page, which the page about the language leads to.
func TestBuiltinsHavePages(t *testing.T) {
	language, err := os.ReadFile("language.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range builtins.Table {
		if text, ok := docs.Reference(b.Name); !ok || !strings.HasPrefix(text, "# "+b.Name+"\n") {
			t.Errorf("builtin %s: docs/reference/%s.md does not begin with its name", b.Name, b.Name)
		}
		if !strings.Contains(string(language), "](reference/"+b.Name+".md)") {
			t.Errorf("builtin %s: docs/language.md does not lead to its page", b.Name)
		}
	}
}

// checker knows what pages may refer to.
type checker struct {
	targets, verbs, flags []string
	exists                func(path string) bool
}

// check returns what is wrong with pages, in order.
func (c checker) check(pages []page) []string {
	var problems []string
	anchors := map[string][]string{}
	for _, p := range pages {
		anchors[p.path] = headings(p.text)
	}
	for _, p := range pages {
		report := func(line int, format string, args ...any) {
			problems = append(problems, fmt.Sprintf("%s:%d: %s", p.path, line, fmt.Sprintf(format, args...)))
		}
		for i, line := range strings.Split(p.text, "\n") {
			for _, f := range forbidden {
				if found := f.what.FindString(line); found != "" {
					report(i+1, "%q: %s", strings.TrimSpace(found), f.why)
				}
			}
			for _, found := range urls.FindAllString(line, -1) {
				if u, err := url.Parse(found); err == nil && !slices.Contains(hosts, u.Hostname()) && !slices.Contains(hosts, u.Host) {
					report(i+1, "%s leads to a host that is not in the list of this test", found)
				}
			}
		}
		for i, line := range strings.Split(prose(p.text), "\n") {
			for _, found := range links.FindAllStringSubmatch(line, -1) {
				if why := c.link(p.path, found[1], anchors); why != "" {
					report(i+1, "%s: %s", found[1], why)
				}
			}
		}
		for _, b := range p.blocks {
			for i, line := range strings.Split(b.text, "\n") {
				if why := c.command(b, line); why != "" {
					report(b.line+i, "%s", why)
				}
			}
		}
	}
	return problems
}

var (
	links   = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	urls    = regexp.MustCompile(`https?://[^\s"'<>)\]}|,;` + "`" + `]+`)
	mention = regexp.MustCompile(`--[a-z][a-z-]+`)
)

// link returns what is wrong with a link of a page, or "".
func (c checker) link(from, to string, anchors map[string][]string) string {
	if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
		return ""
	}
	file, anchor, _ := strings.Cut(to, "#")
	target := from
	if file != "" {
		target = path.Join(path.Dir(from), file)
	}
	if strings.HasPrefix(file, "/") || strings.HasPrefix(target, "../") {
		return "leads out of the source"
	}
	known, isPage := anchors[target]
	switch {
	case !isPage && !c.exists(target):
		return "there is no such file"
	case anchor == "":
		return ""
	case !slices.Contains(known, anchor):
		return "there is no such heading"
	}
	return ""
}

// command returns what is wrong with a line of a block that is a command of
// instar or make, or "".
func (c checker) command(b block, line string) string {
	lang, _, _ := strings.Cut(b.info, " ")
	if lang != "" && lang != "console" {
		return ""
	}
	line = strings.TrimPrefix(line, "$ ")
	line, _, _ = strings.Cut(line, " #")
	line, _, _ = strings.Cut(line, "   ") // and what it does
	words := strings.Fields(line)
	if len(words) < 2 {
		return ""
	}
	switch words[0] {
	case "make":
		for _, word := range words[1:] {
			if strings.HasPrefix(word, "-") || strings.Contains(word, "=") {
				continue
			}
			if !slices.Contains(c.targets, word) {
				return fmt.Sprintf("make has no target %q", word)
			}
			break // what follows may be prose
		}
	case "instar":
		verb := strings.TrimRight(words[1], ":")
		if !slices.Contains(c.verbs, verb) {
			return fmt.Sprintf("instar has no command %q", verb)
		}
		for _, flag := range mention.FindAllString(line, -1) {
			if !slices.Contains(c.flags, flag) {
				return fmt.Sprintf("instar has no flag %s", flag)
			}
		}
	}
	return ""
}

// commandLine returns the commands and flags that the page about them has.
func commandLine(text string) (verbs, flags []string) {
	for line := range strings.SplitSeq(text, "\n") {
		if verb, ok := strings.CutPrefix(line, "## "); ok && !strings.Contains(verb, " ") {
			verbs = append(verbs, verb)
		}
		flags = append(flags, mention.FindAllString(line, -1)...)
	}
	return verbs, flags
}

func makeTargets(makefile string) []string {
	var targets []string
	for _, found := range regexp.MustCompile(`(?m)^([a-z][a-z-]*):`).FindAllStringSubmatch(makefile, -1) {
		targets = append(targets, found[1])
	}
	return targets
}

func existsIn(folder string) func(string) bool {
	return func(name string) bool {
		_, err := os.Stat(filepath.Join(folder, filepath.FromSlash(name)))
		return err == nil
	}
}

// headings returns the anchors that a page's headings make, as GitHub has them.
func headings(text string) []string {
	var anchors []string
	seen := map[string]int{}
	for line := range strings.SplitSeq(withoutBlocks(text), "\n") {
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(title))
		if n := seen[anchor]; n > 0 {
			anchors = append(anchors, fmt.Sprintf("%s-%d", anchor, n))
		} else {
			anchors = append(anchors, anchor)
		}
		seen[anchor]++
	}
	return anchors
}

var inline = regexp.MustCompile("`[^`]*`")

// prose is a page's text without code; its lines stay where they were.
func prose(text string) string { return inline.ReplaceAllString(withoutBlocks(text), "") }

// withoutBlocks empties the lines of blocks of code.
func withoutBlocks(text string) string {
	lines := strings.Split(text, "\n")
	inside := false
	for i, line := range lines {
		fence := strings.HasPrefix(line, "```")
		if inside || fence || strings.HasPrefix(line, "    ") {
			lines[i] = ""
		}
		if fence {
			inside = !inside
		}
	}
	return strings.Join(lines, "\n")
}

func blocksOf(text string) []block {
	var blocks []block
	var now *block
	for i, line := range strings.Split(text, "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && now == nil:
			now = &block{info: info, line: i + 2}
		case fence:
			blocks = append(blocks, *now)
			now = nil
		case now != nil:
			now.text += line + "\n"
		}
	}
	return blocks
}

func newPage(name, text string) page { return page{name, text, blocksOf(text)} }

// readPages reads the Markdown files of the module in folder, but for test data
// and what was built.
func readPages(t *testing.T, folder string) []page {
	t.Helper()
	var pages []page
	err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a file that went away meanwhile
		}
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
		if path.Ext(relative) != ".md" {
			return nil
		}
		text, err := os.ReadFile(name)
		pages = append(pages, newPage(relative, string(text)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

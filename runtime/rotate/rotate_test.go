package rotate

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"instar/runtime/fsys"
)

// bench is a root with logs.
type bench struct {
	testing.TB
	dir    string
	output bytes.Buffer
	euid   int
}

func newBench(t testing.TB) *bench {
	if runtime.GOOS == "windows" {
		t.Skip("modes and links are those of Unix")
	}
	return &bench{TB: t, dir: t.TempDir(), euid: os.Geteuid()}
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) write(name, text string) {
	b.Helper()
	if err := os.MkdirAll(filepath.Dir(b.path(name)), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(b.path(name), []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
}

// run rotates, and returns how many things failed, and whether somebody should be
// told. With crash above 0 it is killed before its crash-th change.
func (b *bench) run(keep, crash int, patterns ...string) (failures int, told bool) {
	b.Helper()
	root, err := fsys.OpenRoot(b.dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	type killed struct{}
	defer func() {
		if k := recover(); k != nil && k != any(killed{}) {
			panic(k)
		}
	}()
	r := rotation{root: root, keep: keep, euid: b.euid, say: func(format string, args ...any) { fmt.Fprintf(&b.output, format+"\n", args...) }}
	r.step = func() error {
		if crash--; crash == 0 {
			panic(killed{})
		}
		return nil
	}
	told = r.all(patterns)
	return r.failures, told
}

// files returns all files with their contents, "NAME: TEXT"; of compressed ones
// what they hold.
func (b *bench) files() []string {
	b.Helper()
	var all []string
	err := filepath.WalkDir(b.dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, _ := filepath.Rel(b.dir, path)
		if !entry.Type().IsRegular() {
			all = append(all, name+": "+entry.Type().String())
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if text, ok := strings.CutSuffix(name, ".gz"); ok && text != "" {
			z, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if data, err = io.ReadAll(z); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		all = append(all, name+": "+string(data))
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return all
}

func (b *bench) expect(want ...string) {
	b.Helper()
	if got := b.files(); !slices.Equal(got, want) {
		b.Errorf("got  %q\nwant %q\n%s", got, want, b.output.String())
	}
}

func TestRotate(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		b.write("var/log/a.log", fmt.Sprint(i))
		if failures, told := b.run(3, 0, "var/log/*.log", "var/log/a.log", "var/log/none"); failures != 0 || !told {
			t.Fatalf("%d failures, told: %v: %s", failures, told, b.output.String())
		}
	}
	b.expect("var/log/a.log.1: 4", "var/log/a.log.2.gz: 3", "var/log/a.log.3.gz: 2")

	// Missing and empty ones are left alone, but somebody may not have heard.
	b.write("var/log/b.log", "")
	if failures, told := b.run(3, 0, "var/log/b.log", "var/none/*", "none/x"); failures != 0 || told {
		t.Errorf("nothing to rotate: %d, %v", failures, told)
	}
	if failures, told := b.run(3, 0, "var/log/*.log", "var/log/a.log"); failures != 0 || !told {
		t.Errorf("nothing to rotate, but .1 is there: %d, %v", failures, told)
	}
	b.expect("var/log/a.log.1: 4", "var/log/a.log.2.gz: 3", "var/log/a.log.3.gz: 2", "var/log/b.log: ")

	// Fewer are kept from now on.
	b.write("var/log/a.log", "5")
	b.run(1, 0, "var/log/a.log")
	b.expect("var/log/a.log.1: 5", "var/log/b.log: ")
}

func TestPatterns(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"log/x", "log/x.1", "log/x.7.gz", "log/.hidden", "log/y.2024", "log/deep/z", "a/l/1x", "b/l/x2y", "c/x"} {
		b.write(name, name)
	}
	root, err := fsys.OpenRoot(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for pattern, want := range map[string]string{
		"log/*":     "log/x",
		"log/.h*":   "log/.hidden",
		"log/x.1":   "log/x.1",
		"*/l/*x*":   "a/l/1x b/l/x2y",
		"[ab]/l/?x": "a/l/1x",
		"*":         "",
		"none/*":    "",
		"none":      "none",
		"*/*":       "c/x log/x",
	} {
		got, err := (&rotation{root: root}).find(pattern)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: got %q (%v), want %q", pattern, got, err, want)
		}
	}
}

// Numbers behind a gap are none of ours.
func TestGapsAreLeftAlone(t *testing.T) {
	b := newBench(t)
	b.write("a", "now")
	b.write("a.1", "one")
	b.write("a.2024", "the year")
	b.write("a.01", "no number of ours")
	b.run(1, 0, "a")
	b.expect("a.01: no number of ours", "a.1: now", "a.2024: the year")
}

// What is written while a file is compressed stays, and is compressed the next
// time.
func TestStillWrittenTo(t *testing.T) {
	b := newBench(t)
	b.write("a", "now")
	b.write("a.1", "one")
	root, err := fsys.OpenRoot(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	r := rotation{root: root, keep: 3, euid: b.euid, say: t.Logf, step: func() error {
		if _, err := os.Stat(b.path(fsys.TempName("a.2.gz"))); err == nil {
			b.write("a.2", "one and more")
		}
		return nil
	}}
	r.all([]string{"a"})
	b.expect("a.1: now", "a.2: one and more")
	b.run(3, 0, "a")
	b.expect("a.1: now", "a.2.gz: one and more")
}

// Mode, owner and time are those of the log, whatever the umask.
func TestLikeness(t *testing.T) {
	b := newBench(t)
	b.write("a.1", "one")
	b.write("a", "now")
	then := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := os.Chtimes(b.path("a.1"), then, then); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(b.path("a.1"), 0o604); err != nil {
		t.Fatal(err)
	}
	if b.euid == 0 {
		if err := os.Chown(b.path("a.1"), 12345, 54321); err != nil {
			t.Fatal(err)
		}
	}
	b.run(2, 0, "a")
	info, err := os.Stat(b.path("a.2.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o604 || !info.ModTime().Equal(then) {
		t.Errorf("%v %v", info.Mode(), info.ModTime())
	}
	if uid, gid, _ := fsys.Owner(info); b.euid == 0 && (uid != 12345 || gid != 54321) {
		t.Errorf("owner %d:%d", uid, gid)
	}
}

// Whoever can write to the folder plants links: nothing outside is read, moved or
// made.
func TestLinksAreNotFollowed(t *testing.T) {
	outside := newBench(t)
	outside.write("secret", "secret")
	outside.write("log/x.log", "theirs")
	b := newBench(t)
	link := func(name, to string) {
		t.Helper()
		if err := os.Symlink(to, b.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	b.write("log/a.log", "now")
	link("log/b.log", outside.path("secret"))
	link("log/a.log.1", outside.path("secret"))
	link("log/a.log.2.gz", outside.path("made"))
	link("log/"+filepath.Base(fsys.TempName("a.log.3.gz")), outside.path("made too"))
	link("elsewhere", outside.path("log"))
	b.write("pipes/x", "")
	before := strings.Join(outside.files(), "\n")
	for range 3 {
		b.write("log/a.log", "now")
		if failures, _ := b.run(9, 0, "log/*.log", "log/b.log", "elsewhere/x.log", "elsewhere/*", "*/x.log", "log/a.log"); failures == 0 {
			t.Errorf("nobody was told: %s", b.output.String())
		}
	}
	if after := strings.Join(outside.files(), "\n"); after != before {
		t.Errorf("outside:\n%s\n%s", before, after)
	}
	for _, file := range b.files() {
		if strings.Contains(file, "secret") || strings.Contains(file, "theirs") {
			t.Errorf("inside: %s", file)
		}
	}
	if !strings.Contains(b.output.String(), `"log/b.log" is left alone: it is no regular file`) {
		t.Errorf("said: %s", b.output.String())
	}
}

// Root touches nothing in folders of others.
func TestRootTrustsNobody(t *testing.T) {
	b := newBench(t)
	b.euid = 0
	b.write("var/log/a", "now")
	if os.Geteuid() != 0 { // all is somebody else's
		if failures, _ := b.run(3, 0, "var/log/a"); failures != 1 {
			t.Errorf("%d failures", failures)
		}
		b.expect("var/log/a: now")
		return
	}
	for _, spoil := range []func() error{
		func() error { return os.Chown(b.path("var"), 12345, 0) },
		func() error { return os.Chown(b.path("."), 12345, 0) },
		func() error { return os.Chmod(b.path("var/log"), 0o775) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if failures, _ := b.run(3, 0, "var/log/a"); failures != 1 || !strings.Contains(b.output.String(), "this is root") {
			t.Errorf("%d failures: %s", failures, b.output.String())
		}
		b.expect("var/log/a: now")
		for _, name := range []string{".", "var", "var/log"} {
			if err := os.Chown(b.path(name), 0, 0); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(b.path(name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if failures, _ := b.run(3, 0, "var/log/a"); failures != 0 {
		t.Errorf("%s", b.output.String())
	}
}

// Killed before any change, again and again, no line is lost or doubled, and
// there are never fewer old files than shall be kept.
func TestNothingIsLost(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("as on Unix")
	}
	rapid.Check(t, func(rt *rapid.T) {
		b := &bench{TB: t, dir: t.TempDir(), euid: os.Geteuid()}
		keep := rapid.IntRange(1, 4).Draw(rt, "keep")
		var written []string
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "write") {
				f, err := os.OpenFile(b.path("a"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
				if err != nil {
					t.Fatal(err)
				}
				line := fmt.Sprintf("line %d\n", len(written))
				written = append(written, line)
				if _, err := f.WriteString(line); err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
			crash := rapid.IntRange(0, 12).Draw(rt, "crash")
			if failures, _ := b.run(keep, crash, "a"); failures > 0 {
				rt.Fatalf("failed: %s", b.output.String())
			}
			b.checkLines(rt, written, keep)
		}
	})
}

// checkLines makes sure that the files hold the last lines that were written, in
// order, each once.
func (b *bench) checkLines(t *rapid.T, written []string, keep int) {
	type part struct {
		n      int
		packed bool
		text   string
	}
	byNumber := map[int]part{}
	for _, file := range b.files() {
		name, text, _ := strings.Cut(file, ": ")
		if fsys.IsTemp(name) {
			continue
		}
		n, packed, _ := parseOld("x." + strings.TrimPrefix(strings.TrimPrefix(name, "a"), "."))
		if old, there := byNumber[n]; !there || old.packed {
			byNumber[n] = part{n, packed, text}
		}
	}
	var parts []part
	for _, p := range byNumber {
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b part) int { return b.n - a.n })
	var got strings.Builder
	for _, p := range parts {
		got.WriteString(p.text)
	}
	all := strings.Join(written, "")
	if !strings.HasSuffix(all, got.String()) {
		t.Fatalf("%q is no end of %q: %q", got.String(), all, b.files())
	}
	if lines := strings.Count(got.String(), "\n"); lines < min(keep, len(written)) {
		t.Fatalf("only %d of %d lines are left of %d old files to keep: %q", lines, len(written), keep, b.files())
	}
}

func TestMainProgram(t *testing.T) {
	b := newBench(t)
	b.write("log/a", "now")
	t.Chdir(b.dir)
	do := func(j Job) (int, string) {
		t.Helper()
		text, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		return Main(string(text), &out), out.String()
	}
	if code, out := do(Job{Files: []string{"log/*"}, Keep: 1, Then: []string{"/bin/sh", "-c", "echo told; exit 7"}}); code != 1 || out != "told\nrotate: exit status 7\n" {
		t.Errorf("got %d, %q", code, out)
	}
	b.expect("log/a.1: now")
	if code, out := do(Job{Files: []string{"none"}, Keep: 1, Then: []string{"/bin/false"}}); code != 0 || out != "" {
		t.Errorf("nothing to tell: got %d, %q", code, out)
	}
	var out bytes.Buffer
	for _, bad := range []string{"", "{}", `{"files":["a"],"keep":0}`} {
		if Main(bad, &out) != 1 || !strings.Contains(out.String(), "bad job") {
			t.Errorf("%q: %s", bad, out.String())
		}
	}
}

package main

import (
	"flag"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The proofs draw profiles and the state of a machine at random, and check that
// the invariants of docs/design.md hold; docs/proofs.md lists them.

// prove checks a property n times, always of the same cases. With INSTAR_PROVE=N
// these are N times as many, and different ones each time.
func prove(t *testing.T, n int, property func(*rapid.T)) {
	t.Helper()
	seed := "1"
	if times := thorough(); times > 0 {
		n, seed = n*times, "0"
	} else if testing.Short() || raced {
		n = max(1, n/4)
	}
	for name, value := range map[string]string{"rapid.checks": strconv.Itoa(n), "rapid.seed": seed, "rapid.nofailfile": "true"} {
		f := flag.Lookup(name)
		old := f.Value.String()
		if err := f.Value.Set(value); err != nil {
			t.Fatal(err)
		}
		defer f.Value.Set(old)
	}
	rapid.Check(t, property)
}

// thorough is how many times as much is to be tried as `go test` does; 0: it is
// `go test`.
func thorough() int {
	n, _ := strconv.Atoi(os.Getenv("INSTAR_PROVE"))
	return n
}

// wishes say what a drawn profile may hold.
type wishes struct {
	once, commands, values, services bool
	log                              string // where commands note that they ran, "" for nowhere
}

// drawing is a profile being drawn: declarations that do not contradict each
// other, over few paths, so that two of them often want different things at one
// place.
type drawing struct {
	*rapid.T
	wishes
	n       int // names made so far
	kinds   map[string]string
	lines   []string
	files   []string // variables that hold handles of files
	made    []string // paths that commands make
	data    map[string]bool
	derived bool // something depends on what a command makes
}

// drawnParams are the parameters that every drawn profile takes.
const drawnParams = "text = param(\"text\", \"x\")\nnumber = param(\"number\", 3)\n"

func drawProfile(t *rapid.T, w wishes) *drawing {
	d := &drawing{T: t, wishes: w, kinds: map[string]string{"etc": "dir", "etc/services": "dir", "etc/run": "dir"}, data: map[string]bool{}}
	for range rapid.IntRange(0, 9).Draw(t, "declarations") {
		d.declaration()
	}
	return d
}

// source is the text of the profile.
func (d *drawing) source() string { return drawnParams + strings.Join(d.lines, "\n") + "\n" }

func (d *drawing) choose(label string, from ...string) string {
	return rapid.SampledFrom(from).Draw(d.T, label)
}

func (d *drawing) some(label string, outOf int) bool {
	return rapid.IntRange(1, outOf).Draw(d.T, label) == 1
}

func (d *drawing) name(prefix string) string {
	d.n++
	return prefix + strconv.Itoa(d.n)
}

func (d *drawing) line(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// somewhere draws a path at which a thing of that kind may stand; "" when the one
// drawn is taken.
func (d *drawing) somewhere(kind string) string {
	parts := []string{}
	for range rapid.IntRange(1, 3).Draw(d.T, "depth") {
		parts = append(parts, d.choose("part", "a", "b", "c"))
	}
	name := path.Join(parts...)
	if d.kinds[name] != "" {
		return ""
	}
	for known := range d.kinds {
		if kind != "dir" && strings.HasPrefix(known, name+"/") {
			return ""
		}
	}
	for p := path.Dir(name); p != "."; p = path.Dir(p) {
		if k := d.kinds[p]; k != "" && k != "dir" {
			return ""
		}
	}
	for p := path.Dir(name); p != "."; p = path.Dir(p) {
		d.kinds[p] = "dir"
	}
	d.kinds[name] = kind
	return name
}

// declaration adds one to the profile, of any kind that is wished for.
func (d *drawing) declaration() {
	kinds := []func(){d.folder, d.file, d.file, d.template, d.link, d.copied, d.wrapper, d.conditional}
	if d.commands {
		kinds = append(kinds, d.command, d.command, d.observed)
	}
	if d.services {
		kinds = append(kinds, d.service, d.timer)
	}
	rapid.SampledFrom(kinds).Draw(d.T, "kind")()
}

// meta draws mode and owner.
func (d *drawing) meta(modes ...string) string {
	text := ""
	if m := d.choose("mode", append(modes, "")...); m != "" {
		text = ", mode = 0o" + m
	}
	if os.Geteuid() == 0 && d.some("owned", 6) {
		text += d.choose("owner", `, owner = "nobody"`, `, group = "nogroup"`)
	}
	return text
}

// once makes a declaration one of data, sometimes.
func (d *drawing) onceIf(name string) string {
	if d.once && d.some("once", 5) {
		d.data[name] = true
		return "_once"
	}
	return ""
}

func (d *drawing) folder() {
	if p := d.somewhere("dir"); p != "" {
		d.line("mkdir%s(%q%s)", d.onceIf(p), p, d.meta("700", "2755"))
	}
}

// content draws an expression for a text.
func (d *drawing) content() string {
	texts := []string{`""`, `"x"`, `"y\n"`, `text`, `"%d" % number`, `"x" * 300`, `"\u00e9\t\\ '\""`}
	for _, f := range d.files {
		texts = append(texts, `"see %s\n" % `+f)
	}
	if d.values {
		texts = append(texts, `random_hex("hex")`, `uuid("id")`, `str(free_port("port"))`)
	}
	return d.choose("content", texts...)
}

func (d *drawing) file() {
	p := d.somewhere("file")
	if p == "" {
		return
	}
	v, once := d.name("f"), d.onceIf(p)
	if d.values && d.some("secret", 4) {
		d.line("%s = file%s(%q, password(%q), mode = 0o600)", v, once, p, d.choose("password", "one", "two"))
	} else {
		d.line("%s = file%s(%q, %s%s)", v, once, p, d.content(), d.meta("600", "755", "4755", "444"))
	}
	if once == "" {
		d.files = append(d.files, v)
	}
}

func (d *drawing) template() {
	p := d.somewhere("file")
	if p == "" {
		return
	}
	v, once := d.name("t"), d.onceIf(p)
	d.line(`%s = template%s(%q, text = "{{ range .list }}{{ . }};{{ end }}{{ .text }}\n", vars = {"list": [number, 2], "text": %s}%s)`,
		v, once, p, d.content(), d.meta("600", "750"))
	if once == "" {
		d.files = append(d.files, v)
	}
}

func (d *drawing) link() {
	p := d.somewhere("link")
	if p == "" {
		return
	}
	targets := append([]string{`"nowhere"`, `"../a"`, `"/etc/hostname"`}, d.files...)
	d.line("symlink(%q, %s)", p, d.choose("target", targets...))
}

// copied copies from the profile's folder "tree", which [newProof] makes, or what the
// profile itself made before.
func (d *drawing) copied() {
	p := d.somewhere("copy")
	if p == "" {
		return
	}
	sources := append([]string{`"tree"`, `"tree/sub"`, `"tree/run"`}, d.files...)
	for _, m := range d.made {
		sources = append(sources, "instance.root + "+strconv.Quote("/"+m))
	}
	source := d.choose("source", sources...)
	d.derived = d.derived || strings.HasPrefix(source, "instance")
	d.line("copy(%q, %s%s)", p, source, d.choose("copymode", "", "", ", mode = 0o640"))
}

func (d *drawing) wrapper() {
	p := d.somewhere("file")
	if p == "" {
		return
	}
	v := d.name("w")
	d.line("%s = wrapper(%q, [\"/bin/echo\", %s], env = {\"A\": %s})", v, p, d.choose("argument", append([]string{`"$x '\n"`, "text"}, d.files...)...), d.content0())
	d.files = append(d.files, v)
}

// content0 is content without secrets and values that were remembered, which not
// everything may hold.
func (d *drawing) content0() string { return d.choose("text", `"x"`, "text", `"a b"`) }

// conditional declares a file for some parameters alone.
func (d *drawing) conditional() {
	if p := d.somewhere("file"); p != "" {
		d.line("if number > %d:\n    file(%q, text)", rapid.IntRange(1, 5).Draw(d.T, "bound"), p)
	}
}

// command is one whose effect is the file that it creates, and a line in the log.
func (d *drawing) command() {
	p := d.somewhere("made")
	if p == "" {
		return
	}
	name := d.name("c")
	script := "printf made > " + p
	if len(d.files) > 0 && d.some("reads", 2) {
		f := d.choose("input", d.files...)
		script = "cat \\\"$F\\\" >/dev/null; printf made > " + p
		d.line(`command%s(%q, ["sh", "-ec", "%s%s"], env = {"F": %s}, creates = %q)`,
			d.choose("when", "_once", "_changed"), name, script, d.noting(name), f, p)
	} else {
		d.line(`command%s(%q, ["sh", "-ec", "%s%s"], creates = %q)`,
			d.choose("when", "_once", "_changed"), name, script, d.noting(name), p)
	}
	d.made = append(d.made, p)
}

// noting appends to a script what notes that it ran to its end.
func (d *drawing) noting(name string) string {
	if d.log == "" {
		return ""
	}
	return fmt.Sprintf("; echo %s >> %s", name, d.log)
}

// observed looks at what a command makes, or may have made.
func (d *drawing) observed() {
	if len(d.made) == 0 {
		return
	}
	from := d.choose("from", d.made...)
	p := d.somewhere("file")
	if p == "" {
		return
	}
	d.derived = true
	if d.some("default", 2) {
		d.line("file(%q, observe(%q, default = \"none\"))", p, from)
	} else {
		d.line("file(%q, observe(%q))", p, from)
	}
}

func (d *drawing) service() {
	name := d.choose("service", "s1", "s2", "s3")
	kind := d.choose("program", "service", "run")
	if d.kinds["program:"+name] != "" {
		return
	}
	d.kinds["program:"+name] = kind
	extra := ""
	if len(d.files) > 0 && d.some("uses", 2) {
		extra = ", uses = [" + d.choose("used", d.files...) + "]"
	}
	arg := d.choose("mentioned", append([]string{"text", `"5"`}, d.files...)...)
	if len(d.made) > 0 && d.some("mentions what is made", 3) {
		arg, d.derived = "instance.root + "+strconv.Quote("/"+d.choose("mentioned", d.made...)), true
	}
	d.line(`%s(%q, ["/bin/sleep", %s]%s)`, kind, name, arg, extra)
}

func (d *drawing) timer() {
	name := d.name("cron")
	d.line(`cron(%q, "@daily", ["/bin/true", %s])`, name, d.content0())
}

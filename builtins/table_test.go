package builtins

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"instar/docs"
)

// Each builtin has a page that shows its signature and each of its arguments,
// with its default, and whose example works.
func TestReference(t *testing.T) {
	profileFiles["banner.txt"] = &fstest.MapFile{Data: []byte("hello")}
	profileFiles["app.conf.tmpl"] = &fstest.MapFile{Data: []byte("{{.port}} {{.logs}}\n")}
	for _, b := range Table {
		t.Run(b.Name, func(t *testing.T) {
			page, ok := docs.Reference(b.Name)
			if !ok {
				t.Fatal("no page in docs/reference")
			}
			if !strings.HasPrefix(page, "# "+b.Name+"\n") {
				t.Errorf("the page begins with %q", page[:20])
			}
			if b.call != nil && !strings.Contains(page, "```\n"+b.Signature()+"\n```\n") {
				t.Errorf("the page does not show %s", b.Signature())
			}
			for _, p := range arguments(b.Params) {
				if !strings.Contains(page, "\n| `"+p[0]+"` | "+p[1]+" |") {
					t.Errorf("the page does not explain argument %s with default %s", p[0], p[1])
				}
			}
			if b.Summary == "" || strings.ContainsAny(b.Summary, "\n") || len(b.Summary) > 90 {
				t.Errorf("summary %q", b.Summary)
			}
			testExample(t, page)
		})
	}
}

// arguments returns the names of a signature's parameters, and their defaults
// as pages write them.
func arguments(signature string) [][2]string {
	if strings.HasPrefix(signature, "*") {
		return nil
	}
	var list [][2]string
	for part := range strings.SplitSeq(signature, ", ") {
		name, value, optional := strings.Cut(part, "=")
		if name == "" {
			continue
		}
		if !optional {
			value = "required"
		} else {
			value = "`" + value + "`"
		}
		list = append(list, [2]string{name, value})
	}
	return list
}

var example = regexp.MustCompile("(?s)\n```python\n(.*?)```\n")

func testExample(t *testing.T, page string) {
	examples := example.FindAllStringSubmatch(page, -1)
	if len(examples) == 0 {
		t.Error("the page has no example")
	}
	for _, m := range examples {
		if _, err := evaluateText(testInputs(), newMachine(), m[1], nil); err != nil {
			line, text := explain(err)
			t.Errorf("line %d of the example: %s", line, text)
		}
	}
}

// Each page is about a builtin.
func TestReferenceHasNothingElse(t *testing.T) {
	pages, err := fs.Glob(docs.Pages(), "*.md")
	if err != nil || len(pages) != len(Table) {
		t.Errorf("%d pages, %d builtins: %v", len(pages), len(Table), err)
	}
	for _, page := range pages {
		if Lookup(strings.TrimSuffix(page, ".md")) == nil {
			t.Errorf("%s: no such builtin", page)
		}
	}
}

// Each function takes what its signature says: one variable for each
// parameter, no other argument, and a near miss for a misspelt one.
func TestSignatures(t *testing.T) {
	for _, b := range Table {
		if b.call == nil || strings.HasPrefix(b.Params, "*") {
			continue
		}
		t.Run(b.Name, func(t *testing.T) {
			_, err := evaluateText(testInputs(), newMachine(), b.Name+"(zzzzzzzz = 1)", nil)
			if err == nil {
				t.Fatal("accepted an argument that it does not have")
			}
			if _, text := explain(err); !strings.HasPrefix(text, b.Name+": unexpected argument zzzzzzzz [usage: "+b.Signature()) {
				t.Errorf("got %q", text)
			}
			for _, p := range arguments(b.Params) {
				_, err := evaluateText(testInputs(), newMachine(), b.Name+"("+p[0]+"x = 1)", nil)
				if err == nil {
					t.Fatalf("accepted %sx", p[0])
				}
				if _, text := explain(err); !strings.HasSuffix(text, "[did you mean "+p[0]+"?]") && len(p[0]) > 2 {
					t.Errorf("%sx: got %q", p[0], text)
				}
			}
			_, err = evaluateText(testInputs(), newMachine(), b.Name+"("+strings.Repeat("None, ", 20)+")", nil)
			if err == nil || !strings.Contains(err.Error(), "got 20 positional arguments") {
				t.Errorf("20 arguments: got %v", err)
			}
		})
	}
}

// What an optional argument is when it is left out is what the signature
// says: given or not, the plan is the same.
func TestDefaults(t *testing.T) {
	base := map[string]string{
		"mkdir": `path="a"`, "mkdir_once": `path="a"`, "file": `path="a", content="x"`, "file_once": `path="a", content="x"`,
		"template": `path="a", text=""`, "template_once": `path="a", text=""`, "copy": `path="a", source="mime.types"`,
		"wrapper": `path="a", command=["app"]`, "command_once": `name="a", command=["app"]`, "command_changed": `name="a", command=["app"]`,
		"run": `name="a", command=["app"]`, "service": `name="a", command=["app"]`, "promise": `name="a", check=check.tcp("a", 1)`,
		"cron": `name="a", schedule="@daily", command=["app"]`, "rotate": `name="a", files="x"`,
		"param": `name="a"`, "request": `name="a", profile="web"`,
	}
	for name, required := range base {
		t.Run(name, func(t *testing.T) {
			b := Lookup(name)
			short := dumpOf(t, name+"("+required+")")
			for _, p := range arguments(b.Params) {
				value := strings.Trim(p[1], "`")
				if p[1] == "required" || strings.Contains(required, p[0]+"=") || value == "…" {
					continue
				}
				if long := dumpOf(t, name+"("+required+", "+p[0]+"="+value+")"); long != short {
					t.Errorf("%s=%s is not the default:\n%s\n%s", p[0], value, short, long)
				}
			}
		})
	}
}

func dumpOf(t *testing.T, text string) string {
	t.Helper()
	p, err := evaluateText(testInputs(), newMachine(), text, nil)
	if err != nil {
		_, text := explain(err)
		t.Fatal(text)
	}
	return strings.Join(dump(p), "\n")
}

// Only what computes something leaves the parameters open.
func TestEffects(t *testing.T) {
	calls := map[string]string{
		"mkdir": `mkdir("a")`, "mkdir_once": `mkdir_once("a")`, "file": `file("a", "")`, "file_once": `file_once("a", "")`,
		"template": `template("a", text = "")`, "template_once": `template_once("a", text = "")`, "symlink": `symlink("a", "b")`,
		"copy": `copy("a", "mime.types")`, "wrapper": `wrapper("a", ["app"])`, "command_once": `command_once("a", ["app"])`,
		"command_changed": `command_changed("a", ["app"])`, "run": `run("a", ["app"])`, "service": `service("a", ["app"])`,
		"cron": `cron("a", "@daily", ["app"])`, "rotate": `rotate("a", "x")`,
		"promise": `promise("a", check.tcp("a", 1))`, "publish": `publish(a = 1)`, "request": `request("a", "web")`,
		"observe": `observe("a", "")`, "password": `password("a")`, "random_hex": `random_hex("a")`, "uuid": `uuid("a")`, "free_port": `free_port("a")`,
	}
	for _, b := range Table {
		closes := b.Does == Declares || b.Does == Observes || b.Does == Remembers
		text, ok := calls[b.Name]
		if closes != ok {
			t.Errorf("%s is %s, and is this test's business: %v", b.Name, b.Does, ok)
		}
		if !ok {
			continue
		}
		_, err := evaluateText(testInputs(), newMachine(), text+"\nparam(\"late\")\n", nil)
		if err == nil || !strings.Contains(err.Error(), `param: "late" comes after `+b.Name) {
			t.Errorf("%s: param may follow: %v", b.Name, err)
		}
		in := testInputs()
		in.ParamsOnly = true
		p, err := evaluateText(in, newMachine(), "param(\"early\")\n"+text, nil)
		if err != nil || len(p.Params) != 1 || len(p.Resources)+len(p.Values)+len(p.Published)+len(p.Promises)+len(p.Requests)+len(p.Observed) > 0 {
			t.Errorf("%s: parameters only: %+v, %v", b.Name, p, err)
		}
	}
}

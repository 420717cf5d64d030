package eval_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"instar/builtins"
	"instar/runtime/plan"
	"instar/starlark/eval"
	"instar/starlark/interp"
)

func TestMain(m *testing.M) {
	eval.Main()
	goleak.VerifyTestMain(m)
}

// profile writes a profile and returns a request to evaluate it.
func profile(t testing.TB, files map[string]string) eval.Request {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return request(dir)
}

func request(dir string) eval.Request {
	return eval.Request{Dir: dir, Entry: "instance.star", Inputs: builtins.Inputs{
		Instance: builtins.Instance{Name: "web", Root: "/srv/instar/web", User: "alice", Group: "alice", UID: 1000, GID: 1000},
		Node:     builtins.Node{Name: "node", OS: "linux", Arch: "amd64", CPUs: 2, Memory: 1 << 32, Manager: "up"},
		Release:  "/usr",
	}}
}

func absent(string) ([]byte, error) { return nil, fs.ErrNotExist }

// evaluate evaluates in a child and here, and fails when they differ.
func evaluate(t *testing.T, req eval.Request, observe eval.Observe) (*plan.Plan, error) {
	t.Helper()
	there, err := eval.Evaluate(t.Context(), req, observe, eval.Limits{})
	here, errHere := eval.EvaluateHere(t.Context(), req, observe, eval.Limits{})
	if (err == nil) != (errHere == nil) || err != nil && err.Error() != errHere.Error() {
		t.Fatalf("in a child: %v\nhere: %v", err, errHere)
	}
	if diff := cmp.Diff(there, here); diff != "" {
		t.Fatalf("in a child and here (-child +here):\n%s", diff)
	}
	return there, err
}

func text(t *testing.T, err error) string {
	t.Helper()
	var e *interp.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	var out strings.Builder
	if err := e.Render(&out, false); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestBundledProfiles(t *testing.T) {
	for _, name := range []string{"helloworld", "nginx-static"} {
		t.Run(name, func(t *testing.T) {
			dir, entry, title, err := eval.Locate("../../profiles/" + name)
			if err != nil {
				t.Fatal(err)
			}
			release := t.TempDir()
			for _, program := range []string{"nginx", "helloworld-server", "greeter", "server", "helloworld"} {
				program = filepath.Join(release, "bin", program)
				if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(program, nil, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			req := request(dir)
			req.Entry, req.Inputs.Release = entry, release
			p, err := evaluate(t, req, absent)
			if err != nil {
				t.Fatal(text(t, err))
			}
			if title != name || len(p.Services) == 0 || len(p.Promises) == 0 || len(p.Published) == 0 {
				t.Errorf("%s: got %+v", title, p)
			}
		})
	}
}

// Errors say where, show the line and the stack, and suggest.
func TestErrors(t *testing.T) {
	files := map[string]string{
		"instance.star": "load(\"lib/conf.star\", \"conf\")\nport = param(\"port\", 80)\nconf(port)\n",
		"lib/conf.star": "def conf(port):\n    return template(\"etc/app.conf\", source = \"app.tmpl\", vars = {\"port\": port})\n",
		"lib/app.tmpl":  "# app\nport = {{.prot}}\n",
	}
	tests := []struct {
		name   string
		change map[string]string
		params map[string]builtins.Given
		want   string
	}{
		{name: "template", want: `lib/app.tmpl:2:10: template: {{.prot}}: there is no variable "prot"
    2 | port = {{.prot}}
      |          ^
called from (most recent call last):
  instance.star:3:5: in <toplevel>
    conf(port)
  lib/conf.star:2:20: in conf
    return template("etc/app.conf", source = "app.tmpl", vars = {"port": port})
hint: did you mean "port"?
`},
		{name: "parameters", params: map[string]builtins.Given{"port": builtins.GivenText("x"), "prot": builtins.GivenText("1")},
			want: `instance.star:2:13: 2 parameters are wrong:
  instance.star:2: port: "x" is not an int
  prot: the profile has no such parameter; did you mean "port"?
    2 | port = param("port", 80)
      |             ^
called from (most recent call last):
  instance.star:3:5: in <toplevel>
    conf(port)
  lib/conf.star:2:20: in conf
    return template("etc/app.conf", source = "app.tmpl", vars = {"port": port})
`},
		{name: "afterwards", change: map[string]string{"instance.star": "service(\"a\", [\"sh\"], after = [\"bb\"])\nservice(\"b\", [\"sh\"])\n"},
			want: `instance.star:1:8: service a: after: no service is called "bb"
    1 | service("a", ["sh"], after = ["bb"])
      |        ^
hint: did you mean "b"?
`},
		{name: "name", change: map[string]string{"instance.star": "mkdir_onec(\"a\")\n"}, want: `instance.star:1:1: undefined: mkdir_onec
    1 | mkdir_onec("a")
      | ^
hint: did you mean mkdir_once?
`},
		{name: "load", change: map[string]string{"instance.star": "load(\"lib/cnf.star\", \"conf\")\n"}, want: `instance.star:1:1: cannot load "lib/cnf.star": no such file
    1 | load("lib/cnf.star", "conf")
      | ^
hint: did you mean "//lib/conf.star"?
`},
		{name: "outside", change: map[string]string{"instance.star": "load(\"../x.star\", \"conf\")\n"}, want: `instance.star:1:1: cannot load "../x.star": it is outside the profile's folder
    1 | load("../x.star", "conf")
      | ^
`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			all := maps.Clone(files)
			maps.Copy(all, test.change)
			req := profile(t, all)
			req.Inputs.Params = test.params
			_, err := evaluate(t, req, absent)
			if err == nil {
				t.Fatal("no error")
			}
			if got := text(t, err); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestObserve(t *testing.T) {
	req := profile(t, map[string]string{"instance.star": "mkdir(\"a\")\nx = observe(\"var/token\")\nfile(\"b\", x)\n"})
	p, err := evaluate(t, req, absent)
	if err != nil {
		t.Fatal(err)
	}
	want := &plan.Pending{Why: `observe("var/token"): no such file yet`, At: plan.Pos{File: "instance.star", Line: 2, Col: 12}}
	if diff := cmp.Diff(want, p.Pending); diff != "" || p.Complete() || len(p.Resources) != 1 {
		t.Errorf("%d resources, pending: %s", len(p.Resources), diff)
	}
	content := "any\x00bytes\xff"
	p, err = evaluate(t, req, func(path string) ([]byte, error) {
		if path != "var/token" {
			t.Errorf("observed %q", path)
		}
		return []byte(content), nil
	})
	if err != nil || !p.Complete() || string(p.Resources[1].(*plan.File).Content) != content {
		t.Errorf("%v, %+v", err, p)
	}
	if diff := cmp.Diff([]string{"var/token"}, p.Observed); diff != "" {
		t.Error(diff)
	}
	_, err = evaluate(t, req, func(string) ([]byte, error) { return nil, errors.New("it is a FIFO") })
	if err == nil || !strings.Contains(err.Error(), `instance.star:2:12: observe: "var/token": it is a FIFO`) {
		t.Errorf("got %v", err)
	}
}

// Text that is given reaches files byte for byte, be it UTF-8 or not, and
// 100 kB of it.
func TestBytes(t *testing.T) {
	given := strings.Repeat("a 'b' \"c\" $d \\e\n%f é \xff", 5000)
	req := profile(t, map[string]string{"instance.star": "x = param(\"x\")\nfile(\"a\", x)\ntemplate(\"b\", text = \"{{.x}}\", vars = {\"x\": x})\n"})
	req.Inputs.Params = map[string]builtins.Given{"x": builtins.GivenText(given)}
	p, err := evaluate(t, req, absent)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Resources {
		if got := string(r.(*plan.File).Content); got != given {
			t.Errorf("%s: got %d bytes, want %d", r.ID(), len(got), len(given))
		}
	}
}

func TestLimits(t *testing.T) {
	tests := []struct {
		name, text string
		lim        eval.Limits
		want       string
	}{
		{"steps", "for i in range(1000000):\n    x = i\n", eval.Limits{Steps: 1000}, "steps"},
		{"source", "x = 1\n" + strings.Repeat("# comment\n", 1000), eval.Limits{Source: 1000}, "source"},
		{"time", "x = 3\nfor i in range(100):\n    x = x * x\n", eval.Limits{Time: time.Second}, "time"},
		{"memory", "x = []\nfor i in range(100000000):\n    x.append([i])\n", eval.Limits{Memory: 128 << 20, Steps: 1 << 40}, "memory"},
		{"template", "for i in range(100):\n    template(\"x%d\" % i, text = \"{{range 1000000}}{{.}}{{end}}\")\n", eval.Limits{Memory: 128 << 20}, "memory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.want == "memory" && !hardMemory {
				t.Skip("memory is not limited by the kernel here")
			}
			if test.lim.Time == 0 {
				test.lim.Time = 3 * time.Minute // another limit is met, however slow the machine is
			}
			req := profile(t, map[string]string{"instance.star": test.text})
			_, err := eval.Evaluate(t.Context(), req, absent, test.lim)
			var e *interp.Error
			for test.want == "time" && errors.As(err, &e) && e.Pos.File == "" && test.lim.Time < time.Minute { // too little to begin in
				test.lim.Time *= 4
				_, err = eval.Evaluate(t.Context(), req, absent, test.lim)
			}
			if !errors.As(err, &e) || e.Limit != test.want || e.Pos.File != "instance.star" || !strings.Contains(e.Hint, "--max-"+test.want) {
				t.Errorf("got %+v", err)
			}
		})
	}
}

func TestParams(t *testing.T) {
	req := profile(t, map[string]string{"instance.star": "param(\"port\", 80, doc = \"the port\")\nparam(\"name\", required = True)\nmkdir(\"a\")\nfail(\"no\")\n"})
	req.Inputs.Params = map[string]builtins.Given{"port": builtins.GivenText("x"), "none": builtins.GivenText("y")}
	params, err := eval.Params(t.Context(), req, eval.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := []plan.Param{
		{Name: "port", Type: "int", Default: json.Number("80"), Doc: "the port", At: plan.Pos{File: "instance.star", Line: 1, Col: 6}},
		{Name: "name", Type: "string", Required: true, At: plan.Pos{File: "instance.star", Line: 2, Col: 6}},
	}
	if diff := cmp.Diff(want, params); diff != "" {
		t.Error(diff)
	}
}

// The same inputs give the same plan, and all that was asked outside of the
// root is recorded, misses too.
func TestInputs(t *testing.T) {
	release := t.TempDir()
	for _, name := range []string{"sbin/app", "share/x"} {
		path := filepath.Join(release, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("x"), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	req := profile(t, map[string]string{
		"instance.star": "load(\"lib.star\", \"x\")\nservice(\"a\", [\"app\"])\nservice(\"b\", [\"app\"])\nfile(\"x\", read(\"x.txt\"))\ncopy(\"y\", release / \"share/x\")\n",
		"lib.star":      "x = 1\n", "x.txt": "hello",
	})
	req.Inputs.Release = release
	p, err := evaluate(t, req, absent)
	if err != nil {
		t.Fatal(text(t, err))
	}
	var got []string
	for _, in := range p.Inputs {
		path := strings.Replace(strings.Replace(in.Path, release, "REL", 1), req.Dir, "PROFILE", 1)
		got = append(got, strings.TrimSpace(path+" "+in.What+" "+in.Answer[:min(6, len(in.Answer))]))
	}
	want := []string{
		"PROFILE/instance.star content " + hash("load(\"lib.star\", \"x\")\nservice(\"a\", [\"app\"])\nservice(\"b\", [\"app\"])\nfile(\"x\", read(\"x.txt\"))\ncopy(\"y\", release / \"share/x\")\n"),
		"PROFILE/lib.star content " + hash("x = 1\n"),
		"REL/bin/app exists",
		"REL/sbin/app exists exec",
		"PROFILE/x.txt content " + hash("hello"),
		"REL/share/x exists exec",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func hash(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))[:6] }

// A profile reads nothing but the regular files of its own folder.
func TestProfileFiles(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"read(\"x\")", "template(\"a\", source = \"x\")", "copy(\"a\", source = \"x\")", "load(\"x\", \"y\")"} {
		req := profile(t, map[string]string{"instance.star": how + "\n"})
		if err := os.Symlink(outside, filepath.Join(req.Dir, "x")); err != nil {
			t.Fatal(err)
		}
		if _, err := evaluate(t, req, absent); err == nil || !strings.Contains(err.Error(), "escapes") {
			t.Errorf("%s of a link that leads outside: %v", how, err)
		}
	}
	req := profile(t, map[string]string{"instance.star": "read(\"x\")\n"})
	if err := os.Symlink("instance.star", filepath.Join(req.Dir, "x")); err != nil {
		t.Fatal(err)
	}
	if _, err := evaluate(t, req, absent); err != nil {
		t.Errorf("a link that stays inside: %v", err)
	}
	req.Dir = filepath.Join(req.Dir, "gone")
	if _, err := evaluate(t, req, absent); err == nil || !strings.Contains(err.Error(), "cannot open the profile") {
		t.Errorf("a folder that is gone: %v", err)
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	req := profile(t, map[string]string{"instance.star": fmt.Sprintf("free_port(\"x\", min = %d, max = %d)\n", port, port)})
	if _, err := evaluate(t, req, absent); err == nil || !strings.Contains(err.Error(), "is free from") {
		t.Errorf("a port in use: %v", err)
	}
}

// What is chosen is random, and stays when it is remembered.
func TestValues(t *testing.T) {
	req := profile(t, map[string]string{"instance.star": "file(\"x\", password(\"a\") + uuid(\"b\"))\n"})
	first, err := eval.Evaluate(t.Context(), req, absent, eval.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := eval.Evaluate(t.Context(), req, absent, eval.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	key := builtins.ValueKey("password", "a")
	if first.Values[key].Text == second.Values[key].Text || !first.Values[key].New || !first.Values[key].Secret {
		t.Errorf("got %+v and %+v", first.Values, second.Values)
	}
	req.Inputs.Values = first.Values
	third, err := evaluate(t, req, absent)
	if err != nil || third.Values[key].New || third.Values[key].Text != first.Values[key].Text {
		t.Errorf("got %+v, want %+v", third.Values, first.Values)
	}
	if diff := cmp.Diff(first.Resources, third.Resources); diff != "" {
		t.Error(diff)
	}
}

// What was printed before a failure is not lost, and an error hides the
// secrets that it would show.
func TestFailure(t *testing.T) {
	for _, how := range []string{"fail(\"not\", key)", "service(\"a\", [\"sh\", \"-p\", \"x\" + key])"} {
		req := profile(t, map[string]string{"instance.star": "key = secret(\"hunter2hunter2\")\nmkdir(\"a\")\nprint(\"before\")\n" + how + " # hunter2hunter2\n"})
		p, err := evaluate(t, req, absent)
		if err == nil || p == nil || len(p.Prints) != 1 || p.Prints[0].Text != "before" || len(p.Secrets) != 1 || len(p.Resources) != 0 {
			t.Errorf("%s: got %+v, %v", how, p, err)
		}
		if shown := text(t, err); strings.Contains(shown, "hunter2") || !strings.Contains(shown, "# ********") {
			t.Errorf("got %s", shown)
		}
	}
}

// Users and groups are those of the machine.
func TestUsers(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	req := profile(t, map[string]string{"instance.star": fmt.Sprintf("mkdir(\"a\", owner = %q, group = %q)\nservice(\"s\", [\"sh\"], user = %q)\n", me.Username, group.Name, me.Username)})
	req.Inputs.Instance.Superuser = true
	req.Inputs.Instance.UID, req.Inputs.Instance.GID = 54321, 54321
	p, err := evaluate(t, req, absent)
	if err != nil {
		t.Fatal(text(t, err))
	}
	got := p.Resources[0].(*plan.Dir)
	id := p.Services[0].Exec.Identity
	if fmt.Sprint(got.UID, got.GID) != me.Uid+" "+me.Gid || fmt.Sprint(id.UID, id.GID) != me.Uid+" "+me.Gid || !p.Services[0].OwnUser {
		t.Errorf("got %+v, %+v, want %s:%s", got, p.Services[0], me.Uid, me.Gid)
	}
	for _, bad := range []string{"mkdir(\"a\", owner = \"no-such-user\")", "mkdir(\"a\", group = \"no-such-group\")"} {
		req := profile(t, map[string]string{"instance.star": bad + "\n"})
		req.Inputs.Instance.Superuser = true
		if _, err := evaluate(t, req, absent); err == nil || !strings.Contains(err.Error(), "no-such-") {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := eval.Evaluate(ctx, profile(t, map[string]string{"instance.star": "x = 1\n"}), absent, eval.Limits{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestLocate(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"web/instance.star": "", "one.star": "", "empty/.keep": "", "other/app.star": "", "other/x.txt": "", "many/a": "", "dir/instance.star/x": "", "text.txt": ""} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "empty/.keep")), os.Symlink("web", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ path, dir, entry, name, err string }{
		{path: "web", dir: "web", entry: "instance.star", name: "web"},
		{path: "web/", dir: "web", entry: "instance.star", name: "web"},
		{path: "link", dir: "web", entry: "instance.star", name: "link"},
		{path: "web/instance.star", dir: "web", entry: "instance.star", name: "web"},
		{path: "one.star", dir: "", entry: "one.star", name: "one"},
		{path: "none", err: "cannot find the profile: .*no such file"},
		{path: "text.txt", err: `its name does not end in .star`},
		{path: "empty", err: "is a folder without instance.star; it is empty"},
		{path: "many", err: "is a folder without instance.star; it holds a$"},
		{path: "other", err: "is a folder without instance.star; a profile of one file is named itself: .*other/app.star"},
		{path: "dir", err: "instance.star in .*dir is not a file"},
	} {
		gotDir, entry, name, err := eval.Locate(dir + "/" + test.path)
		if test.err != "" {
			got := fmt.Sprint(err)
			var hint interface{ Hint() string }
			if errors.As(err, &hint) && hint.Hint() != "" {
				got += "; " + hint.Hint()
			}
			if ok, _ := regexp.MatchString(test.err, got); !ok {
				t.Errorf("%s: got %s, want %s", test.path, got, test.err)
			}
			continue
		}
		if err != nil || gotDir != filepath.Join(dir, test.dir) || entry != test.entry || name != test.name {
			t.Errorf("%s: got %q, %q, %q, %v", test.path, gotDir, entry, name, err)
		}
	}
}

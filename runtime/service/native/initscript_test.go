//go:build linux

package native

import (
	"errors"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"instar/runtime/service"
	"instar/runtime/service/shim"
	"pgregory.net/rapid"
)

var updateGolden = flag.Bool("update", false, "rewrite the golden files")

// paperInits are backends below a folder of the test's own, which ask nobody.
func paperInits(t testing.TB) map[string]*shimmed {
	t.Helper()
	all := map[string]*shimmed{}
	for _, name := range []string{"sysv", "openrc"} {
		etc := t.TempDir()
		if err := os.Mkdir(filepath.Join(etc, "init.d"), 0o755); err != nil {
			t.Fatal(err)
		}
		var init initSystem = &sysv{initd: initd{etc: etc}, rcParent: etc}
		if name == "openrc" {
			init = &openrc{initd: initd{etc: etc}, run: "/sbin/openrc-run", rcService: "/bin/false"}
		}
		all[name] = &shimmed{init: init, stateDir: "/var/lib/instar", binary: "/usr/local/bin/instar"}
	}
	return all
}

func TestInitScripts(t *testing.T) {
	for name, m := range paperInits(t) {
		artifacts, err := m.Render(sample())
		if err != nil || len(artifacts) != 1 || artifacts[0].Mode != 0o755 || artifacts[0].Path != m.init.store().path("instar-my_2dweb-front_401") {
			t.Fatalf("%+v, %v", artifacts, err)
		}
		golden := filepath.Join("testdata", name+".init")
		if *updateGolden {
			if err := os.WriteFile(golden, artifacts[0].Data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(artifacts[0].Data)); diff != "" {
			t.Errorf("%s (go test -run TestInitScripts -args -update):\n%s", name, diff)
		}
		for _, shell := range shells(t) {
			words := []string{"-n", golden}
			if strings.HasSuffix(shell, "busybox") {
				words = append([]string{"sh"}, words...)
			}
			if out, err := exec.Command(shell, words...).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s -n %s: %v\n%s", shell, golden, err, out)
			}
		}
	}
}

// TestNothingOfASpecInAScript: whatever a service is started with, its script
// says nothing of it.
func TestNothingOfASpecInAScript(t *testing.T) {
	for name, m := range paperInits(t) {
		plain, err := m.Render(service.Spec{Instance: "i", Name: "s", Argv: []string{"/bin/true"}, Dir: "/"})
		if err != nil {
			t.Fatal(err)
		}
		s := sample()
		s.Instance, s.Name, s.After = "i", "s", nil
		s.PrivateEnv = []string{"P=hush"}
		other, err := m.Render(s)
		if err != nil || string(plain[0].Data) != string(other[0].Data) {
			t.Errorf("%s: %v\n%s", name, err, cmp.Diff(string(plain[0].Data), string(other[0].Data)))
		}
	}
}

// TestPathsInScripts: whatever the paths of instar and of the state folder, a
// real shell hands them over as they are, and executes nothing of them.
func TestPathsInScripts(t *testing.T) {
	const stub = "#!/bin/sh\n{ printf '%s\\n' \"$0\" \"$@\"; } >\"$OUT\"\n"
	out := filepath.Join(t.TempDir(), "out")
	piece := rapid.SampledFrom([]string{"'", `"`, `\`, "$(touch pwned)", "`touch pwned`", "$HOME", " ", ";", "&", "#", "*", "~", "!", "é", "\xff", "%n", "{}", "'\\''", "-n", "a"})
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		word := func(label string) string { return "x" + strings.Join(rapid.SliceOfN(piece, 0, 5).Draw(rt, label), "") }
		binary := filepath.Join(dir, word("program"))
		if err := os.WriteFile(binary, []byte(stub), 0o755); err != nil {
			rt.Fatal(err)
		}
		m := &shimmed{init: &sysv{initd: initd{etc: dir}}, stateDir: filepath.Join(dir, word("state")), binary: binary}
		artifacts, err := m.Render(service.Spec{Instance: "i", Name: "s", Argv: []string{"/bin/true"}, Dir: "/"})
		if err != nil {
			rt.Fatal(err)
		}
		script := filepath.Join(dir, "script")
		if err := os.WriteFile(script, artifacts[0].Data, 0o755); err != nil {
			rt.Fatal(err)
		}
		cmd := exec.Command("/bin/sh", script, "start")
		cmd.Dir, cmd.Env = dir, []string{"OUT=" + out, "PATH=/usr/bin:/bin"}
		if text, err := cmd.CombinedOutput(); err != nil {
			rt.Fatalf("%v\n%s", err, text)
		}
		got, _ := os.ReadFile(out)
		want := strings.Join([]string{binary, "supervise", "--start", shim.At(m.stateDir, "i", "s").SpecPath(), ""}, "\n")
		if string(got) != want {
			rt.Errorf("handed over %q, want %q", got, want)
		}
		if _, err := os.Lstat(filepath.Join(dir, "pwned")); err == nil {
			rt.Error("something was executed")
		}
		in, err := m.readScript(script)
		if err != nil || in.instance != "i" || in.service != "s" {
			rt.Errorf("read back as %+v, %v", in, err)
		}
	})
}

func TestScriptNamesAreApart(t *testing.T) {
	instance := rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,40}`)
	name := rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9_.@-]{0,60}`)
	short := rapid.StringMatching(`[a_.@-]{1,4}`)
	legal := regexp.MustCompile(`^instar-[A-Za-z0-9_]+-[A-Za-z0-9_-]+$`)
	rapid.Check(t, func(rt *rapid.T) {
		i1, i2 := instance.Draw(rt, "instance"), instance.Draw(rt, "other instance")
		n1, n2 := name.Draw(rt, "name"), name.Draw(rt, "other name")
		if rapid.Bool().Draw(rt, "short") {
			i1, i2 = strings.Trim("a"+short.Draw(rt, "i"), "_.@"), strings.Trim("a"+short.Draw(rt, "j"), "_.@")
			i1, i2 = strings.NewReplacer("_", "-", ".", "-", "@", "-").Replace(i1), strings.NewReplacer("_", "-", ".", "-", "@", "-").Replace(i2)
			n1, n2 = "a"+short.Draw(rt, "n"), "a"+short.Draw(rt, "m")
		}
		s1, s2 := ScriptName(i1, n1), ScriptName(i2, n2)
		if (s1 == s2) != (i1 == i2 && n1 == n2) {
			rt.Errorf("%q %q and %q %q: %s, %s", i1, n1, i2, n2, s1, s2)
		}
		if strings.HasPrefix(s1, scriptPrefix(i2)) != (i1 == i2) {
			rt.Errorf("%s of %q seems to be one of %q", s1, i1, i2)
		}
		if len(s1) > maxScriptName || !legal.MatchString(s1) {
			rt.Errorf("bad name %q", s1)
		}
	})
	if got := ScriptName("web", "alpha"); got != "instar-web-alpha" {
		t.Errorf("an ordinary one is %s", got)
	}
	long := strings.Repeat("@", 60)
	if a, b := ScriptName("i", "a"+long), ScriptName("i", "b"+long); a == b || len(a) > maxScriptName {
		t.Errorf("long names: %s, %s", a, b)
	}
}

func TestWhoseScript(t *testing.T) {
	for name, m := range paperInits(t) {
		s := sample()
		artifacts, err := m.Render(s)
		if err != nil {
			t.Fatal(err)
		}
		path, data := artifacts[0].Path, artifacts[0].Data
		put := func(data []byte) {
			t.Helper()
			os.Remove(path)
			if err := os.WriteFile(path, data, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for n := range len(data) {
			put(data[:n])
			if in, err := m.readScript(path); err != nil || in == nil {
				t.Fatalf("%s: cut after %d bytes, it is not ours: %v", name, n, err)
			}
		}
		put(data)
		if in, err := m.readScript(path); err != nil || in.instance != s.Instance || in.service != s.Name {
			t.Errorf("%s: %+v, %v", name, in, err)
		}
		elsewhere := *m
		elsewhere.stateDir = "/opt/state"
		var foreign *ForeignError
		if _, err := elsewhere.readScript(path); !errors.As(err, &foreign) || foreign.StateDir != "/var/lib/instar" {
			t.Errorf("%s: of another state folder: %v", name, err)
		}
		put([]byte("#!/bin/sh\nexec nginx\n"))
		if _, err := m.readScript(path); !errors.As(err, &foreign) || foreign.StateDir != "" {
			t.Errorf("%s: somebody's: %v", name, err)
		}
		os.Remove(path)
		os.Symlink("/dev/null", path)
		if _, err := m.readScript(path); !errors.As(err, &foreign) {
			t.Errorf("%s: a link: %v", name, err)
		}
	}
}

func TestRenderScriptRefuses(t *testing.T) {
	for name, m := range paperInits(t) {
		for want, change := range map[string]func(*service.Spec){
			"bad name":          func(s *service.Spec) { s.Name = "../x" },
			"absolute path":     func(s *service.Spec) { s.Argv = []string{"nginx"} },
			"not absolute":      func(s *service.Spec) { s.Dir = "x" },
			"has a NUL":         func(s *service.Spec) { s.PrivateEnv = []string{"A=\x00"} },
			"stop_signal: unkn": func(s *service.Spec) { s.StopSignal = "NOPE" },
			"reload: unknown s": func(s *service.Spec) { s.ReloadSig = "NOPE" },
		} {
			s := sample()
			change(&s)
			if _, err := m.Render(s); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q: %v", name, want, err)
			}
		}
	}
}

func TestLevels(t *testing.T) {
	after := map[string][]string{"b": {"a"}, "c": {"b", "a"}, "d": {"nobody"}, "x": {"y"}, "y": {"x"}}
	got := levels([]string{"c", "b", "a", "d", "x", "y"}, after)
	x, y := got["x"], got["y"]
	delete(got, "x")
	delete(got, "y")
	if want := map[string]int{"a": 0, "b": 1, "c": 2, "d": 0}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if x+y != 1 {
		t.Errorf("a cycle ends at %d and %d", x, y)
	}
	if got, want := inLevels([]string{"c", "b", "a", "d"}, after), [][]string{{"a", "d"}, {"b"}, {"c"}}; !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestBootLinks(t *testing.T) {
	for name, m := range paperInits(t) {
		levels := map[string]int{"instar-i-a": 0, "instar-i-b": 1}
		check := func(when string, a, b bool) {
			t.Helper()
			booted, err := m.init.booted(levels)
			if err != nil || booted["instar-i-a"] != a || booted["instar-i-b"] != b {
				t.Errorf("%s, %s: %v, %v", name, when, booted, err)
			}
		}
		enable := func() {
			t.Helper()
			if err := m.init.enable(t.Context(), levels); err != nil {
				t.Fatal(err)
			}
		}
		check("at first", false, false)
		enable()
		check("enabled", true, true)
		enable()
		etc := filepath.Dir(filepath.Dir(m.init.store().path("x")))
		links, _ := filepath.Glob(etc + "/*/*instar-i-*")
		more, _ := filepath.Glob(etc + "/*/*/instar-i-*")
		links = append(links, more...)
		want := map[string]int{"sysv": 14, "openrc": 2}[name]
		if len(links) != want {
			t.Errorf("%s: %d links, want %d: %q", name, len(links), want, links)
		}
		for _, link := range links {
			to, err := os.Readlink(link)
			if err == nil && !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(link), to)
			}
			if err != nil || filepath.Dir(to) != filepath.Join(etc, "init.d") {
				t.Errorf("%s leads to %s, %v", link, to, err)
			}
		}
		if err := os.Remove(links[0]); err != nil {
			t.Fatal(err)
		}
		booted, err := m.init.booted(levels)
		if err != nil || booted["instar-i-a"] && booted["instar-i-b"] {
			t.Errorf("%s: a link that is gone is not missed: %v", name, err)
		}
		enable()
		if name == "sysv" {
			levels["instar-i-a"], levels["instar-i-b"] = 1, 0
			check("another order", false, false)
			enable()
			check("another order", true, true)
			if _, err := os.Lstat(etc + "/rc3.d/S21instar-i-a"); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(etc + "/rc0.d/K79instar-i-a"); err != nil {
				t.Error(err)
			}
		}
		if err := m.init.disable(t.Context(), []string{"instar-i-a", "instar-i-never"}); err != nil {
			t.Fatal(err)
		}
		check("disabled", false, true)
		if err := m.init.disable(t.Context(), mapKeys(levels)); err != nil {
			t.Fatal(err)
		}
		links, _ = filepath.Glob(etc + "/*/*instar-i-*")
		if len(links) > 0 {
			t.Errorf("%s: left %q", name, links)
		}
	}
}

func TestMarkerOfAShim(t *testing.T) {
	for _, x := range []service.Exit{
		{Code: 3, Reason: "exit status 3"},
		{Code: 0, Reason: "exit status 0"},
		{Code: -1, Reason: "signal: KILL"},
		{Code: -1, Reason: "signal: SEGV (core dumped)"},
		{Code: -1, Reason: "used 12.0 MiB of memory, may use 8.0 MiB"},
	} {
		x.Instance, x.Name = "i", "s"
		path := filepath.Join(t.TempDir(), "exits", "i.s.json")
		if err := shim.WriteMarker(path, shim.MarkerOf(x)); err != nil {
			t.Fatal(err)
		}
		got, err := readMarker(path)
		got.At = x.At
		if err != nil || got != x {
			t.Errorf("%+v became %+v, %v", x, got, err)
		}
	}
}

func TestShimmedNeeds(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("what is refused to others is all that others get to see")
	}
	for want, o := range map[string]Options{
		"only root":        {StateDir: "/x", Binary: "/x", User: true},
		"path of instar":   {StateDir: "/x"},
		"no line of UTF-8": {StateDir: "/x\ny", Binary: "/x"},
		"no folder":        {StateDir: "/x", Binary: "/x"},
	} {
		if _, err := newShimmed(&sysv{initd: initd{etc: "/nowhere"}}, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	m := paperInits(t)["sysv"]
	s := sample()
	if got := Unsupported(m, s); len(got) != 1 || !strings.Contains(got[0], "cpu=0.5") {
		t.Errorf("unsupported: %q", got)
	}
	if got := Hint(m); (got == "") != (Detect() == "sysv") {
		t.Errorf("hint %q where %s runs the machine", got, Detect())
	}
}

package native

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"instar/runtime/plan"
	"instar/runtime/service"
	"pgregory.net/rapid"
)

// paper returns a backend that never asks anybody anything.
func paper(t testing.TB) *systemd {
	dir := "/nowhere"
	if t != nil {
		dir = t.TempDir()
	}
	return &systemd{stateDir: "/var/lib/instar", unitDir: dir, systemctl: "/bin/systemctl", uid: 1000, version: func() int { return 252 }}
}

func sample() service.Spec {
	id := plan.Identity{User: "web", UID: 1001, GID: 1002, Groups: []int{4, 5}, Home: "/srv/instar/my web"}
	return service.Spec{
		Instance: "my-web", Name: "front@1", Argv: []string{id.Home + "/etc/services/front@1", "$x", "50%"}, Env: id.Environ(), Dir: id.Home, Identity: id, Umask: 0o027,
		Restart: "on-failure", After: []string{"back", "once"}, ReloadSig: "HUP", StopSignal: "QUIT", StopTimeout: 90 * time.Second,
		Limits: plan.Limits{NoFile: 1000, NProc: 10, Memory: 1 << 30, CPU: 0.5},
		Digest: "d1", ReloadDigest: "r1", Inputs: map[string]string{"etc/ä": "1"},
	}
}

// rotation returns a timer that tells a service, with a secret in its
// environment.
func rotation() service.Spec {
	s := sample()
	s.Name, s.After, s.ReloadSig = "logs", nil, ""
	s.Run, s.Restart, s.Schedule = true, "no", "5 4 1 * 1"
	s.ThenService, s.ThenSignal = "front@1", "USR1"
	s.PrivateEnv = []string{"SECRET=it's"}
	return s
}

// values returns what a unit's keys say, in order, without instar's scripts.
func values(text []byte, key string) []string {
	var all []string
	for line := range strings.SplitSeq(string(text), "\n") {
		if value, ok := strings.CutPrefix(line, key+"="); ok {
			all = append(all, value)
		}
	}
	return all
}

func TestUnit(t *testing.T) {
	data, err := paper(t).render(sample())
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"After":         `network.target remote-fs.target nss-user-lookup.target instar-my\x2dweb-back.service instar-my\x2dweb-once.service`,
		"Slice":         `instar-my\x2dweb.slice`,
		"Type":          "exec",
		"Restart":       "on-failure",
		"User":          "1001",
		"Group":         "1002",
		"KillSignal":    "SIGQUIT",
		"WantedBy":      "multi-user.target",
		"ExecStart":     `"/srv/instar/my web/etc/services/front@1" "$$x" "50%%"`,
		"CPUQuota":      "50.00%",
		"MemoryMax":     "1073741824",
		"UMask":         "0027",
		"Environment":   `"PATH=` + plan.DefaultPath + `"`, // the first
		"ProtectSystem": "strict", "ReadWritePaths": `"-/srv/instar/my web" -/tmp -/var/tmp -/run -/var/lock`,
		"SupplementaryGroups": "4 5", "NoNewPrivileges": "yes", "TimeoutStopSec": "90000ms", "StartLimitIntervalSec": "0",
		"WorkingDirectory": "/srv/instar/my web", "ExecReload": `"/bin/sh" "-c" "kill -s HUP \"$$MAINPID\""`,
	} {
		if got := values(data, key); len(got) == 0 || got[0] != want {
			t.Errorf("%s=%q, want %q", key, got, want)
		}
	}
	if n := len(values(data, "ExecReload")); n != 2 {
		t.Errorf("%d ExecReload lines", n)
	}
	for _, c := range string(data) {
		if c >= 0x80 {
			t.Errorf("not ASCII: %q", c)
		}
	}
}

// TestUnitVerifies asks systemd's own checker, where there is one.
func TestUnitVerifies(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	m := paper(t)
	m.systemctl = "/bin/true"
	root := t.TempDir()
	run := sample()
	run.Run, run.Name, run.After = true, "once", nil
	user := sample()
	user.Name, user.Env = "own", append(user.Env, "A=b")
	back := sample()
	back.Name, back.After, back.Restart = "back", nil, "no"
	var args []string
	for _, spec := range []service.Spec{sample(), run, user, back, rotation()} {
		spec.Argv[0], spec.Dir, spec.Identity.Home = "/bin/sh", root, root
		artifacts, err := m.Render(spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range artifacts {
			if filepath.Dir(a.Path) != m.unitDir {
				continue
			}
			if err := os.WriteFile(a.Path, a.Data, 0o644); err != nil {
				t.Fatal(err)
			}
			args = append(args, a.Path)
		}
	}
	verify := func() string {
		out, err := exec.Command(analyze, append([]string{"verify", "--man=no"}, args...)...).CombinedOutput()
		if err != nil {
			return fmt.Sprintf("%v\n%s", err, out)
		}
		return string(out)
	}
	if got := verify(); got != "" {
		t.Error(got)
	}
	data, _ := os.ReadFile(args[0])
	if err := os.WriteFile(args[0], append(data, "[Service]\nNoSuchKey=1\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	if verify() == "" {
		t.Error("systemd-analyze finds nothing, whatever it is given")
	}
}

// parseWords reads a line as systemd.syntax(7) and systemd.service(5) say: not
// with the writer's own code. Specifiers and variables other than the doubled
// ones are errors, since the writer never means any.
func parseWords(line string, variables bool) ([]string, error) {
	var words []string
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		if line[0] != '"' {
			return nil, fmt.Errorf("not quoted: %s", line)
		}
		var word []byte
		i := 1
		for ; line[i] != '"'; i++ {
			switch c := line[i]; {
			case c == '\\' && line[i+1] == 'x':
				n, err := strconv.ParseUint(line[i+2:i+4], 16, 8)
				if err != nil {
					return nil, err
				}
				word = append(word, byte(n))
				i += 3
			case c == '\\' && (line[i+1] == '\\' || line[i+1] == '"'):
				i++
				word = append(word, line[i])
			case c == '%' || c == '$' && variables:
				if i++; line[i] != c {
					return nil, fmt.Errorf("%q means something", line[i-1:i+1])
				}
				word = append(word, c)
			case c == '\\' || c < 0x20 || c == 0x7f:
				return nil, fmt.Errorf("%q stands there", c)
			default:
				word = append(word, c)
			}
		}
		words, line = append(words, string(word)), line[i+1:]
	}
	return words, nil
}

func TestQuotingRoundTrip(t *testing.T) {
	text := rapid.OneOf(rapid.StringOf(rapid.SampledFrom([]rune("\"\\'$% \n\t\x01\x7fax41é🙂;{}"))), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(text, 1, 5).Draw(t, "words")
		for _, variables := range []bool{true, false} {
			var quoted []string
			for _, w := range want {
				quoted = append(quoted, quoteUnit(w, variables))
			}
			got, err := parseWords(strings.Join(quoted, " "), variables)
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("%q became %q: %v", want, got, err)
			}
		}
	})
}

// TestCommandRoundTrip: the command line, however it comes to the program, has
// all of its arguments, and the folder and the variables where they are needed.
func TestCommandRoundTrip(t *testing.T) {
	m := paper(t)
	rapid.Check(t, func(t *rapid.T) {
		nasty := rapid.StringOf(rapid.SampledFrom([]rune("\"\\'$% \n\tax=é")))
		spec := sample()
		spec.Argv = append([]string{"/p" + nasty.Draw(t, "program")}, rapid.SliceOf(nasty).Draw(t, "arguments")...)
		spec.Dir = "/d" + nasty.Draw(t, "folder")
		own := rapid.Bool().Draw(t, "variables")
		if own {
			spec.Env = append(spec.Env, "X="+nasty.Draw(t, "value"))
		}
		data, err := m.render(spec)
		if err != nil {
			t.Fatal(err)
		}
		line := values(data, "ExecStart")[0]
		program, rest, _ := strings.Cut(line[1:], `"`) // it has no quote in it
		words, err := parseWords(`"`+program+`"`, false)
		if err != nil {
			t.Fatal(err)
		}
		arguments, err := parseWords(rest, true)
		if err != nil {
			t.Fatal(err)
		}
		got := append(words, arguments...)
		if own {
			n := len(spec.Env) - 1 // the declared one is private
			if got[0] != "/usr/bin/env" || got[1] != "-i" || !slices.Equal(got[2:2+n], spec.Env[:n]) || len(values(data, "Environment")) > 0 {
				t.Fatalf("variables: %q", got)
			}
			got = got[2+n:]
			if !slices.Equal(got[:4], []string{"/bin/sh", "-s", "--", spec.Dir}) {
				t.Fatalf("folder: %q", got)
			}
			got = got[4:]
		} else if dirs := values(data, "WorkingDirectory"); len(dirs) == 0 || got[0] == "/bin/sh" {
			if got[0] != "/bin/sh" || got[2] != becomeScript || got[4] != spec.Dir {
				t.Fatalf("folder: %q", got)
			}
			got = got[5:]
		} else if strings.ReplaceAll(dirs[0], "%%", "%") != spec.Dir {
			t.Fatalf("folder: %q", dirs)
		}
		if !slices.Equal(got, spec.Argv) {
			t.Fatalf("%q became %q", spec.Argv, got)
		}
		if strings.Count(string(data), "\n[") != 4 {
			t.Fatalf("sections were made up:\n%s", data)
		}
	})
}

// TestNothingForRoot: no variable of a service that runs as somebody reaches
// the scripts that root runs for it, but those that change nothing.
func TestNothingForRoot(t *testing.T) {
	for _, pair := range []string{"LD_PRELOAD=/srv/x.so", "PATH=/srv/bin", "ENV=/srv/x", "IFS=x", "BASH_ENV=/srv/x", "HOME=a\nb"} {
		spec := sample()
		spec.Env = append(spec.Env, pair)
		data, err := paper(t).render(spec)
		if err != nil {
			t.Fatal(err)
		}
		if got := values(data, "Environment"); len(got) > 0 {
			t.Errorf("%q: Environment=%q", pair, got)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	for want, change := range map[string]func(*service.Spec){
		"absolute path":      func(s *service.Spec) { s.Argv = []string{"sh"} },
		"must be":            func(s *service.Spec) { s.Argv = nil },
		"not UTF-8":          func(s *service.Spec) { s.Argv = append(s.Argv, "\xff") },
		"NUL":                func(s *service.Spec) { s.Env = append(s.Env, "A=\x00") },
		"has no name":        func(s *service.Spec) { s.Env = append(s.Env, "=x") },
		"set by a shell":     func(s *service.Spec) { s.PrivateEnv = append(s.PrivateEnv, "A.B=x") },
		"schedule: ":         func(s *service.Spec) { s.Schedule = "61 * * * *" },
		"is not absolute":    func(s *service.Spec) { s.Dir = "x" },
		"bad name":           func(s *service.Spec) { s.Name = "../../evil" },
		"unknown signal":     func(s *service.Spec) { s.StopSignal = "NOPE" },
		`restart="sometime"`: func(s *service.Spec) { s.Restart = "sometime" },
		"bytes long":         func(s *service.Spec) { s.Argv = append(s.Argv, strings.Repeat("x", maxLine)) },
	} {
		spec := sample()
		change(&spec)
		if _, err := paper(t).Render(spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestUnitNamesAreApart: no two services of any instances share a unit, no unit
// seems to be of another instance, and names are found again.
func TestUnitNamesAreApart(t *testing.T) {
	instances := rapid.StringMatching(`[a-b0][a-b0-]{0,6}|[a-z0-9][a-z0-9-]{40}|a-{40}`)
	names := rapid.StringMatching(`[A-B0][A-B0_.@-]{0,6}|[A-Za-z0-9][A-Za-z0-9_.@-]{60}|a@{60}|a@{59}b`)
	rapid.Check(t, func(t *rapid.T) {
		i, j := instances.Draw(t, "instance"), instances.Draw(t, "instance")
		x, y := names.Draw(t, "service"), names.Draw(t, "service")
		a, b := unitName(i, x), unitName(j, y)
		if (a == b) != (i == j && x == y) {
			t.Fatalf("%q of %q and %q of %q are %q and %q", x, i, y, j, a, b)
		}
		if i != j && strings.HasPrefix(b, unitPrefix(i)) {
			t.Fatalf("%q of %q seems to be of %q", b, j, i)
		}
		if len(a) > maxUnitName || strings.ContainsAny(a, "@/ ") || !strings.HasSuffix(a, ".service") {
			t.Fatalf("%q cannot be a unit's name", a)
		}
		if i != j && (sliceName(i) == sliceName(j) || strings.HasPrefix(strings.TrimSuffix(sliceName(i), ".slice"), strings.TrimSuffix(sliceName(j), ".slice")+"-")) {
			t.Fatalf("slices %q and %q", sliceName(i), sliceName(j))
		}
		if got, ok := serviceOf(i, a); ok && got != x {
			t.Fatalf("%q is taken for %q", a, got)
		}
	})
	if got := unitName("web", "alpha"); got != "instar-web-alpha.service" {
		t.Errorf("a plain name became %q", got)
	}
	if got, ok := serviceOf("my-web", unitName("my-web", "a@b")); got != "a@b" || !ok {
		t.Errorf("found %q %t", got, ok)
	}
}

func TestMark(t *testing.T) {
	m := paper(t)
	spec := sample()
	data, err := m.render(spec)
	if err != nil {
		t.Fatal(err)
	}
	in, err := parseUnit("x", data)
	if err != nil || !in.intact {
		t.Fatalf("%v, intact %t", err, in.intact)
	}
	if diff := cmp.Diff(m.facts(spec), in.facts); diff != "" {
		t.Error(diff)
	}
	for cut := range data {
		in, err := parseUnit("x", data[:cut])
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if in.intact {
			t.Fatalf("cut at %d it is intact", cut)
		}
	}
	for i := len(mark) + len(hashMark); i < len(data); i++ {
		edited := slices.Clone(data)
		edited[i] ^= 1
		if in, err := parseUnit("x", edited); err != nil || in.intact {
			t.Fatalf("edited at %d: %v, intact", i, err)
		}
	}
	var foreign *ForeignError
	for _, text := range []string{"[Service]\n", "\n" + string(data), "# Made by somebody.\n"} {
		if _, err := parseUnit("x", []byte(text)); !errors.As(err, &foreign) {
			t.Errorf("%.20q is taken for ours: %v", text, err)
		}
	}
	path := filepath.Join(t.TempDir(), "x")
	if in, err := m.readUnit(path); in != nil || err != nil {
		t.Errorf("nothing there: %v %v", in, err)
	}
	if err := os.Symlink("/dev/null", path); err != nil {
		t.Fatal(err)
	}
	if _, err := m.readUnit(path); !errors.As(err, &foreign) {
		t.Errorf("a link is taken for ours: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := m.readUnit(path); err != nil {
		t.Error(err)
	}
	other := *m
	other.stateDir = "/elsewhere"
	if _, err := other.readUnit(path); !errors.As(err, &foreign) || foreign.StateDir != m.stateDir {
		t.Errorf("another node's is taken for ours: %v", err)
	}
}

func TestInputsThatAreManyAreLeftOut(t *testing.T) {
	spec := sample()
	spec.Inputs = map[string]string{}
	for i := range 10000 {
		spec.Inputs[fmt.Sprintf("etc/file-%d", i)] = strings.Repeat("0", 64)
	}
	data, err := paper(t).render(spec)
	if err != nil {
		t.Fatal(err)
	}
	if in, err := parseUnit("x", data); err != nil || in.Inputs != nil || in.Digest != spec.Digest {
		t.Errorf("%v, %d inputs, digest %q", err, len(in.Inputs), in.Digest)
	}
}

// TestGolden compares whole units with those in testdata: what systemd 252 is
// given, and what 254, whose pauses grow by themselves.
func TestGolden(t *testing.T) {
	run := sample()
	run.Run, run.Name, run.After, run.Restart = true, "once", nil, "on-failure"
	for _, version := range []int{252, 254} {
		m := paper(t)
		m.unitDir = "/etc/systemd/system"
		m.version = func() int { return version }
		var got txtar.Archive
		for _, spec := range []service.Spec{sample(), run, rotation()} {
			artifacts, err := m.Render(spec)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range artifacts {
				got.Files = append(got.Files, txtar.File{Name: a.Path, Data: a.Data})
			}
		}
		path := fmt.Sprintf("testdata/units-%d.txtar", version)
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(path, txtar.Format(&got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(txtar.Format(&got))); diff != "" {
			t.Errorf("%s: if that is meant, UPDATE=1 go test -run %s\n%s", path, t.Name(), diff)
		}
		steps := version >= 254
		for _, a := range got.Files {
			if strings.HasSuffix(a.Name, ".service") && len(values(a.Data, "StartLimitIntervalSec")) != 1 || strings.Contains(string(a.Data), "RestartSteps=") != (steps && len(values(a.Data, "RestartSec")) == 1) {
				t.Errorf("%s under systemd %d:\n%s", a.Name, version, a.Data)
			}
		}
	}
}

// TestFormatCounts: whoever changes what is rendered counts unitFormat up, so
// that units get the new text without a restart.
func TestFormatCounts(t *testing.T) {
	run, user := sample(), sample()
	run.Run = true
	user.Env = append(user.Env, "A=b")
	var all strings.Builder
	for _, spec := range []service.Spec{sample(), run, user, rotation()} {
		for _, own := range []bool{false, true} {
			m := paper(t)
			m.user, m.uid = own, spec.Identity.UID
			artifacts, err := m.Render(spec)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range artifacts {
				all.Write(a.Data)
			}
		}
	}
	text := strings.ReplaceAll(all.String(), fmt.Sprintf(`"format":"%d `, unitFormat), `"format":"N `)
	var sealed []string
	for line := range strings.SplitSeq(text, "\n") {
		if !strings.HasPrefix(line, hashMark) {
			sealed = append(sealed, line)
		}
	}
	got, want := map[string]string{}, map[string]string{}
	got[strconv.Itoa(unitFormat)] = hashOf(strings.Join(sealed, "\n"))
	data, err := os.ReadFile("testdata/formats.json")
	if err == nil {
		err = json.Unmarshal(data, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	for format, hash := range want {
		if n, _ := strconv.Atoi(format); n < unitFormat && hash == got[strconv.Itoa(unitFormat)] {
			t.Errorf("format %s is the same", format)
		}
	}
	if os.Getenv("UPDATE") != "" {
		maps.Copy(want, got)
		data, _ := json.MarshalIndent(want, "", "\t")
		if err := os.WriteFile("testdata/formats.json", append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if n := strconv.Itoa(unitFormat); got[n] != want[n] {
		t.Errorf("what is rendered has changed: count unitFormat up, then UPDATE=1 go test -run %s", t.Name())
	}
}

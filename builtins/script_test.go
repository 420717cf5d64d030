//go:build unix

package builtins

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// dumper is the name under which this test binary shows how it was started.
const dumper = "dump process's $state"

// started is what a process was started with.
type started struct {
	Args  [][]byte
	Env   map[string][]byte
	Dir   string
	Umask int
}

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != dumper {
		os.Exit(m.Run())
	}
	s := started{Env: map[string][]byte{}}
	for _, arg := range os.Args[1:] {
		s.Args = append(s.Args, []byte(arg))
	}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		s.Env[name] = []byte(value)
	}
	s.Dir, _ = syscall.Getwd()
	s.Umask = syscall.Umask(0)
	if err := json.NewEncoder(os.Stdout).Encode(s); err != nil {
		os.Exit(1)
	}
	syscall.Exit(0) // at once: with the race detector, os.Exit takes a second
}

// shells are those of this machine that a /bin/sh may be.
func shells(t *testing.T) map[string][]string {
	found := map[string][]string{"sh": {"/bin/sh"}}
	for _, shell := range [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "sh"}, {"ksh"}, {"mksh"}, {"zsh", "--emulate", "sh"}, {"yash", "-o", "posix"}} {
		if path, err := exec.LookPath(shell[0]); err == nil {
			found[shell[0]] = append([]string{path}, shell[1:]...)
		}
	}
	return found
}

// place is where scripts of a test run.
type place struct {
	dir     string // its name is a trap for quoting
	program string
}

func newPlace(t *testing.T) place {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "it's a $(folder) `x` \"y\" \\\n-z")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := place{dir, filepath.Join(dir, dumper)}
	if err := os.Symlink(self, p.program); err != nil {
		t.Fatal(err)
	}
	return p
}

// run executes a script in a shell.
func (p place) run(t rapid.TB, shell []string, s script, env []string, args ...string) started {
	t.Helper()
	path := filepath.Join(p.dir, "script")
	if err := os.WriteFile(path, s.text(), 0o700); err != nil {
		t.Fatal(err)
	}
	argv := append(append(slices.Clone(shell), path), args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = env
	cmd.Dir = "/"
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v: %s\n%q", err, stderr.Bytes(), s.text())
	}
	var got started
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %q", err, out)
	}
	return got
}

// word is text of any bytes but zero, with many that mean something to a
// shell.
var word = rapid.Custom(func(t *rapid.T) string {
	hard := rapid.SampledFrom([]string{"'", "\"", "\\", "$", "`", "\n", " ", "\t", "*", "?", "[", "~", "!", "#", "&", ";", "|", "-", "--", "=", "%", "\r",
		"\x01", "\x1b", "\x7f", "\x80", "\x81", "\x82", "\x83", "\x84", "\x85", "\x86", "\x87", "\x88", "\x98", "\xff", "é", "日本", "\\n", "$(id)", "${x}", "a", "0", "export A=b\n"})
	var b strings.Builder
	for _, part := range rapid.SliceOfN(rapid.OneOf(hard, rapid.StringN(0, 4, -1)), 0, 12).Draw(t, "parts") {
		b.WriteString(strings.ReplaceAll(part, "\x00", "0"))
	}
	return b.String()
})

var variable = rapid.StringMatching(`[A-Z][A-Z0-9_]{0,8}X`)

func pairs(env map[string]string) []string {
	var list []string
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

func bytesOf(texts []string) [][]byte {
	var all [][]byte
	for _, text := range texts {
		all = append(all, []byte(text))
	}
	return all
}

// Any argument and any variable reaches the program byte for byte.
func TestWrapperBytes(t *testing.T) {
	for name, shell := range shells(t) {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			rapid.Check(t, func(t *rapid.T) {
				args := rapid.SliceOfN(word, 0, 6).Draw(t, "args")
				more := rapid.SliceOfN(word, 0, 4).Draw(t, "more")
				env := rapid.MapOfN(variable, word, 0, 4).Draw(t, "env")
				umask := rapid.SampledFrom([]int{-1, 0, 0o27, 0o77, 0o777}).Draw(t, "umask")
				s := script{argv: append([]string{p.program}, args...), env: pairs(env), dir: p.dir, umask: umask}
				got := p.run(t, shell, s, []string{"INHERITED=yes", "LC_ALL=C"}, more...)
				if diff := cmp.Diff(bytesOf(append(args, more...)), got.Args); diff != "" {
					t.Fatalf("arguments (-want +got):\n%s", diff)
				}
				for name, value := range env {
					if string(got.Env[name]) != value {
						t.Fatalf("%s: got %q, want %q", name, got.Env[name], value)
					}
				}
				if got.Dir != p.dir || string(got.Env["INHERITED"]) != "yes" {
					t.Fatalf("got folder %q, environment %q", got.Dir, got.Env)
				}
				if umask >= 0 && got.Umask != umask {
					t.Fatalf("got umask %04o, want %04o", got.Umask, umask)
				}
			})
		})
	}
}

// A service gets the standard environment, its own, and instar's marks;
// whatever the environment of whoever starts its script.
func TestServiceEnvironment(t *testing.T) {
	for name, shell := range shells(t) {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			rapid.Check(t, func(t *rapid.T) {
				env := rapid.MapOfN(variable, word, 0, 4).Draw(t, "env")
				dirt := rapid.MapOfN(rapid.StringMatching(`[a-z_][a-z0-9_]{0,8}x`), word, 0, 8).Draw(t, "dirt")
				dirt["INSTAR_MARK"] = "a'b\nc"
				dirt["HOME"], dirt["PATH"], dirt["IFS"], dirt["ENV_X"], dirt["PWD"], dirt["SHLVL"] = "/nowhere", "/nowhere", "x", "/x", "/", "7"
				s := script{argv: []string{p.program, "x"}, env: pairs(env), dir: p.dir, umask: 0o27, clear: true,
					base: []string{"PATH=/usr/bin:/bin", "HOME=" + p.dir, "USER=it's me", "LANG=C.UTF-8"}}
				got := p.run(t, shell, s, pairs(dirt))
				want := map[string][]byte{"INSTAR_MARK": []byte("a'b\nc"), "PATH": []byte("/usr/bin:/bin"), "HOME": []byte(p.dir),
					"USER": []byte("it's me"), "LANG": []byte("C.UTF-8")}
				for name, value := range env {
					want[name] = []byte(value)
				}
				delete(got.Env, "_") // bash sets these two itself, when it executes
				delete(got.Env, "SHLVL")
				if diff := cmp.Diff(want, got.Env); diff != "" {
					t.Fatalf("environment (-want +got):\n%s", diff)
				}
				if got.Dir != p.dir || got.Umask != 0o27 || len(got.Args) != 1 {
					t.Fatalf("got %+v", got)
				}
			})
		})
	}
}

func TestScriptLongArguments(t *testing.T) {
	p := newPlace(t)
	long := strings.Repeat("it's \\ $x\n", 10_000)
	s := script{argv: []string{p.program, long}, env: []string{"LONG=" + long}, umask: -1}
	got := p.run(t, []string{"/bin/sh"}, s, nil)
	if string(got.Args[0]) != long || string(got.Env["LONG"]) != long {
		t.Errorf("got %d and %d bytes, want %d", len(got.Args[0]), len(got.Env["LONG"]), len(long))
	}
}

func TestScriptWaitsForFiles(t *testing.T) {
	p := newPlace(t)
	ready := filepath.Join(p.dir, "ready")
	s := script{argv: []string{p.program}, umask: -1, waitFor: []string{ready}}
	path := filepath.Join(p.dir, "script")
	if err := os.WriteFile(path, s.text(), 0o700); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(p.dir, "out")
	file, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// The script waits by calling sleep, which here tells that it does.
	waits := filepath.Join(p.dir, "waits")
	bin := t.TempDir()
	sleep := "#!/bin/sh\n: >\"$WAITS\"\nPATH=$TRUE_PATH exec sleep \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "sleep"), []byte(sleep), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), "WAITS="+waits, "TRUE_PATH="+os.Getenv("PATH"), "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.Stdout = file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := os.Lstat(waits); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not wait")
		}
	}
	if early, err := os.ReadFile(out); err != nil || len(early) > 0 {
		t.Errorf("it did not wait: %v, %q", err, early)
	}
	if err := os.WriteFile(ready, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if late, err := os.ReadFile(out); err != nil || !json.Valid(late) {
		t.Errorf("%v: %q", err, late)
	}
}

func TestScriptWithoutItsFolder(t *testing.T) {
	p := newPlace(t)
	path := filepath.Join(p.dir, "script")
	s := script{argv: []string{p.program}, umask: -1, dir: filepath.Join(p.dir, "none")}
	if err := os.WriteFile(path, s.text(), 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path).Output()
	if err == nil || len(out) > 0 {
		t.Errorf("started in the wrong folder: %v, %s", err, out)
	}
}

// The text of a script is what a service's restart depends on: a change here
// restarts every service of every instance.
func TestScriptText(t *testing.T) {
	s := script{argv: []string{"/bin/app", "it's", ""}, env: []string{"A=b=c"}, dir: "/srv/web", umask: 0o27, waitFor: []string{"/x"}}
	want := `#!/bin/sh
# Made by instar: changes are undone.
umask 0027
until [ -e '/x' ]; do sleep 0.2 2>/dev/null || sleep 1; done
cd '/srv/web' || exit 1
export A='b=c'
exec '/bin/app' 'it'\''s' '' "$@"
`
	if got := string(s.text()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	s.clear, s.base = true, []string{"PATH=/bin"}
	if got := string(s.text()); !strings.Contains(got, clearing+"export PATH='/bin'\n") {
		t.Errorf("got\n%s", got)
	}
}

func ExampleBuiltin_Signature() {
	fmt.Println(Lookup("mkdir").Signature())
	// Output: mkdir(path, mode=0o750, owner=None, group=None)
}

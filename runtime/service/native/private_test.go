//go:build linux

package native

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestPrivateRoundTrip: in every shell, what a declaration sets arrives as it is,
// with nothing beside it, and so do the arguments.
func TestPrivateRoundTrip(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, shell := range shells(t) {
		words := []string{shell}
		if strings.HasSuffix(shell, "busybox") {
			words = append(words, "sh")
		}
		dir, file := t.TempDir(), t.TempDir()+"/report"
		rapid.Check(t, func(t *rapid.T) {
			nasty := rapid.StringOf(rapid.SampledFrom([]rune("\"\\'$%` \n\t\x01a=é#;&*~!")))
			u := &unit{systemd: paper(nil), spec: sample()}
			want := map[string]string{}
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"A", "_b", "PATH", "HOME", "IFS", "PS1", "LD_LIBRARY_PATH", "PWD", "TERM"}), 1, 4, rapid.ID).Draw(t, "names") {
				want[name] = nasty.Draw(t, "value")
				u.spec.PrivateEnv = append(u.spec.PrivateEnv, name+"="+want[name])
			}
			base, _ := u.variables()
			for _, pair := range base {
				name, value, _ := strings.Cut(pair, "=")
				if _, declared := want[name]; !declared {
					want[name] = value
				}
			}
			arguments := rapid.SliceOf(nasty).Draw(t, "arguments")
			argv := append(append([]string{"-i"}, base...), words...)
			argv = append(argv, "-s", "--", dir, program, dumpOnce, file)
			cmd := exec.Command("/usr/bin/env", append(argv, arguments...)...)
			cmd.Stdin = bytes.NewReader(u.private())
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Fatalf("%s: %v\n%s\n%s", shell, err, out, u.private())
			}
			var r report
			if data, err := os.ReadFile(file); err != nil || json.Unmarshal(data, &r) != nil {
				t.Fatal(err)
			}
			got := maps.Collect(pairs(r.Env))
			if diff := cmp.Diff(want, got) + cmp.Diff(append([]string{}, arguments...), r.Args); diff != "" || r.Dir != dir {
				t.Fatalf("%s: in %s\n%s", shell, r.Dir, diff)
			}
		})
	}
}

// TestPrivateHoldsAllThatIsDeclared: nothing that a declaration sets stands in the
// unit, secret or not, and nothing in the file that every process has.
func TestPrivateHoldsAllThatIsDeclared(t *testing.T) {
	spec := sample()
	base := maps.Collect(pairs(spec.Env))
	spec.Env = append(spec.Env, "PLAIN=plain-value", "PATH=/srv/declared")
	spec.PrivateEnv = []string{"SECRET=secret-value"}
	data, private, err := paper(t).renderAll(spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"plain-value", "secret-value", "/srv/declared"} {
		if bytes.Contains(data, []byte(value)) || !bytes.Contains(private, []byte("='"+value+"'\n")) {
			t.Errorf("%s:\n%s\n%s", value, data, private)
		}
	}
	if got := bytes.Count(private, []byte("export ")); got != 3 {
		t.Errorf("%d variables:\n%s", got, private)
	}
	for name, value := range base {
		if !bytes.Contains(data, []byte(execWord(name+"="+value))) {
			t.Errorf("%s is not given to it:\n%s", name, data)
		}
	}
	if _, private, _ = paper(t).renderAll(sample()); private != nil {
		t.Errorf("nothing is declared:\n%s", private)
	}
}

// pairs goes through "K=V".
func pairs(env []string) func(func(string, string) bool) {
	return func(yield func(string, string) bool) {
		for _, pair := range env {
			name, value, _ := strings.Cut(pair, "=")
			if !yield(name, value) {
				return
			}
		}
	}
}

func TestCheckNames(t *testing.T) {
	for name, ok := range map[string]bool{"A": true, "_a1": true, "Z9_": true, "": false, "1a": false, "a-b": false, "a.b": false, "ä": false, "[": false, "@": false, "`": false, "{": false} {
		if err := checkNames([]string{fmt.Sprint(name, "=x")}); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

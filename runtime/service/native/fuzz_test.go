package native

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzUnit: what a unit's command line says, to whoever reads it as systemd's
// manuals do, are the arguments that it was made of; and no text makes up a line of
// its own.
func FuzzUnit(f *testing.F) {
	f.Add("/bin/x\x00a b\x00$HOME\x00%n\x00\"'\\", "/srv/a b", "A=x\ny")
	f.Add("/bin/y\x00;\x00\n[Service]\nUser=root", "/srv", "B=%%$x")
	f.Add("/a\"b\x00\\x41", "/d\n", "C=")
	f.Fuzz(func(t *testing.T, command, folder, variable string) {
		spec := sample()
		spec.Argv = strings.Split(command, "\x00")
		spec.Dir = folder
		if variable != "" {
			spec.Env = append(spec.Env, variable)
		}
		data, err := paper(nil).render(spec)
		if err != nil {
			return
		}
		if !utf8.Valid(data) || strings.Count(string(data), "\n[") != 4 {
			t.Fatalf("sections were made up:\n%s", data)
		}
		for _, key := range []string{"ExecStart", "User", "Group", "Slice", "UMask", "Type"} {
			if n := len(values(data, key)); n != 1 {
				t.Fatalf("%d lines %s=:\n%s", n, key, data)
			}
		}
		line := values(data, "ExecStart")[0]
		program, rest, _ := strings.Cut(line[1:], `"`) // it has no quote in it
		got, err := parseWords(`"`+program+`"`, false)
		if err != nil {
			t.Fatal(err)
		}
		arguments, err := parseWords(rest, true)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, arguments...)
		if len(got) < len(spec.Argv) || !slices.Equal(got[len(got)-len(spec.Argv):], spec.Argv) {
			t.Fatalf("%q became %q", spec.Argv, got)
		}
	})
}

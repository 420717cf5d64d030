package interp_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"instar/starlark/interp"
)

func TestNearest(t *testing.T) {
	builtins := []string{
		"mkdir", "mkdir_once", "file", "file_once", "template", "param", "publish", "mode", "owner", "group",
		"service", "run", "wrapper", "symlink", "copy", "command_once", "command_changed", "promise", "node", "name",
	}
	tests := map[string]string{
		"mkdri_once": "mkdir_once", "mkdironce": "mkdir_once", "mkDir": "mkdir", "mod": "mode", "naem": "name",
		"tempalte": "template", "sevrice": "service", "owne": "owner", "publsh": "publish",
		"Wrapper": "wrapper", "command_chagned": "command_changed", "fiel": "file", "mkdir": "mkdir_once",
		"zebra": "", "x": "", "": "", "configuration": "", "ab": "",
	}
	delete(tests, "mkdir") // the name itself is known, so nobody asks
	for name, want := range tests {
		if got, ok := interp.Nearest(name, builtins); got != want || ok != (want != "") {
			t.Errorf("Nearest(%q): got %q, %v; want %q", name, got, ok, want)
		}
	}
	if got, _ := interp.Nearest("bar", []string{"cat", "car", "baz"}); got != "baz" {
		t.Errorf("of equals: got %q, want baz", got)
	}
}

// One mistake in a name of some length is always forgiven.
func TestNearestOfOneMistake(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z]{4,12}`).Draw(t, "name")
		runes := []rune(name)
		i := rapid.IntRange(0, len(runes)-2).Draw(t, "i")
		wrong := slices.Clone(runes)
		switch rapid.IntRange(0, 3).Draw(t, "mistake") {
		case 0:
			wrong[i], wrong[i+1] = wrong[i+1], wrong[i]
		case 1:
			wrong = slices.Delete(wrong, i, i+1)
		case 2:
			wrong = slices.Insert(wrong, i, 'x')
		case 3:
			wrong[i] = 'q'
		}
		if string(wrong) == name {
			return
		}
		if got, ok := interp.Nearest(string(wrong), []string{"0123456789", name}); !ok || got != name {
			t.Fatalf("Nearest(%q) = %q, want %q", string(wrong), got, name)
		}
	})
}

func TestResolve(t *testing.T) {
	tests := []struct{ from, ref, want string }{
		{"instance.star", "lib.star", "lib.star"},
		{"instance.star", "lib/x.star", "lib/x.star"},
		{"instance.star", "./lib/../x.star", "x.star"},
		{"instance.star", "//lib/x.star", "lib/x.star"},
		{"instance.star", "@std//x.star", "@std//x.star"},
		{"lib/a.star", "b.star", "lib/b.star"},
		{"lib/a.star", "../b.star", "b.star"},
		{"lib/a.star", "//b.star", "b.star"},
		{"lib/a.star", "my.cnf.tmpl", "lib/my.cnf.tmpl"},
		{"@std//a.star", "b.star", "@std//b.star"},
		{"@std//x/a.star", "b.star", "@std//x/b.star"},
		{"@std//x/a.star", "//b.star", "@std//b.star"},
		{"@std//x/a.star", "../b.star", "@std//b.star"},
		{"a.star", "..b.star", "..b.star"},
		{"a.star", "../b.star", ""},
		{"lib/a.star", "../../b.star", ""},
		{"lib/a.star", "//../b.star", ""},
		{"lib/a.star", "///b.star", ""},
		{"a.star", "/b.star", ""},
		{"a.star", "", ""},
		{"a.star", "..", ""},
		{"a.star", `..\b.star`, ""},
		{"a.star", "a\x00b", ""},
		{"a.star", "@other//b.star", ""},
		{"a.star", "@std//../b.star", ""},
		{"@std//a.star", "../b.star", ""},
		{"@std//a.star", "@std///etc/passwd", ""},
	}
	for _, test := range tests {
		got, err := interp.Resolve(test.from, test.ref)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("Resolve(%q, %q): got %q, %v; want %q", test.from, test.ref, got, err, test.want)
		}
	}
}

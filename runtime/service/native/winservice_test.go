package native

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestWinService(t *testing.T) {
	s := initScript{name: "instar-my_2dweb-front_401", description: "instar my-web: front_401",
		binary: `C:\Program Files\instar\instar.exe`, spec: `C:\ProgramData\instar\shim\my-web\front@1\spec.json`}
	text := winServiceFor(s).text()
	golden := filepath.Join("testdata", "windows.service")
	if update := flag.Lookup("update"); update != nil && update.Value.String() == "true" {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (-update rewrites it):\n%s", golden, diff)
	}
	back, ok := winServiceOf(text)
	if !ok || back != winServiceFor(s) {
		t.Errorf("read back as %+v, %v", back, ok)
	}
	if got, want := winSplit(back.command), []string{s.binary, "supervise", "--service", s.spec}; !slices.Equal(got, want) {
		t.Errorf("it starts %q, want %q", got, want)
	}
}

// winArgs draws arguments as they may stand in a command line.
var winArgs = rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune(`ab \"'%$`+"\tä€😀")), 0, 10, -1), 1, 6)

func TestWinQuote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		args := winArgs.Draw(t, "args")
		line := ""
		for _, arg := range args {
			line += " " + winQuote(arg)
		}
		if got := winSplit(line[1:]); !slices.Equal(got, args) {
			t.Fatalf("%s is taken apart as %q, want %q", line, got, args)
		}
	})
}

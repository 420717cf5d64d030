package planfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/state"
)

const sum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// sample returns a file with something in every field.
func sample() *File {
	text := "8080"
	return &File{
		MadeBy: "v1", MadeAt: time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC), StateDir: "/var/lib/instar",
		Settings: state.Settings{Profile: "/srv/web", Root: "/srv/r", Release: "/usr",
			Params: map[string]state.Given{"port": {Text: &text}, "list": {Value: []any{"a"}}}},
		Withheld: []Withheld{{Name: "pw", Remembered: true}},
		Forecast: Forecast{
			Instance: "web", User: "web 1:1", Requested: "started", Generation: 3, Release: "/usr",
			Remembered: map[string]string{"root": "/srv/r"}, Inputs: map[string]string{"//instance.star": sum},
			Edits: []Edit{
				{Op: plan.OpWrite, Path: "etc/a", Mode: "0640", Owner: "1:1", Content: sum, Why: "content differs", At: "instance.star:3"},
				{Op: plan.OpRun, Name: "fill", Definition: sum, Why: "never run", At: "instance.star:4"},
				{Op: plan.OpRestart, Name: "web", Definition: Varies, StartedWith: "what was applied last", Why: "etc/a changed"},
			},
			Paths:    map[string]Found{"etc/a": {Kind: "file", Mode: "0640", Owner: "1:1", Content: sum}},
			Complete: true,
		},
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	f := sample()
	if err := Write(path, f); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	got, err := Read(path)
	if err != nil || !reflect.DeepEqual(got, f) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := Write(path, f); err != nil || !Is(path) {
		t.Errorf("a plan file is not replaced: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left: %s", left)
	}
	other := filepath.Join(filepath.Dir(path), "other")
	if err := os.WriteFile(other, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	var occupied *OccupiedError
	if err := Write(other, f); !errors.As(err, &occupied) || Is(other) {
		t.Errorf("what is no plan file is replaced: %v", err)
	}
}

// Every byte counts: whichever is changed, dropped or added, it is noticed.
func TestDamage(t *testing.T) {
	data, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for _, broken := range [][]byte{
			append(append(bytes.Clone(data[:i]), data[i]^1), data[i+1:]...),
			append(bytes.Clone(data[:i]), data[i+1:]...),
			data[:i],
		} {
			if f, err := Decode(broken); err == nil {
				t.Fatalf("byte %d: %q is taken: %+v", i, broken, f)
			}
		}
	}
	if _, err := Decode(append(bytes.Clone(data), ' ')); err == nil {
		t.Error("something that follows is not noticed")
	}
}

func TestCheck(t *testing.T) {
	for name, spoil := range map[string]func(*File){
		"relative root":     func(f *File) { f.Settings.Root = "r" },
		"no release":        func(f *File) { f.Settings.Release = "" },
		"name":              func(f *File) { f.Forecast.Instance = "../x" },
		"generation":        func(f *File) { f.Forecast.Generation = -1 },
		"op":                func(f *File) { f.Forecast.Edits[0].Op = "format" },
		"path and name":     func(f *File) { f.Forecast.Edits[0].Name = "x" },
		"neither":           func(f *File) { f.Forecast.Edits[1].Name = "" },
		"digest":            func(f *File) { f.Forecast.Edits[0].Content = "secret" },
		"no path":           func(f *File) { delete(f.Forecast.Paths, "etc/a") },
		"path outside":      func(f *File) { f.Forecast.Paths["../x"] = Found{Kind: Nothing} },
		"nothing of a path": func(f *File) { f.Forecast.Paths["x"] = Found{} },
		"withheld twice":    func(f *File) { f.Withheld = append(f.Withheld, f.Withheld[0]) },
		"withheld and not":  func(f *File) { f.Withheld[0].Name = "port" },
	} {
		f := sample()
		spoil(f)
		if _, err := Encode(f); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestDifferences(t *testing.T) {
	for _, test := range []struct {
		what  string
		spoil func(*Forecast)
		want  []report.Difference
	}{
		{"nothing", func(*Forecast) {}, nil},
		{"its line", func(f *Forecast) { f.Edits[0].At = "instance.star:9" }, nil},
		{"what varies", func(f *Forecast) { f.Edits[2].Definition = sum }, nil},
		{"generation", func(f *Forecast) { f.Generation = 4 }, []report.Difference{{Path: "generation", Planned: "3", Now: "4"}}},
		{"setting", func(f *Forecast) { f.Remembered["wait"] = "7s" }, []report.Difference{{Path: "setting wait", Planned: "not set", Now: "7s"}}},
		{"input", func(f *Forecast) { delete(f.Inputs, "//instance.star") },
			[]report.Difference{{Path: "//instance.star", Planned: "sha256:0123456789ab", Now: "not looked at"}}},
		{"content", func(f *Forecast) { f.Edits[0].Content = strings.ReplaceAll(sum, "0", "f") }, []report.Difference{
			{Path: "etc/a", Planned: "write 0640 1:1 sha256:0123456789ab (content differs)", Now: "write 0640 1:1 sha256:f123456789ab (content differs)"}}},
		{"path, and so its edit", func(f *Forecast) {
			f.Paths["etc/a"] = Found{Kind: Nothing}
			f.Edits[0].Why = "does not exist"
		}, []report.Difference{{Path: "etc/a", Planned: "file 0640 1:1 sha256:0123456789ab", Now: "nothing"}}},
		{"mode", func(f *Forecast) { found := f.Paths["etc/a"]; found.Mode = "0600"; f.Paths["etc/a"] = found },
			[]report.Difference{{Path: "etc/a", Planned: "file 0640", Now: "file 0600"}}},
		{"one more", func(f *Forecast) {
			f.Edits = append(f.Edits, Edit{Op: plan.OpLink, Path: "l", To: "x", Why: "does not exist"})
			f.Paths["l"] = Found{Kind: Nothing}
		}, []report.Difference{{Path: "l", Planned: "no change", Now: "link to x (does not exist)"}}},
		{"one less", func(f *Forecast) { f.Edits = f.Edits[:2] },
			[]report.Difference{{Path: "service web", Planned: "restart varies started with what was applied last (etc/a changed)", Now: "no change"}}},
		{"order", func(f *Forecast) { f.Edits[0], f.Edits[1] = f.Edits[1], f.Edits[0] },
			[]report.Difference{{Path: "etc/a", Planned: "is done before command fill", Now: "is done after it"}}},
		{"outcome", func(f *Forecast) { f.Complete, f.Pending = false, "x" },
			[]report.Difference{{Path: "evaluation", Planned: "complete", Now: "pending: x"}}},
	} {
		now := sample()
		test.spoil(&now.Forecast)
		was := sample()
		if got := was.Forecast.Differences(&now.Forecast); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", test.what, got, test.want)
		}
	}
}

// What depends on secrets loses its digest; what does not keeps it.
func TestVary(t *testing.T) {
	f, g := sample(), sample()
	g.Forecast.Edits[0].Content = strings.ReplaceAll(sum, "0", "f")
	g.Forecast.Edits = append([]Edit{{Op: plan.OpMkdir, Path: "more"}}, g.Forecast.Edits...)
	f.Forecast.Vary(&g.Forecast)
	if e := f.Forecast.Edits; e[0].Content != Varies || e[1].Definition != sum {
		t.Errorf("%+v", e)
	}
	f = sample()
	f.Forecast.Edits = append(f.Forecast.Edits, Edit{Op: plan.OpWrite, Path: "pub", Mode: "0644", Content: sum})
	f.Forecast.Vary(nil)
	if e := f.Forecast.Edits; e[0].Content != Varies || e[1].Definition != Varies || e[3].Content != sum {
		t.Errorf("%+v", e)
	}
}

// FuzzPlanFile: whatever is read, decoding ends without harm; what is taken is
// whole, is written again as it was, and has no difference to itself.
func FuzzPlanFile(f *testing.F) {
	data, err := Encode(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, try := range [][]byte{data, forged(data)} {
			file, err := Decode(try)
			if err != nil {
				continue
			}
			again, err := Encode(file)
			if err != nil {
				t.Fatalf("what was read cannot be written: %v", err)
			}
			second, err := Decode(again)
			if err != nil || !reflect.DeepEqual(file, second) {
				t.Fatalf("%+v becomes %+v, %v", file, second, err)
			}
			if d := file.Forecast.Differences(&second.Forecast); len(d) > 0 {
				t.Fatalf("differs from itself: %+v", d)
			}
			file.Forecast.Vary(&second.Forecast)
			file.Forecast.Vary(nil)
		}
	})
}

// forged returns data with the digest that it should have.
func forged(data []byte) []byte {
	at := digestField.FindSubmatchIndex(data[:min(len(data), headSize)])
	if at == nil {
		return nil
	}
	data = bytes.Clone(data)
	copy(data[at[2]:at[3]], bytes.Repeat([]byte("0"), at[3]-at[2]))
	copy(data[at[2]:at[3]], hexSum(data))
	return data
}

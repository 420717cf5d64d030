package history

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"instar/runtime/report"
	"instar/runtime/state"
)

func TestHistory(t *testing.T) {
	f := state.Folder(filepath.Join(t.TempDir(), "web"))
	if err := Append(f, &Line{}); err != nil || exists(f.Path(fileName)) {
		t.Fatalf("an instance without a state has a history: %v", err)
	}
	if err := f.Save(state.New("web")); err != nil {
		t.Fatal(err)
	}
	r := &report.Report{Error: &report.Error{Message: strings.Repeat("x", 10000)}}
	for range maxChanges + 7 {
		r.Changes = append(r.Changes, report.Change{Op: "write", Path: "p", Diff: "long"})
	}
	const n = 400
	for i := range n {
		if err := Append(f, Of(r, "node", fmt.Sprint("why ", i), make([]Output, 60))); err != nil {
			t.Fatal(err)
		}
	}
	total := int64(0)
	for _, name := range []string{fileName, fileName + ".1", fileName + ".2", fileName + ".3"} {
		info, err := os.Stat(f.Path(name))
		if err != nil {
			if name != fileName+".3" {
				t.Error(err)
			}
			continue
		}
		if total += info.Size(); info.Size() > maxSize || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has %d bytes, mode %v", name, info.Size(), info.Mode())
		}
	}
	lines, err := Read(f, 3)
	if err != nil || len(lines) != 3 || lines[2].Why != fmt.Sprint("why ", n-1) || lines[0].Why != fmt.Sprint("why ", n-3) {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	if l := lines[0]; len(l.Changes) != maxChanges || l.More != 7 || len(l.Output) != maxOutput || l.Changes[0].Diff != "" {
		t.Errorf("%d changes, %d more, %d lines of output", len(l.Changes), l.More, len(l.Output))
	}
	if all, _ := Read(f, -1); len(all) < 100 || len(all) >= n {
		t.Errorf("%d lines in all", len(all))
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

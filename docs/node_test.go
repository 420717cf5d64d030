package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tests that the page about the node names are there.
func TestNodeBehaviours(t *testing.T) {
	page, err := os.ReadFile("node.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	name := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch base := filepath.Base(path); {
		case err != nil:
			return err
		case d.IsDir() && (base == "build" || base == ".git"):
			return fs.SkipDir
		case strings.HasSuffix(base, "_test.go"):
			data, err := os.ReadFile(path)
			for _, m := range name.FindAllSubmatch(data, -1) {
				known[string(m[1])] = true
			}
			return err
		case strings.HasSuffix(base, ".txtar"):
			known[strings.TrimSuffix(base, ".txtar")] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| behaviour | test |\n|---|---|\n")
	rows := strings.Split(strings.TrimSpace(table), "\n")
	if len(rows) < 30 {
		t.Fatalf("the table has %d rows", len(rows))
	}
	for _, row := range rows {
		cells := strings.Split(row, "|")
		names := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[2], -1)
		if len(names) == 0 {
			t.Errorf("no test: %s", row)
		}
		for _, m := range names {
			if !known[m[1]] {
				t.Errorf("there is no test %s", m[1])
			}
		}
	}
}

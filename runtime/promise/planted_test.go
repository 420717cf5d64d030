//go:build unix

package promise

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"instar/runtime/plan"
)

// A link to /etc/shadow, planted where a log should be empty, had root show its
// first line.
func TestFirstLineIsNotShownThroughLinks(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "log"), []byte("root:$y$hash\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("log", filepath.Join(dir, "planted")); err != nil {
		t.Fatal(err)
	}
	empty := true
	for name, shown := range map[string]bool{"log": true, "planted": false} {
		check := plan.Check{Kind: "file", Path: filepath.Join(dir, name), Empty: &empty}
		err := (&Checker{}).file(context.Background(), plan.Promise{Name: "p", Check: check})
		if err == nil || strings.Contains(err.Error(), "root:") != shown {
			t.Errorf("%s: %v", name, err)
		}
	}
}

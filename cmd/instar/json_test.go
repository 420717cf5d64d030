package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"testing"
)

// Whatever goes wrong, with --json a command prints exactly one document.
func TestEveryFailureIsOneDocument(t *testing.T) {
	t.Setenv("INSTAR_STATE_DIR", t.TempDir())
	for _, c := range commands() {
		lines := map[string][]string{
			"unknown flag": {c.name, "--json", "--no-such-flag"},
			"too many":     {c.name, "a", "b", "c", "d", "--json"},
		}
		if c.min > 0 {
			lines["too few"] = []string{"--json", c.name}
			unknown := []string{c.name, "--json"}
			for range c.min {
				unknown = append(unknown, "no-such-thing")
			}
			if c.name == "bang" {
				unknown = append(unknown, "-m", "x")
			}
			lines["unknown"] = unknown
		}
		for what, args := range lines {
			t.Run(c.name+"/"+what, func(t *testing.T) {
				a := newApp(args)
				var out bytes.Buffer
				a.ui.stdout, a.ui.stderr = &out, io.Discard
				ctx := context.Background()
				err := a.execute(ctx, args)
				if err == nil {
					t.Fatal("it succeeds")
				}
				a.ui.failed(ctx, err)
				code := exitCode(ctx, err)
				if what != "unknown" && code != exitUsage {
					t.Errorf("exit code %d", code)
				}
				var doc struct {
					FormatVersion int `json:"format_version"`
					Error         struct{ Message string }
				}
				dec := json.NewDecoder(&out)
				if err := dec.Decode(&doc); err != nil || dec.More() {
					t.Fatalf("no document, or more than one (%v)", err)
				}
				if doc.FormatVersion != 1 || doc.Error.Message == "" {
					t.Errorf("got %+v", doc)
				}
			})
		}
	}
}

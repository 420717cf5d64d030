package request

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzRequest: whatever stands in a request's file, it is read or refused; one that
// is accepted gives settings, and is written as it was read.
func FuzzRequest(f *testing.F) {
	for _, text := range []string{
		`{"format_version": 1, "instance": "web", "profile": "/p", "root": "/r", "state": "started", "params": {"a": {"text": "x"}}}`,
		`{"format_version": 1, "instance": "web", "profile": "/p", "state": "destroyed", "retention": "7d", "wait": "1m"}`,
		`{"format_version": 1, "instance": "../web"} x`, `{"format_version": 2}`, `[]`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decode(data)
		if err != nil || r.Check("web") != nil {
			return
		}
		if r.Instance != "web" {
			t.Fatalf("accepted for web: %q", data)
		}
		if _, err := r.Keep(); err != nil {
			t.Fatalf("%q was accepted, but: %v", data, err)
		}
		_ = r.Settings()
		written, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("%q cannot be written: %v", data, err)
		}
		again, err := decode(written)
		if err != nil {
			t.Fatalf("%q is written as %s, which cannot be read: %v", data, written, err)
		}
		twice, err := json.Marshal(again)
		if err != nil || cmp.Diff(string(written), string(twice)) != "" {
			t.Fatalf("%q is written as %s, and then as %s, %v", data, written, twice, err)
		}
	})
}

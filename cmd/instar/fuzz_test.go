package main

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzParamsFile: whatever a file of parameters holds, it is read or refused, and
// what was read of it can be remembered: as JSON it is the same.
func FuzzParamsFile(f *testing.F) {
	for i, text := range []string{`{"a": 1.50, "b": [null, true]}`, "a: &x [1, *x]\nb: 2026-01-01\n", "a = 1979-05-27T07:32:00Z\n[b]\nc = 0x1f\n",
		"a: !!binary aGk=\n? [x]\n: y\n", `{"a": 1e999}`, "a: .inf", "a = nan", "\uFEFF{}", "a: {<<: {b: 1}}", "1: 2", "- a"} {
		f.Add(byte(i), []byte(text))
	}
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		extension := []string{".json", ".yaml", ".toml", ""}[kind%4]
		values, err := parseParams(extension, data)
		if err != nil {
			return
		}
		text, err := json.Marshal(values)
		if err != nil {
			t.Fatalf("%s %q is %v, which cannot be remembered: %v", extension, data, values, err)
		}
		again, err := parseParams(".json", text)
		if err != nil {
			t.Fatalf("%s %q is %s, which cannot be read: %v", extension, data, text, err)
		}
		rewritten, err := json.Marshal(again)
		if err != nil || cmp.Diff(string(text), string(rewritten)) != "" {
			t.Fatalf("%s %q is %s, and then %s, %v", extension, data, text, rewritten, err)
		}
	})
}

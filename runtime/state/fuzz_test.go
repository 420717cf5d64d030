package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"instar/runtime/fsys"
	"instar/runtime/plan"
)

// sampleState has something of everything.
func sampleState() *State {
	text := "\xff a"
	s := New("web")
	s.Settings = Settings{Profile: "/p", Root: "/r", Params: map[string]Given{"a": {Text: &text}, "b": {Value: []any{json.Number("1")}}}}
	s.Owned = map[string]Owned{
		".":     {Kind: plan.KindDir, Mode: 0o750, UID: -1, GID: -1},
		"etc/a": {Kind: plan.KindFile, Hash: "00ff", Mode: 0o4755, UID: 1, GID: 2, Once: true, At: plan.Pos{File: "<&>\u2028.star", Line: 3}, Source: "\"\\", Generation: 4},
		"b":     {Kind: plan.KindLink, By: "c", Foreign: true, Implicit: true, Claim: &Claim{Was: "foreign", Hash: "x"}},
	}
	s.Values = map[string]plan.Value{"p": {Kind: "port", Text: "12"}}
	s.Services = map[string]Service{"s": {Digest: "d", Inputs: map[string]string{"a": "b"}}}
	s.Published, s.Secrets, s.Pending = map[string]any{"u": json.Number("1e3")}, []string{"secret"}, "why"
	return s
}

// FuzzState: state.json is read as encoding/json reads it, or refused; and what
// was read is written as what was read.
func FuzzState(f *testing.F) {
	data, err := Encode(sampleState())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format_version":1,"owned":{"a":{"kind":"file","uid":-1,"gid":9223372036854775808,"at":{}}}}`))
	f.Add([]byte(`{"format_version":1,"owned":null,"Owned":{"\ud800":{"mode":1e2}}} x`))
	f.Add([]byte(`{"format_version":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decode(data)
		want, wantErr := decodeAll(data)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%v, but encoding/json says %v", err, wantErr)
		}
		if err != nil {
			var newer *NewerError
			if errors.As(wantErr, &newer) && !errors.As(err, &newer) {
				t.Fatalf("%v, want %v", err, wantErr)
			}
			return
		}
		if diff := cmp.Diff(want, s); diff != "" {
			t.Fatalf("read (-as encoding/json +as here):\n%s", diff)
		}
		once, err := Encode(s)
		if err != nil {
			return // a time, say, of which RFC 3339 knows no form
		}
		again, err := decode(once)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, once)
		}
		twice, err := Encode(again)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("written: %s\nthen: %s, %v", once, twice, err)
		}
	})
}

// FuzzCache: whatever stands in stat.cache, it is read or ignored; and what was
// read is written so that the same is read.
func FuzzCache(f *testing.F) {
	sig := fsys.Sig{Size: 1, Mtime: 2, Ctime: 3, Ino: 1 << 60, Dev: 5, Nlink: 1, Mode: 0o100644, UID: -1}
	data, err := encodeCache(&Cache{Key: "k", State: sig, Brief: sampleState(), OK: 3, Specs: []byte("[]"),
		Inside: []Entry{{"a/b", Exact, sig}, {"a/c", Absent, fsys.Sig{}}}, Outside: []Entry{{"/x", Stat, sig}}, Folders: []Listing{{Path: "etc", Names: []string{"a"}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)-3])
	f.Add([]byte(cacheMagic + "\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decodeCache(data)
		if err != nil {
			return
		}
		written, err := encodeCache(c)
		if err != nil {
			return
		}
		again, err := decodeCache(written)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		c.Brief.Owned, again.Brief.Owned = nil, nil
		if diff := cmp.Diff(c, again, cmp.Comparer(func(a, b *State) bool {
			x, errX := Encode(a)
			y, errY := Encode(b)
			return bytes.Equal(x, y) && (errX == nil) == (errY == nil)
		})); diff != "" {
			t.Fatalf("read (-at first +again):\n%s", diff)
		}
	})
}

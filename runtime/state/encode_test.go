package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"instar/runtime/plan"
)

var anyOwned = rapid.Custom(func(t *rapid.T) Owned {
	text := func(name string) string {
		return rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z/.-]{1,20}`), rapid.String()).Draw(t, name)
	}
	o := Owned{
		Kind: rapid.SampledFrom([]plan.Kind{plan.KindFile, plan.KindDir, plan.KindLink, "<other>"}).Draw(t, "kind"),
		Hash: text("hash"), Mode: plan.Mode(rapid.Uint32().Draw(t, "mode")),
		UID: rapid.IntRange(-1, 1<<32-1).Draw(t, "uid"), GID: rapid.IntRange(-1, 70000).Draw(t, "gid"),
		Once: rapid.Bool().Draw(t, "once"), Implicit: rapid.Bool().Draw(t, "implicit"), Foreign: rapid.Bool().Draw(t, "foreign"),
		At:     plan.Pos{File: text("file"), Line: rapid.Int32().Draw(t, "line"), Col: rapid.Int32Range(0, 3).Draw(t, "col")},
		Source: text("source"), Generation: rapid.IntRange(0, 1<<31-1).Draw(t, "generation"), By: text("by"),
	}
	if rapid.Bool().Draw(t, "claimed") {
		o.Claim = &Claim{Was: text("was"), Hash: text("claimed hash")}
	}
	return o
})

var anyState = rapid.Custom(func(t *rapid.T) *State {
	s := New("web")
	s.Settings = Settings{Profile: rapid.String().Draw(t, "profile"), Params: map[string]Given{
		"p": {Value: map[string]any{"owned": map[string]any{}, "values": "\"owned\":{}"}},
	}}
	s.Owned = rapid.MapOf(rapid.OneOf(rapid.StringMatching(`[a-z]{1,4}(/[a-z]{1,3}){0,3}`), rapid.String()), anyOwned).Draw(t, "owned")
	s.Generation = rapid.IntRange(0, 9).Draw(t, "generation")
	if s.Generation > 0 {
		s.DestroyedAt = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "destroyed"), 7).UTC()
		s.AppliedAt = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "applied"), 5).UTC()
	}
	s.Values["password/a"] = plan.Value{Kind: "password", Text: rapid.String().Draw(t, "value"), Secret: true}
	s.Published = map[string]any{"n": json.Number("1.50"), "owned": []any{"}", json.Number("7")}}
	s.Pending = rapid.String().Draw(t, "pending")
	return s
})

// state.json is what encoding/json makes of a State, and is read as it is by it.
func TestEncodeIsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyState.Draw(t, "state")
		got, err := Encode(s)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if want = append(want, '\n'); !bytes.Equal(got, want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		byHand, err := decode(got)
		if err != nil {
			t.Fatal(err)
		}
		byJSON, err := decodeAll(got)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(byJSON, byHand); diff != "" {
			t.Fatal(diff)
		}
	})
}

// So it is where there is much.
func TestEncodeMany(t *testing.T) {
	s := ofManyUnits()
	got, err := Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, append(want, '\n')) {
		t.Error("it is not what encoding/json writes")
	}
}

// What a State has, Encode writes.
func TestEncodeKnowsEveryField(t *testing.T) {
	var got []string
	add := func(v any) {
		for typ, i := reflect.TypeOf(v), 0; i < typ.NumField(); i++ {
			got = append(got, fmt.Sprint(typ.Field(i)))
		}
	}
	add(before{})
	got = append(got, "")
	add(after{})
	typ := reflect.TypeFor[State]()
	got = append(got, "Rest") // is no field of its own: see part.go
	if typ.NumField() != len(got) {
		t.Fatalf("a State has %d fields, and %d are written", typ.NumField(), len(got))
	}
	for i := range got {
		a := typ.Field(i)
		if a.Name == "Owned" || a.Name == "Rest" {
			continue
		}
		f, ok := reflect.TypeFor[before]().FieldByName(a.Name)
		if !ok {
			f, ok = reflect.TypeFor[after]().FieldByName(a.Name)
		}
		if !ok || f.Tag != a.Tag || f.Type != a.Type {
			t.Errorf("%s is not written as it is declared", a.Name)
		}
	}
}

// Whatever a state file holds, it is read as encoding/json reads it.
func FuzzDecode(f *testing.F) {
	f.Add(`{"format_version":1,"instance":"web","owned":{"etc":{"kind":"folder","uid":-1,"gid":0,"at":{"file":"a","line":1},"generation":1}},"values":{}}`)
	f.Add(`{"format_version":1, "owned" : {"a\u0041ä": {"kind": "file", "mode": 1e2, "claim": null, "once": true}} , "x": [1, {"owned": "]"}]}`)
	f.Add(`{"format_version":1,"owned":{},"owned":{"a":{}}}`)
	f.Add(`{"format_version":2,"owned":[]}`)
	f.Add(`{"format_version":1,"owned":{"a":{"uid":007,"At":{"FILE":"x"}}}}`)
	f.Add(`{"format_version":1,"owned":{"a":{"hash":"\"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := decode([]byte(text))
		want, wantErr := decodeAll([]byte(text))
		if fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Fatalf("got %v, want %v", err, wantErr)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// ofManyUnits is what 10,000 units own.
func ofManyUnits() *State {
	s := New("web")
	for i := range 10000 {
		dir := fmt.Sprintf("srv/unit-%d", i)
		at := plan.Pos{File: "instance.star", Line: 7, Col: 16}
		s.Owned[dir] = Owned{Kind: plan.KindDir, Mode: 0o750, At: at, Generation: 1}
		s.Owned[dir+"/app.conf"] = Owned{Kind: plan.KindFile, Mode: 0o640, Hash: strings.Repeat("0123456789abcdef", 4), At: at, Source: "template app.conf.tmpl", Generation: 1}
		s.Owned[dir+"/run"] = Owned{Kind: plan.KindFile, Mode: 0o755, Hash: strings.Repeat("0123456789abcdef", 4), At: at, Generation: 1}
	}
	return s
}

func BenchmarkEncode(b *testing.B) {
	s := ofManyUnits()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Encode(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	data, err := Encode(ofManyUnits())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

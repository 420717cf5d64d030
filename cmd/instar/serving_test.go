package main

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"instar/runtime/state"
)

// TestMergeSettings: a change of any field wins, what is left alone is as it is
// now, and no field is forgotten.
func TestMergeSettings(t *testing.T) {
	text := func(s string) state.Given { return state.Given{Text: &s} }
	settings := func(s string) state.Settings {
		return state.Settings{Profile: s, Root: s, Release: s, User: s, Manager: s, Wait: time.Duration(len(s)),
			Params: map[string]state.Given{"p": text(s)}, Requester: &state.Requester{Instance: s}, Secrets: []string{s}}
	}
	base, now, changed := settings("base"), settings("now"), settings("changed")
	for i := range reflect.TypeFor[state.Settings]().NumField() {
		if reflect.ValueOf(base).Field(i).IsZero() {
			t.Fatalf("this test does not know field %s", reflect.TypeFor[state.Settings]().Field(i).Name)
		}
	}
	if diff := cmp.Diff(now, mergeSettings(now, base, base)); diff != "" {
		t.Errorf("nothing changed: %s", diff)
	}
	if diff := cmp.Diff(changed, mergeSettings(now, base, changed)); diff != "" {
		t.Errorf("all changed: %s", diff)
	}
	got := mergeParams(
		map[string]state.Given{"kept": text("now"), "removed": text("x"), "new": text("now"), "changed": text("now")},
		map[string]state.Given{"kept": text("x"), "removed": text("x"), "changed": text("x"), "gone": text("x")},
		map[string]state.Given{"kept": text("x"), "changed": text("y"), "added": text("y"), "gone": text("x")})
	want := map[string]state.Given{"kept": text("now"), "new": text("now"), "changed": text("y"), "added": text("y")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := mergeParams(nil, map[string]state.Given{"a": text("x")}, nil); got != nil {
		t.Errorf("no parameters: %v", got)
	}
}

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"instar/runtime/state"
)

// An apply that was started while the first one of an `up` was still at work
// has found no settings: what it chose by default once moved the root away.
func TestDefaultsDoNotReplaceWhatUpServes(t *testing.T) {
	now := state.Settings{Profile: "/p", Root: "/r", Release: "/rel", User: "web"}
	defaults := state.Settings{Profile: "/p", Root: "/srv/instar/p", Release: defaultRelease}
	if diff := cmp.Diff(now, mergeSettings(now, state.Settings{}, defaults)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	// What was changed knowingly is.
	changed := now
	changed.Release = "/other"
	if got := mergeSettings(now, now, changed); got.Release != "/other" || got.Root != "/r" {
		t.Errorf("got %+v", got)
	}
}

package main

import (
	"context"
	"slices"
	"testing"

	"instar/runtime/service"
	"instar/runtime/state"
)

// seen is a manager that only tells what there is.
type seen struct {
	service.Manager
	have []string
}

func (s seen) Observe(context.Context, string) (map[string]service.State, error) {
	all := map[string]service.State{}
	for _, name := range s.have {
		all[name] = service.State{Name: name}
	}
	return all, nil
}

// What has failed to start is not remembered, and has a journal all the same.
func TestJournalled(t *testing.T) {
	st := &state.State{Instance: "web", Services: map[string]state.Service{"known": {}}}
	for only, want := range map[string][]string{"": {"failed", "known"}, "failed": {"failed"}, "known": {"known"}, "other": nil} {
		got, err := journalled(t.Context(), seen{have: []string{"failed"}}, st, only)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", only, got, err)
		}
	}
}

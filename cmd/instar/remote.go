package main

import (
	"context"
	"errors"

	"instar/runtime/control"
	"instar/runtime/service"
	"instar/runtime/state"
)

// served returns what runs of an instance, as the `up` that serves it observes
// it, for a plan to begin with; nil when nothing serves it. It can only observe.
func (a *app) served(ctx context.Context, folder state.Folder) (service.Manager, func(), error) {
	client, err := a.serving(ctx, folder)
	if err != nil || client == nil {
		return nil, func() {}, err
	}
	return observed{client}, client.Close, nil
}

// observed is a manager in another process.
type observed struct{ client *control.Client }

var errObserved = errors.New("this manager only observes")

// Platform implements [service.Manager].
func (observed) Platform() string { return "up" }

// Render implements [service.Manager].
func (observed) Render(service.Spec) ([]service.Artifact, error) { return nil, nil }

// Observe implements [service.Manager].
func (o observed) Observe(ctx context.Context, instance string) (map[string]service.State, error) {
	return o.client.Services(ctx, instance)
}

// Apply implements [service.Manager].
func (observed) Apply(context.Context, string, []service.Change) error { return errObserved }

// Exits implements [service.Manager].
func (observed) Exits(context.Context) (<-chan service.Exit, error) { return nil, errObserved }

package main

import (
	"context"
	"errors"

	"instar/runtime/control"
	"instar/runtime/service"
)

// served returns the manager in the process that serves the instance; nil where
// its services are no part of that process: nothing serves it, or the node has
// them run by the machine's service manager, which can be asked from here, or
// leaves them alone.
func (a *app) served(ctx context.Context, in *instance) (service.Manager, func(), error) {
	client, err := control.Dial(ctx, in.folder.Path(socketName))
	if errors.Is(err, control.ErrNotServed) {
		if _, err := in.manager(); !errors.Is(err, errNoManager) {
			return nil, func() {}, nil
		}
		client, err = a.serving(ctx, in.folder)
	}
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

// Package control is how one instar talks to another that serves instances: a
// small HTTP and JSON API on a unix socket that only its owner can open.
//
// A [Server] is what serves: `instar up` for its instance, and a node for all of
// its. Its methods are what the [routes] lead to. A [Client] is the other end,
// with the same methods.
//
// What acts on an instance answers with a stream of lines, one JSON [Message]
// each: events as they happen, and last the outcome. A client that goes away
// does not interrupt what it asked for.
package control

import (
	"context"
	"net/http"

	"instar/runtime/metrics"
	"instar/runtime/planfile"
	"instar/runtime/report"
	"instar/runtime/service"
	"instar/runtime/state"
)

// Action is something to be done with an instance.
type Action struct {
	// Verb is "apply", "start", "stop", "restart", "destroy", "bang" or "rollback".
	Verb string `json:"verb"`
	// Service limits start, stop and restart to one service; "" means all.
	Service string `json:"service,omitempty"`
	// Settings replace the remembered ones (apply); nil keeps them. Base are
	// those that they were made from: where they agree, what was remembered
	// meanwhile stays.
	Settings *state.Settings `json:"settings,omitempty"`
	Base     *state.Settings `json:"base,omitempty"`
	Purge    bool            `json:"purge,omitempty"` // destroy
	// Retention is how long a node keeps what a destruction leaves: "7d", "36h".
	// It removes all of it then.
	Retention string `json:"retention,omitempty"`
	Reason    string `json:"reason,omitempty"` // bang
	// Generation is the one to return to (rollback).
	Generation int  `json:"generation,omitempty"`
	Verify     bool `json:"verify,omitempty"` // apply: read everything
	Reveal     bool `json:"reveal,omitempty"` // secrets in published values
	Diffs      bool `json:"diffs,omitempty"`  // unified diffs in changes
	// Plan must still be what would be done (apply), else nothing is.
	Plan *planfile.Forecast `json:"plan,omitempty"`
	// VerifyIdempotent has it planned again afterwards (apply).
	VerifyIdempotent bool `json:"verify_idempotent,omitempty"`
}

// Message is one line of the answer to an action.
type Message struct {
	Event  *report.Event  `json:"event,omitempty"`
	Report *report.Report `json:"report,omitempty"` // of the last message
	Exit   int            `json:"exit"`             // exit code that goes with Report
}

// Server is what serves instances.
type Server interface {
	// Status returns what is known of an instance. With reveal, secrets in
	// published values are shown.
	Status(ctx context.Context, instance string, reveal bool) (*report.Status, error)
	// Services returns the states of an instance's services and runs, by name.
	Services(ctx context.Context, instance string) (map[string]service.State, error)
	// Act does something, tells sink what happens, and returns the outcome and
	// the exit code that the command line gives for it.
	Act(ctx context.Context, instance string, action Action, sink report.Sink) (*report.Report, int)
	// Events delivers what happens to an instance until ctx ends.
	Events(ctx context.Context, instance string) (<-chan report.Event, error)
	// Instances returns the names of those it serves, in order.
	Instances() []string
}

// Adopter is a [Server] that begins to serve instances that it is asked for.
type Adopter interface {
	// Adopts reports whether it does so for this action.
	Adopts(instance string, action Action) bool
}

// Meter is a [Server] that measures.
type Meter interface {
	Metrics() []metrics.Family
}

// UnknownError says that a server does not serve an instance.
type UnknownError struct{ Instance string }

func (e *UnknownError) Error() string { return "instance " + e.Instance + " is not served here" }

// route is one entry of the API.
type route struct {
	pattern string // method and path, as net/http has them
	doc     string
	handle  func(*handler, http.ResponseWriter, *http.Request)
}

// routes is the whole API.
var routes = []route{
	{"GET /metrics", "what is measured, as Prometheus reads it", (*handler).metrics},
	{"GET /v1/instances", "the names of the instances that are served", (*handler).list},
	{"GET /v1/instances/{name}", "status; ?reveal=1 shows secrets", (*handler).status},
	{"GET /v1/instances/{name}/services", "what its services were started with, and do", (*handler).services},
	{"GET /v1/instances/{name}/events", "events as they happen (server-sent events)", (*handler).events},
	{"POST /v1/instances/{name}/apply", "converge; an Action as body, lines of Message as answer", (*handler).act},
	{"POST /v1/instances/{name}/start", "start the instance or one service", (*handler).act},
	{"POST /v1/instances/{name}/stop", "stop the instance or one service", (*handler).act},
	{"POST /v1/instances/{name}/restart", "restart the instance or one service", (*handler).act},
	{"POST /v1/instances/{name}/bang", "raise an alert, with a reason", (*handler).act},
	{"POST /v1/instances/{name}/rollback", "return to a generation", (*handler).act},
	{"POST /v1/instances/{name}/destroy", "stop and remove the instance", (*handler).act},
}

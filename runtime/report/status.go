package report

import "time"

// Status is what `status NAME` shows of an instance.
type Status struct {
	FormatVersion int            `json:"format_version"`
	Instance      string         `json:"instance"`
	State         string         `json:"state"` // "started", "stopped", "destroyed"
	Generation    int            `json:"generation"`
	Services      []Service      `json:"services"`
	Runs          []Service      `json:"runs"`
	Timers        []Timer        `json:"timers"`
	Promises      []Promise      `json:"promises"`
	Published     map[string]any `json:"published"`
	Pending       *string        `json:"pending"`
	LastBang      *Bang          `json:"last_bang"`
	// Requester is the instance whose profile requests this one; Requests are those
	// that its own requests.
	Requester *Requester  `json:"requester,omitempty"`
	Requests  []Requested `json:"requests,omitempty"`
	// Served says who supervises the services: "up", or "" for nobody.
	Served string `json:"served,omitempty"`
	Error  *Error `json:"error,omitempty"`
	// RolledBack is the generation that the instance follows since a rollback.
	RolledBack *Followed `json:"rolled_back,omitempty"`
}

// Followed is a generation that an instance follows until the next apply.
type Followed struct {
	Generation int `json:"generation"`
}

// Bang is the last alert of an instance.
type Bang struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// Package report tells what happened. An [Event] is one thing, as it happens,
// and can be written as a line of JSON; a [Report] is the whole of one
// processing, folded from its events, and is what `--json` prints.
//
// Texts in events and reports are masked before they get here.
package report

import (
	"fmt"
	"time"
)

// FormatVersion is the version of all JSON that instar prints. Fields are only
// ever added to it.
const FormatVersion = 1

// Change is one change made (or, in a plan, to be made).
type Change struct {
	Op   string `json:"op"`
	Path string `json:"path,omitempty"` // relative to the root
	Name string `json:"name,omitempty"` // of the command, run or service
	Why  string `json:"why"`
	At   string `json:"at"` // "instance.star:12"
	Diff string `json:"diff,omitempty"`
}

// Difference is something that is not as a saved plan found it.
type Difference struct {
	// Path is relative to the root; or "//x" in the profile, an absolute one
	// outside, or what else it is about: "generation", "service web".
	Path    string `json:"path"`
	Planned string `json:"planned"`
	Now     string `json:"now"`
}

// Summary counts what a processing did.
type Summary struct {
	OK        int `json:"ok"`
	Changed   int `json:"changed"`
	Removed   int `json:"removed"`
	Restarted int `json:"restarted"`
	Failed    int `json:"failed"`
}

// Error is a failure, for people and programs.
type Error struct {
	Message string `json:"message"`
	At      string `json:"at"`
	Hint    string `json:"hint"`
	// Detail is the whole error as a person is shown it, of an error in a
	// profile: the source line, a caret and the stack.
	Detail string `json:"detail,omitempty"`
}

// Promise is the outcome of one check.
type Promise struct {
	Name    string    `json:"name"`
	OK      bool      `json:"ok"`
	Message string    `json:"message"`
	At      time.Time `json:"at"`
}

// Service is one service or run as `status` shows it.
type Service struct {
	Name     string     `json:"name"`
	Status   string     `json:"status"`
	PID      int        `json:"pid"`
	Restarts int        `json:"restarts"`
	Since    *time.Time `json:"since"`
	Message  string     `json:"message,omitempty"`
	Timer    bool       `json:"timer,omitempty"` // of an event: it is a timer
}

// Timer is one timer as `status` shows it.
type Timer struct {
	Name     string `json:"name"`
	Schedule string `json:"schedule"` // minute hour day month weekday
	// Status is "waiting" for the next time, "running", "failed" when the last run
	// failed (it waits, too), or "stopped".
	Status  string     `json:"status"`
	PID     int        `json:"pid"`
	Next    *time.Time `json:"next"`
	Last    *time.Time `json:"last"` // when it was started last; null when not known
	Message string     `json:"message,omitempty"`
}

// Report is the outcome of one plan or apply.
type Report struct {
	FormatVersion int            `json:"format_version"`
	Instance      string         `json:"instance"`
	Complete      bool           `json:"complete"`
	Generation    int            `json:"generation,omitempty"`
	Changes       []Change       `json:"changes"`
	Warnings      []string       `json:"warnings,omitempty"`
	Summary       Summary        `json:"summary"`
	Published     map[string]any `json:"published"`
	Pending       *string        `json:"pending"`
	Promises      []Promise      `json:"promises,omitempty"`
	Runs          []Service      `json:"runs,omitempty"`     // those that did not succeed in time
	Requests      []Requested    `json:"requests,omitempty"` // the instances that the profile requests
	Error         *Error         `json:"error,omitempty"`
	RolledBack    *RolledBack    `json:"rolled_back,omitempty"` // what followed an apply that failed
	// Differences say why a saved plan was not applied.
	Differences []Difference `json:"differences,omitempty"`
	// NotIdempotent is what another apply would change at once, where that was
	// looked for.
	NotIdempotent []Change `json:"not_idempotent,omitempty"`
	Seconds       float64  `json:"seconds"` // how long it took
}

// RolledBack is the return to a generation that followed an apply that failed.
type RolledBack struct {
	To     int     `json:"to"`
	Report *Report `json:"report"` // null when it could not even begin
	Error  *Error  `json:"error,omitempty"`
}

// Recap is the line every command that touches an instance ends with:
// "web: 12 ok, 3 changed, 1 removed, 1 restarted, 0 failed in 0.12s".
func (r *Report) Recap() string {
	s := r.Summary
	return fmt.Sprintf("%s: %d ok, %d changed, %d removed, %d restarted, %d failed in %.2fs",
		r.Instance, s.OK, s.Changed, s.Removed, s.Restarted, s.Failed, r.Seconds)
}

// Event is one thing that happened while an instance was processed.
type Event struct {
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"` // "change", "warning", "output", "print", "promise", "progress", "service", "bang", "done"
	Change  *Change   `json:"change,omitempty"`
	Text    string    `json:"text,omitempty"`
	Name    string    `json:"name,omitempty"` // the command whose output it is, the promise, the service
	Promise *Promise  `json:"promise,omitempty"`
	Service *Service  `json:"service,omitempty"`
	Report  *Report   `json:"report,omitempty"` // "done"
}

// Sink takes events as they happen. It may be called from one goroutine at a
// time only.
type Sink func(Event)

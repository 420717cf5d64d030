package report

// Requested is an instance that the profile requests, and what came of it.
type Requested struct {
	Name     string   `json:"name"` // of the request
	Instance string   `json:"instance"`
	State    string   `json:"state"` // "started" or "stopped": what the profile says
	OK       bool     `json:"ok"`
	Pending  *string  `json:"pending,omitempty"`
	Message  string   `json:"message,omitempty"` // what is wrong
	Summary  *Summary `json:"summary,omitempty"` // of its processing
}

// Requester is the instance whose profile requests another one.
type Requester struct {
	Instance string `json:"instance"`
	Name     string `json:"name"` // of the request
}

package plan

// Request is another instance that the profile wants on this node.
type Request struct {
	Name string `json:"name"` // within the requesting instance
	// Profile is a path within the folder of the requesting profile
	// ("web", "lib/db.star", "."), one relative to it that leads out ("../web"),
	// or an absolute one.
	Profile string         `json:"profile"`
	Params  map[string]any `json:"params,omitempty"`  // JSON values
	Release string         `json:"release,omitempty"` // absolute; "" for that of the requesting instance
	State   string         `json:"state"`             // "started" or "stopped"
	At      Pos            `json:"at"`
}

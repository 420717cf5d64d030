package builtins

import (
	"encoding/json"

	"instar/runtime/plan"
)

// Inputs is what an evaluation is given. It can be sent as JSON.
type Inputs struct {
	Instance  Instance              `json:"instance"`
	Node      Node                  `json:"node"`
	Profile   string                `json:"profile"` // absolute path of the profile's folder
	Release   string                `json:"release"` // absolute path of the release
	Params    map[string]Given      `json:"params,omitempty"`
	Values    map[string]plan.Value `json:"values,omitempty"` // remembered, by [ValueKey]
	HeldPorts []int                 `json:"held_ports,omitempty"`
	// Requested is what the instances that the profile requests have published,
	// by the name of the request.
	Requested map[string]Requested `json:"requested,omitempty"`
	// Secrets are texts in Params that are secret where they come from.
	Secrets []string `json:"secrets,omitempty"`
	// ParamsOnly ends evaluation where the profile's parameters are known;
	// what was given for them is not judged.
	ParamsOnly bool `json:"params_only,omitempty"`
}

// Instance says which instance is evaluated, and as whom it runs.
type Instance struct {
	Name   string `json:"name"`
	Root   string `json:"root"` // absolute
	User   string `json:"user"`
	Group  string `json:"group"`
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Groups []int  `json:"groups,omitempty"` // supplementary
	// Superuser is set when instar itself may act as any user.
	Superuser bool `json:"superuser,omitempty"`
}

// Node holds the facts of the machine.
type Node struct {
	Name    string `json:"name"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	CPUs    int    `json:"cpus"`
	Memory  int64  `json:"memory"` // bytes
	IPv4    string `json:"ipv4"`   // first global address, or ""
	IPv6    string `json:"ipv6"`
	Manager string `json:"manager"` // the service manager
}

// User is a user of the system.
type User struct {
	Name   string
	UID    int
	GID    int
	Groups []int
}

// Given is what the user gave for one parameter: text to be parsed as the
// parameter's type asks, or a JSON value.
type Given struct {
	Text  []byte          `json:"text,omitempty"` // bytes, since JSON would change text that is not UTF-8
	Value json.RawMessage `json:"value,omitempty"`
}

// GivenText returns what was given as text, by --set.
func GivenText(text string) Given { return Given{Text: []byte(text)} }

// GivenJSON returns what was given as a JSON value, by --params.
func GivenJSON(value []byte) Given { return Given{Value: value} }

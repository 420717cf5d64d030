// Package state is what an instance remembers between two runs: its settings,
// the paths it owns, the values chosen once, the digests its services were
// started with, and its last outcome.
//
// A [State] is the truth, kept as state.json in the instance's folder below
// the state folder, which the instance's user cannot write. It is written
// atomically and only when it differs. A [Folder] is that place on disk, with
// the lock that lets one run at a time change an instance.
package state

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"

	"instar/runtime/plan"
)

// FormatVersion is the version of state.json that this program writes. A newer
// one is refused.
const FormatVersion = 1

// Requested states of an instance.
const (
	Started   = "started"
	Stopped   = "stopped"
	Destroyed = "destroyed"
)

// State is all that an instance remembers.
type State struct {
	FormatVersion int      `json:"format_version"`
	Instance      string   `json:"instance"`
	Settings      Settings `json:"settings"`
	Requested     string   `json:"requested"` // Started, Stopped or Destroyed
	// DestroyedAt is when the instance was destroyed, while it is.
	DestroyedAt time.Time `json:"destroyed_at,omitzero"`
	// RanAs is the user that the instance was last converged for, when that was
	// neither root nor whoever ran instar: it does not run as root just because
	// its root folder is gone.
	RanAs string `json:"ran_as,omitempty"`

	// Generation counts the successful applies that changed something.
	Generation int       `json:"generation"`
	AppliedAt  time.Time `json:"applied_at,omitzero"`

	Owned    map[string]Owned      `json:"owned"`  // by path relative to the root
	Values   map[string]plan.Value `json:"values"` // chosen once, by name
	Services map[string]Service    `json:"services,omitempty"`

	Published map[string]any `json:"published,omitempty"`
	Pending   string         `json:"pending,omitempty"` // why the last evaluation stopped early
	Secrets   []string       `json:"secrets,omitempty"` // texts to mask
	LastBang  *Bang          `json:"last_bang,omitempty"`
	// RolledBack is set from a rollback until the next apply: what the instance is
	// processed by meanwhile.
	RolledBack *RolledBack `json:"rolled_back,omitempty"`
	// Promises are those of the last complete evaluation.
	Promises []plan.Promise `json:"promises,omitempty"`

	// Requests are the instances that the profile has requested, by the names of
	// the requests. They are noted before the instances are made.
	Requests map[string]Requested `json:"requests,omitempty"`
	// Ending is set from when a destruction begins until it has come to its end.
	Ending bool `json:"ending,omitempty"`

	Rest *Rest `json:"-"` // of a part: what is owned beyond Owned
}

// Settings are the flags given to an instance, remembered until they are given
// anew.
type Settings struct {
	Profile string           `json:"profile"` // absolute path of the folder or .star file
	Root    string           `json:"root"`
	Release string           `json:"release"`
	User    string           `json:"user,omitempty"` // "" when never given
	Manager string           `json:"manager,omitempty"`
	Wait    time.Duration    `json:"wait,omitempty"`
	Params  map[string]Given `json:"params,omitempty"`
	// Requester is the instance whose profile requests this one; nil: an operator
	// does.
	Requester *Requester `json:"requester,omitempty"`
	// Secrets are texts in Params that are secret where they come from.
	Secrets []string `json:"secrets,omitempty"`
}

// Given is a parameter's value as the user gave it: text from the command line,
// which the profile's declaration gives its type, or a JSON value from a file.
type Given struct {
	Text  *string `json:"text,omitempty"`
	Value any     `json:"value,omitempty"`
}

// givenJSON is the form of [Given] in state.json: JSON would change a text that
// is not UTF-8.
type givenJSON struct {
	Text  *string `json:"text,omitempty"`
	Bytes []byte  `json:"bytes,omitempty"`
	Value any     `json:"value,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (g Given) MarshalJSON() ([]byte, error) {
	j := givenJSON{Text: g.Text, Value: g.Value}
	if g.Text != nil && !utf8.ValidString(*g.Text) {
		j.Text, j.Bytes = nil, []byte(*g.Text)
	}
	return json.Marshal(j)
}

// UnmarshalJSON implements [json.Unmarshaler]. Numbers stay exact.
func (g *Given) UnmarshalJSON(data []byte) error {
	var j givenJSON
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&j); err != nil {
		return err
	}
	g.Text, g.Value = j.Text, j.Value
	if j.Bytes != nil {
		text := string(j.Bytes)
		g.Text = &text
	}
	return nil
}

// Owned is one path that an apply has made or brought in line.
type Owned struct {
	Kind plan.Kind `json:"kind"`
	// Hash is the hex SHA-256 of a file's content or of a link's text, as last
	// applied; "" for folders.
	Hash     string    `json:"hash,omitempty"`
	Mode     plan.Mode `json:"mode,omitempty"`
	UID      int       `json:"uid"`
	GID      int       `json:"gid"`
	Once     bool      `json:"once,omitempty"`
	Implicit bool      `json:"implicit,omitempty"`
	// Foreign is set when something stood there before instar came: it is never
	// removed.
	Foreign    bool     `json:"foreign,omitempty"`
	At         plan.Pos `json:"at"`
	Source     string   `json:"source,omitempty"` // what the content came from
	Generation int      `json:"generation"`       // that last changed it
	// By is the command that makes the file, for a path named in `creates`.
	By string `json:"by,omitempty"`
	// Claim is set from before the first edit until after the last one.
	Claim *Claim `json:"claim,omitempty"`
}

// Claim says what stood at a path before an apply that did not come to its end.
type Claim struct {
	Was  string `json:"was"`            // "nothing", "ours" or "foreign"
	Hash string `json:"hash,omitempty"` // of the foreign content
}

// Service is what was last asked of the manager for one service, run or timer.
type Service struct {
	Digest       string            `json:"digest"`
	ReloadDigest string            `json:"reload_digest,omitempty"`
	Inputs       map[string]string `json:"inputs,omitempty"` // path to hash, to say which one changed
	Run          bool              `json:"run,omitempty"`
	Schedule     string            `json:"schedule,omitempty"` // of a timer
	At           plan.Pos          `json:"at"`
}

// Bang is the last alert of an instance.
type Bang struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// RolledBack says that an instance follows a generation, and not the source of
// its profile.
type RolledBack struct {
	Generation int `json:"generation"`
	// Copy is the digest of the stored copy of that generation's profile. Once
	// another copy was stored, the instance follows that.
	Copy string `json:"copy"`
}

// New returns the state of an instance that was never applied.
func New(name string) *State {
	return &State{
		FormatVersion: FormatVersion,
		Instance:      name,
		Requested:     Started,
		Owned:         map[string]Owned{},
		Values:        map[string]plan.Value{},
		Services:      map[string]Service{},
	}
}

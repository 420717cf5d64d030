package state

import (
	"encoding/json"
	"strconv"
	"time"

	"instar/runtime/plan"
)

// What an instance owns is nearly all of its state, and is written and read at
// every apply that changes something. So its JSON is made and read by hand, some
// ten times as fast as by reflection: the bytes are those that encoding/json
// would write, and what decodeOwned does not expect is left to encoding/json.

// before and after are the fields of a State that stand in state.json before and
// after what is owned.
type before struct {
	FormatVersion int       `json:"format_version"`
	Instance      string    `json:"instance"`
	Settings      Settings  `json:"settings"`
	Requested     string    `json:"requested"`
	DestroyedAt   time.Time `json:"destroyed_at,omitzero"`
	RanAs         string    `json:"ran_as,omitempty"`
	Generation    int       `json:"generation"`
	AppliedAt     time.Time `json:"applied_at,omitzero"`
}

type after struct {
	Values     map[string]plan.Value `json:"values"`
	Services   map[string]Service    `json:"services,omitempty"`
	Published  map[string]any        `json:"published,omitempty"`
	Pending    string                `json:"pending,omitempty"`
	Secrets    []string              `json:"secrets,omitempty"`
	LastBang   *Bang                 `json:"last_bang,omitempty"`
	RolledBack *RolledBack           `json:"rolled_back,omitempty"`
	Promises   []plan.Promise        `json:"promises,omitempty"`
	Requests   map[string]Requested  `json:"requests,omitempty"`
	Ending     bool                  `json:"ending,omitempty"`
}

// ownedSize is about how many bytes one entry takes.
const ownedSize = 256

// Encode returns the bytes of state.json: one line, the keys of maps in order.
func Encode(s *State) ([]byte, error) {
	head, tail, err := ends(s)
	if err != nil {
		return nil, err
	}
	if s.Rest != nil {
		out := make([]byte, 0, len(head)+len(tail)+len(s.Rest.text)+len(s.Owned)*ownedSize+16)
		out = append(append(out, head...), '{')
		out = append(s.Rest.append(out, s.Owned), '}')
		return append(out, tail...), nil
	}
	out := make([]byte, 0, len(head)+len(tail)+len(s.Owned)*ownedSize+16)
	out = appendOwned(append(out, head...), s.Owned)
	return append(out, tail...), nil
}

// ends returns what stands in state.json before and after what is owned.
func ends(s *State) (head, tail []byte, err error) {
	head, err = json.Marshal(before{s.FormatVersion, s.Instance, s.Settings, s.Requested, s.DestroyedAt, s.RanAs, s.Generation, s.AppliedAt})
	if err != nil {
		return nil, nil, err
	}
	tail, err = json.Marshal(after{s.Values, s.Services, s.Published, s.Pending, s.Secrets, s.LastBang, s.RolledBack, s.Promises, s.Requests, s.Ending})
	if err != nil {
		return nil, nil, err
	}
	head = append(head[:len(head)-1], `,"owned":`...)
	tail[0] = ','
	return head, append(tail, '\n'), nil
}

func appendOwned(out []byte, owned map[string]Owned) []byte {
	if owned == nil {
		return append(out, "null"...)
	}
	names := plan.SortedKeys(owned)
	out = append(out, '{')
	if len(names) < manyOwned {
		return append(appendEntries(out, owned, names), '}')
	}
	half := len(names) / 2
	second := make(chan []byte)
	go func() { second <- appendEntries(make([]byte, 0, half*ownedSize), owned, names[half:]) }()
	out = append(appendEntries(out, owned, names[:half]), ',')
	out = append(out, <-second...)
	return append(out, '}')
}

// manyOwned is from how many entries on a second processor pays.
const manyOwned = 4096

func appendEntries(out []byte, owned map[string]Owned, names []string) []byte {
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendText(out, name), ':')
		o := owned[name]
		out = o.append(out)
	}
	return out
}

// append writes o as encoding/json would.
func (o *Owned) append(out []byte) []byte {
	out = appendText(append(out, `{"kind":`...), string(o.Kind))
	out = optionalText(out, `,"hash":`, o.Hash)
	if o.Mode != 0 {
		out = strconv.AppendUint(append(out, `,"mode":`...), uint64(o.Mode), 10)
	}
	out = appendInt(out, `,"uid":`, o.UID)
	out = appendInt(out, `,"gid":`, o.GID)
	for _, flag := range []struct {
		key string
		set bool
	}{{`,"once":true`, o.Once}, {`,"implicit":true`, o.Implicit}, {`,"foreign":true`, o.Foreign}} {
		if flag.set {
			out = append(out, flag.key...)
		}
	}
	out = appendText(append(out, `,"at":{"file":`...), o.At.File)
	out = appendInt(out, `,"line":`, int(o.At.Line))
	if o.At.Col != 0 {
		out = appendInt(out, `,"col":`, int(o.At.Col))
	}
	out = optionalText(append(out, '}'), `,"source":`, o.Source)
	out = appendInt(out, `,"generation":`, o.Generation)
	out = optionalText(out, `,"by":`, o.By)
	if o.Claim != nil {
		out = appendText(append(out, `,"claim":{"was":`...), o.Claim.Was)
		out = append(optionalText(out, `,"hash":`, o.Claim.Hash), '}')
	}
	return append(out, '}')
}

func appendInt(out []byte, key string, n int) []byte {
	return strconv.AppendInt(append(out, key...), int64(n), 10)
}

// optionalText leaves out an empty text.
func optionalText(out []byte, key, text string) []byte {
	if text == "" {
		return out
	}
	return appendText(append(out, key...), text)
}

// appendText writes a text as JSON.
func appendText(out []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(text) // a text never fails
			return append(out, quoted...)
		}
	}
	out = append(out, '"')
	out = append(out, text...)
	return append(out, '"')
}

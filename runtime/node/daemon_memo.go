package node

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"instar/runtime/request"
	"instar/runtime/state"
)

// memo is what the daemon remembers of an instance, in node.json of its state.
type memo struct {
	FormatVersion int `json:"format_version"`
	// Applied is the digest of the request that was last fulfilled: as long as it
	// is the same, what the state remembers counts, whoever applied it.
	Applied string `json:"applied,omitempty"`
	// PurgeAt is when what a destruction has left is removed.
	PurgeAt time.Time `json:"purge_at,omitzero"`
}

const memoFile = "node.json"

// remember saves the memo. The caller holds mu.
func (k *kept) remember(m memo) {
	m.FormatVersion = request.FormatVersion
	if k.memo == m {
		return
	}
	data, err := json.Marshal(m)
	if err == nil {
		if err = k.folder.Make(); err == nil {
			err = state.WriteFile(k.folder.Path(memoFile), append(data, '\n'), 0o600)
		}
	}
	if err != nil {
		k.log(fmt.Errorf("cannot remember what was done: %w", err))
		return // it is done again, then
	}
	k.memo = m
}

// Pending returns the request of an instance when it can be meant and is not
// fulfilled yet, else nil.
func Pending(home state.Home, name string) *request.Request {
	r, digest, err := request.Read(home, name)
	if err != nil || readMemo(home.Instance(name)).Applied == digest {
		return nil
	}
	return r
}

// Retained is until when the data of a destroyed instance is kept; zero: nobody
// asked for that.
func Retained(home state.Home, name string) time.Time {
	return readMemo(home.Instance(name)).PurgeAt
}

// readMemo reads what is remembered. One that is broken counts as none: the
// request is fulfilled again.
func readMemo(f state.Folder) memo {
	var m memo
	data, err := os.ReadFile(f.Path(memoFile))
	if err != nil || json.Unmarshal(data, &m) != nil {
		return memo{}
	}
	return m
}

package shim

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"instar/runtime/service"
)

// Marker is the file that tells of an exit that nobody asked for: when, its own
// time of change does.
type Marker struct {
	Instance string `json:"instance"`
	Service  string `json:"service"`
	Code     string `json:"code"`             // "exited", "killed", "dumped"; else it was never started
	Status   string `json:"status"`           // number, or name of the signal
	Reason   string `json:"reason,omitempty"` // what happened, where the two don't tell
}

const (
	signalled = "signal: "
	dumped    = " (core dumped)"
)

// MarkerOf returns what is to be written about an exit.
func MarkerOf(x service.Exit) Marker {
	m := Marker{Instance: x.Instance, Service: x.Name, Code: "killed", Status: "KILL"}
	name, bySignal := strings.CutPrefix(x.Reason, signalled)
	switch {
	case x.Code >= 0:
		m.Code, m.Status = "exited", strconv.Itoa(x.Code)
	case bySignal:
		m.Status = strings.TrimSuffix(name, dumped)
		if m.Status != name {
			m.Code = "dumped"
		}
	default:
		m.Reason = x.Reason
	}
	return m
}

// WriteMarker writes a marker as a whole, its folder too.
func WriteMarker(path string, m Marker) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return patiently(func() error { return os.Rename(temporary, path) })
}

// mark tells of an exit. What can't be written is not tried again: the next
// exit is as good, and the status says how the service is.
func (s *shim) mark(x service.Exit) {
	if s.file.Marker != "" {
		if err := WriteMarker(s.file.Marker, MarkerOf(x)); err != nil {
			s.status.Error = err.Error()
		}
	}
}

func valueOf(pair string) string {
	_, value, _ := strings.Cut(pair, "=")
	return value
}

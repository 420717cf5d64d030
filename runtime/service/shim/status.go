package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"instar/runtime/process"
	"instar/runtime/service"
)

// Status is what a shim says about itself and its service.
type Status struct {
	Shim  process.Tree `json:"shim"`
	Guard process.Tree `json:"guard"` // which starts the shim again when it is killed
	Main  process.Tree `json:"main"`  // the service's last process

	// File is the Hash of the [File] in force, and Taken how often one was taken
	// over since the start. Error is what went wrong the last time.
	File  string `json:"file"`
	Taken int    `json:"taken"`
	Error string `json:"error,omitempty"`

	// Decided is set once the start was tried, or has to wait for others, and
	// Started once the service has been running.
	Decided bool `json:"decided"`
	Started bool `json:"started"`
	// Over is set when the shim has ended by itself, since there is nothing left
	// to do for it: a run is done, a service has ended for good.
	Over bool `json:"over,omitempty"`

	State service.State `json:"state"`
}

// Status returns what the last shim of the place said; nil when none did, or
// that makes no sense.
func (p Place) Status() (*Status, error) {
	data, err := readFile(p.statusPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s Status
	if json.Unmarshal(data, &s) != nil {
		return nil, nil
	}
	return &s, nil
}

// Final reports whether what the status says of a service that has no shim any
// more still holds.
func (s *Status) Final() bool { return s != nil && s.Over && s.Shim.ThisBoot() }

// Serving reports whether the shim lives.
func (s *Status) Serving() bool { return s != nil && s.Shim.Alive() }

// Lost reports whether the shim was killed, so that what it ran is nobody's.
// Coming is set when its guard will replace it.
func (s *Status) Lost(p Place) (lost, coming bool) {
	if s == nil || s.Over || s.State.Status == service.Stopped || !s.Shim.ThisBoot() || s.Serving() || !p.Wanted() {
		return false, false
	}
	return true, s.Guard.Alive()
}

// started reports whether what comes after the service has not to wait: it was
// started, or it is a run that is done, or nobody wants it at the moment.
func started(p Place) bool {
	s, err := p.Status()
	if err != nil || !s.Serving() || !p.Wanted() {
		return true
	}
	if s.State.Run && !s.State.Timer() {
		return s.State.Status == service.Done
	}
	return s.Started
}

// signalMain sends a signal to the main process of a service, if it runs.
func signalMain(p Place, name string) error {
	sig, err := process.ParseSignal(name)
	if err != nil {
		return err
	}
	s, err := p.Status()
	if err != nil || !s.Serving() || s.State.PID == 0 || !s.Main.Alive() {
		return err
	}
	if err := s.Main.Signal(sig); err != nil && s.Main.Alive() {
		return fmt.Errorf("cannot signal %q: %w", s.State.Name, err)
	}
	return nil
}

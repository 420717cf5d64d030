package state

import "instar/runtime/plan"

// Requester says whose profile requests an instance, and by which name.
type Requester struct {
	Instance string `json:"instance"`
	Name     string `json:"name"`
}

// Requested is an instance that the profile of another one requests.
type Requested struct {
	Instance string `json:"instance"`
	plan.Request
	// Obsolete is set when the profile does not request it any more: it is
	// destroyed when all else has succeeded. It stays noted as long as something
	// of it is left.
	Obsolete bool `json:"obsolete,omitempty"`
}

// IsBy reports whether r says the same as other.
func (r *Requester) IsBy(other *Requester) bool {
	return r == other || r != nil && other != nil && *r == *other
}

// Exists reports whether s is of an instance that was made: of one that was not,
// nothing is remembered.
func (s *State) Exists() bool { return s.Settings.Root != "" }

// IsDestroyed reports whether nothing is left of the instance but data and what
// is remembered.
func (s *State) IsDestroyed() bool { return s.Requested == Destroyed && !s.Ending }

// RequestedBy returns the instance that requests the one of s, if it still does.
func (h Home) RequestedBy(s *State) (*Requester, error) {
	by := s.Settings.Requester
	if by == nil {
		return nil, nil
	}
	parent, err := h.Instance(by.Instance).Brief()
	if err != nil {
		return nil, err
	}
	req, ok := parent.Requests[by.Name]
	if !ok || req.Obsolete || req.Instance != s.Instance || parent.IsDestroyed() {
		return nil, nil
	}
	return by, nil
}

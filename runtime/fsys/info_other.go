//go:build !linux && !darwin

package fsys

// fill reports true for what os says here, which is no more than size, time
// and mode.
func (s *Sig) fill(sys any) bool { return sys != nil }

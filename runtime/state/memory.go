package state

import "bytes"

// Memory keeps a state in memory only, beginning with a copy of another: the
// store of a plan, and of tests.
type Memory struct {
	data    []byte // as state.json would have it
	name    string
	Saves   int // how often Save had something to write
	Removed bool
}

// NewMemory returns a store that begins with s.
func NewMemory(s *State) (*Memory, error) {
	data, err := Encode(s)
	return &Memory{data: data, name: s.Instance}, err
}

// Load returns a copy of the state.
func (m *Memory) Load() (*State, error) {
	if m.Removed {
		return New(m.name), nil
	}
	return decode(m.data)
}

// Save keeps s.
func (m *Memory) Save(s *State) error {
	data, err := Encode(s)
	if err != nil {
		return err
	}
	if m.Removed || !bytes.Equal(m.data, data) {
		m.Saves++
	}
	m.data, m.Removed = data, false
	return nil
}

// Remove forgets the state.
func (m *Memory) Remove() error {
	m.Removed = true
	return nil
}

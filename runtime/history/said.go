package history

import (
	"strings"
	"sync"

	"instar/runtime/report"
)

// Said collects what the commands of a processing write, the last lines of it.
// Its methods may be called from several goroutines.
type Said struct {
	mu    sync.Mutex
	lines []Output
}

// Watch returns a sink that collects and passes on; next may be nil.
func (s *Said) Watch(next report.Sink) report.Sink {
	return func(ev report.Event) {
		s.Hear(ev)
		if next != nil {
			next(ev)
		}
	}
}

// Hear takes one event.
func (s *Said) Hear(ev report.Event) {
	if ev.Kind != "output" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	text := ev.Text
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	s.lines = append(s.lines, Output{ev.Name, text})
	if len(s.lines) >= 2*maxOutput {
		s.lines = append([]Output(nil), s.lines[len(s.lines)-maxOutput:]...)
	}
}

// Take returns what was said since the last call.
func (s *Said) Take() []Output {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines
	s.lines = nil
	return lines
}

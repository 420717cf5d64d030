package node

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// schedule says when an instance is processed although nobody asks for it.
type schedule struct {
	timer   *time.Timer
	pause   time.Duration // of the next retry
	watched *watched
}

func newSchedule() *schedule {
	return &schedule{timer: time.NewTimer(period), pause: retryFirst}
}

func (s *schedule) stop() { s.timer.Stop() }

// restart has the next failure count as the first one: something has happened
// that may have changed how things are.
func (s *schedule) restart() { s.pause = retryFirst }

// take plans the next processing by how the last one went; nil means that there
// was none.
func (s *schedule) take(p *processed) {
	switch {
	case p == nil:
		return
	case p.again:
		s.timer.Reset(s.pause)
		s.pause = min(2*s.pause, retryMost)
	default:
		s.timer.Reset(period - rand.N(period/10)) // not all instances at once
		s.pause = retryFirst
	}
	s.watched = p.watched
}

// lookPeriod is how often it is looked whether a value that is missing has come.
const lookPeriod = 250 * time.Millisecond

// look returns what tells that it is time to look; nil when there is nothing to
// look for.
func (s *schedule) look() <-chan time.Time {
	if s.watched == nil {
		return nil
	}
	return time.After(lookPeriod)
}

// changed reports whether what the last processing lacked may be there now.
func (s *schedule) changed() bool { return s.watched.changed() }

// watched is a set of files that an evaluation observed before it stopped.
type watched struct {
	root  string
	paths []string
	seen  string
}

// watch remembers how the files look now; nil when there are none.
func watch(root string, paths []string) *watched {
	if len(paths) == 0 {
		return nil
	}
	w := &watched{root: root, paths: paths}
	w.seen = w.look()
	return w
}

// look describes the files.
func (w *watched) look() string {
	text := ""
	for _, name := range w.paths {
		info, err := os.Lstat(filepath.Join(w.root, filepath.FromSlash(name)))
		if err != nil {
			text += "absent\n"
			continue
		}
		text += fmt.Sprintf("%v %d %d\n", info.Mode(), info.Size(), info.ModTime().UnixNano())
	}
	return text
}

func (w *watched) changed() bool { return w.look() != w.seen }

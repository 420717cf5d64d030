package command

import (
	"io"
	"os"
	"sync"
	"time"
)

const (
	// maxLog is how large a log may become, in bytes, before it becomes the
	// older one and a new one is begun.
	maxLog = 8 << 20

	// tailBytes bounds the output that a record holds.
	tailBytes = 16 << 10

	// parentPatience is how long the supervisor waits for a deployer that does
	// not take the output before it goes on without it.
	parentPatience = 5 * time.Second
)

// log is the file with the command's output. That it can't be written, on a
// full disk, does not disturb the command: the rest is dropped.
type log struct {
	path string
	file *os.File // nil once it can't be written
	size int
}

// openLog begins a new log; the last attempt's becomes the older one.
func openLog(path string) *log {
	l := &log{path: path}
	l.begin()
	return l
}

func (l *log) begin() {
	l.close()
	os.Rename(l.path, l.path+".1") // there may be none
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		l.file, l.size = file, 0
	}
}

func (l *log) Write(p []byte) (int, error) {
	if l.file != nil && l.size > 0 && l.size+len(p) > maxLog {
		l.begin()
	}
	if l.file != nil {
		n, err := l.file.Write(p)
		l.size += n
		if err != nil {
			l.close()
		}
	}
	return len(p), nil
}

func (l *log) close() {
	if l.file != nil {
		l.file.Close() // a log is not worth more
		l.file = nil
	}
}

// audience passes output on to the deployer, for as long as it is there and
// takes it.
type audience struct {
	queue chan []byte
	done  chan struct{} // closed when nothing is passed on any more
	lost  bool
	end   sync.Once
}

func newAudience(w io.Writer) *audience {
	a := &audience{queue: make(chan []byte, 64), done: make(chan struct{})}
	go func() {
		defer close(a.done)
		for p := range a.queue {
			if _, err := w.Write(p); err != nil {
				return
			}
		}
	}()
	return a
}

func (a *audience) Write(p []byte) (int, error) {
	if a.lost {
		return len(p), nil
	}
	copied := append([]byte(nil), p...)
	select {
	case a.queue <- copied:
		return len(p), nil
	default:
	}
	patience := time.NewTimer(parentPatience)
	defer patience.Stop()
	select {
	case a.queue <- copied:
	case <-a.done:
		a.lost = true
	case <-patience.C:
		a.lost = true
	}
	return len(p), nil
}

// close waits, for a while, until all has been passed on.
func (a *audience) close() {
	a.end.Do(func() { close(a.queue) })
	patience := time.NewTimer(parentPatience)
	defer patience.Stop()
	select {
	case <-a.done:
	case <-patience.C:
	}
}

package supervise

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// LogFile returns the log of a service in the folder of its instance's logs.
// Older ones have ".1" (the youngest) and so on appended.
func LogFile(dir, name string) string { return filepath.Join(dir, name+".log") }

// NewLog returns what writes a log as those of services are, without a mask: in
// whole lines, to a file that is put aside at size bytes, keep times. Its Write
// never fails.
func NewLog(path string, size int64, keep int) io.Writer {
	l := &logFile{path: path, size: size, keep: keep, mask: func() func([]byte) []byte { return nil }}
	return l.lines()
}

// logFile is one service's log. It holds whole lines, masked; what several
// processes of the service write at once is not mixed within a line. A log
// that can't be written never disturbs the service: the output is lost.
type logFile struct {
	path string
	size int64 // at which it is rotated
	keep int
	mask func() func([]byte) []byte // nil result: nothing to hide

	mu      sync.Mutex
	file    *os.File
	written int64
}

// makeLogDir makes the folder that logs stand in.
func makeLogDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the folder of logs: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("cannot protect the folder of logs: %w", err)
	}
	return nil
}

// open opens or makes the file; it is called with mu held.
func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	l.file, l.written = f, info.Size()
	return nil
}

// append writes whole lines, rotating between them.
func (l *logFile) append(lines []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rotated := false
	for len(lines) > 0 {
		if l.file == nil && l.open() != nil {
			return
		}
		fits := l.fitting(lines)
		if fits == 0 {
			if rotated {
				return // it can't be rotated
			}
			l.rotate()
			rotated = true
			continue
		}
		rotated = false
		n, _ := l.file.Write(lines[:fits]) // a full disk loses output, not the service
		l.written += int64(n)
		lines = lines[fits:]
	}
}

// fitting returns how many bytes of lines the file takes before it is rotated:
// whole lines, and at least one when it is empty.
func (l *logFile) fitting(lines []byte) int {
	room := l.size - l.written
	switch {
	case int64(len(lines)) <= room:
		return len(lines)
	case l.written == 0:
		return max(bytes.LastIndexByte(lines[:room], '\n'), bytes.IndexByte(lines, '\n')) + 1
	default:
		return bytes.LastIndexByte(lines[:max(room, 0)], '\n') + 1
	}
}

// rotate moves the file aside, and the older ones; the oldest goes.
func (l *logFile) rotate() {
	l.file.Close()
	l.file = nil
	for i := l.keep - 1; i >= 1; i-- {
		os.Rename(fmt.Sprintf("%s.%d", l.path, i), fmt.Sprintf("%s.%d", l.path, i+1)) // it may not exist yet
	}
	if os.Rename(l.path, l.path+".1") != nil && os.Truncate(l.path, 0) != nil {
		os.Remove(l.path) // better than growing without bound
	}
}

// note writes a line of the supervisor's own.
func (l *logFile) note(format string, args ...any) {
	w := l.lines()
	fmt.Fprintf(w, "instar: "+format+"\n", args...)
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

const (
	// maxLine is about how long a line may be, in bytes; longer ones are cut.
	maxLine = 64 << 10
	// lookAhead is how much of the rest must be known where a line is cut, so
	// that no secret shorter than that is cut in two.
	lookAhead = 4 << 10
)

// lineWriter is what one process writes to.
type lineWriter struct {
	log  *logFile
	rest []byte // an unfinished line
}

func (l *logFile) lines() *lineWriter { return &lineWriter{log: l} }

// Write takes any piece of output. It never fails.
func (w *lineWriter) Write(p []byte) (int, error) {
	mask := w.log.mask()
	var out []byte
	rest := p
	for {
		line, after, complete := bytes.Cut(rest, []byte{'\n'})
		w.rest = append(w.rest, line...)
		for len(w.rest) >= maxLine+lookAhead {
			at := safeCut(w.rest, mask)
			out = appendLine(out, w.rest[:at], mask)
			w.rest = append(w.rest[:0], w.rest[at:]...)
		}
		if !complete {
			break
		}
		out = appendLine(out, w.rest, mask)
		w.rest = w.rest[:0]
		rest = after
	}
	if len(out) > 0 {
		w.log.append(out)
	}
	if len(w.rest) == 0 && cap(w.rest) > 4<<10 {
		w.rest = nil
	}
	return len(p), nil
}

// Flush writes the unfinished line, when the output has ended.
func (w *lineWriter) Flush() error {
	if len(w.rest) > 0 {
		w.log.append(appendLine(nil, w.rest, w.log.mask()))
		w.rest = nil
	}
	return nil
}

func appendLine(out, line []byte, mask func([]byte) []byte) []byte {
	if mask != nil {
		line = mask(line)
	}
	return append(append(out, line...), '\n')
}

// safeCut returns where a line of more than maxLine bytes can be cut without
// cutting a secret in two: where masking the halves is masking the whole.
func safeCut(line []byte, mask func([]byte) []byte) int {
	if mask == nil {
		return maxLine
	}
	whole := bytes.Clone(mask(bytes.Clone(line)))
	for back := 0; back <= lookAhead; back = max(1, back*2) {
		at := maxLine - back
		head := bytes.Clone(mask(bytes.Clone(line[:at])))
		if bytes.Equal(append(head, mask(bytes.Clone(line[at:]))...), whole) {
			return at
		}
	}
	return maxLine
}

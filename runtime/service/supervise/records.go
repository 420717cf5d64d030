package supervise

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"instar/runtime/plan"
	"instar/runtime/process"
)

// record tells a later supervisor how to end what one service's process left:
// the mark alone does not find a program that wrote over its environment.
type record struct {
	Name    string        `json:"name"`
	Tree    process.Tree  `json:"tree"`
	Signal  string        `json:"signal"`
	Timeout time.Duration `json:"timeout"` // nanoseconds
}

// records is the file of records of one instance: one line of JSON for each
// start, of which the last one of each service counts. It is not kept open:
// thousands of instances would take as many descriptors.
type records struct {
	mu    sync.Mutex
	path  string
	begun bool
	last  map[string]record
	lines int
	over  bool // closed for good
}

// leftoverTimeout is how long what has no record gets to end.
const leftoverTimeout = 10 * time.Second

// recordsFile returns where records stand beside the logs.
func recordsFile(dir string) string { return filepath.Join(dir, ".processes") }

// endLeftovers ends what the records and the marks find, and begins new
// records.
func (in *instance) endLeftovers(ctx context.Context, dir string) error {
	path := recordsFile(dir)
	last := readRecords(path)
	left, err := in.sup.leftovers(in.name)
	if err != nil {
		return err
	}
	if !left && len(last) == 0 {
		return in.records.begin(path)
	}
	defer in.sup.mayEnd()()
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed []error
	for _, r := range last {
		all.Go(func() {
			sig, err := process.ParseSignal(r.Signal)
			if err != nil {
				sig = syscall.SIGTERM
			}
			if err = r.Tree.End(ctx, sig, r.Timeout); errors.Is(err, errors.ErrUnsupported) {
				err = nil // nothing can be done there
			}
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
		})
	}
	all.Wait()
	if left {
		prefix := process.MarkPrefix(in.sup.options.MarkBase, markKind, in.name)
		_, err = process.Leftovers(ctx, prefix, syscall.SIGTERM, leftoverTimeout)
	}
	if err = errors.Join(append(failed, err)...); err != nil {
		return err
	}
	return in.records.begin(path)
}

// Of how many instances leftovers are ended at once, and how long one of them
// counts: each keeps a table of all processes, which they share.
const (
	maxEnding  = 64
	endingTime = 5 * time.Second
)

// mayEnd waits until leftovers of one more instance may be ended.
func (s *Supervisor) mayEnd() (done func()) {
	s.ending <- struct{}{}
	free := sync.OnceFunc(func() { <-s.ending })
	late := time.AfterFunc(endingTime, free)
	return func() { late.Stop(); free() }
}

// survey is the last look at all processes for marks.
type survey struct {
	mu     sync.Mutex
	began  time.Time
	marked map[string]bool // instances
}

// leftovers reports whether processes may be left of an instance, of which this
// supervisor has started nothing yet.
func (s *Supervisor) leftovers(instance string) (bool, error) {
	var since time.Time
	if s.options.Alone != nil {
		since = s.options.Alone(instance)
	}
	if since.IsZero() {
		return true, nil
	}
	s.survey.mu.Lock()
	defer s.survey.mu.Unlock()
	if s.survey.began.Before(since) {
		began := time.Now()
		marked, err := process.Marked(s.options.MarkBase, markKind)
		if err != nil {
			return false, err
		}
		s.survey.began, s.survey.marked = began, marked
	}
	return s.survey.marked[instance], nil
}

// readRecords returns the last record of each service; what can't be read is
// as good as absent, for the marks remain.
func readRecords(path string) map[string]record {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	last := map[string]record{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		var r record
		if json.Unmarshal(lines.Bytes(), &r) == nil {
			last[r.Name] = r
		}
	}
	return last
}

// begin empties the file at path.
func (r *records) begin(path string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.path, r.last, r.lines = path, map[string]record{}, 0
	if r.over || runtime.GOOS == "windows" {
		return nil // a job ends with its supervisor
	}
	return r.rewrite()
}

// rewrite replaces the file by what counts; called with mu held.
func (r *records) rewrite() error {
	var text []byte
	for _, name := range plan.SortedKeys(r.last) {
		text = append(text, r.last[name].line()...)
	}
	temporary := r.path + ".new"
	os.Remove(temporary) // left by one that was killed
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temporary, r.path)
	}
	if err != nil {
		return err
	}
	r.begun, r.lines = true, len(r.last)
	return nil
}

// add records a start. It can't fail the start: the mark remains.
func (r *records) add(rec record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.begun {
		return
	}
	r.last[rec.Name] = rec
	if f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_APPEND, 0); err == nil {
		f.Write(rec.line())
		f.Close()
	}
	if r.lines++; r.lines > 1000+4*len(r.last) {
		r.rewrite()
	}
}

// close ends the recording; the records go when nothing is left to end.
func (r *records) close(nothingLeft bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if !r.begun {
		return
	}
	r.begun = false
	if nothingLeft {
		os.Remove(r.path)
	}
}

func (r record) line() []byte {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // plain texts and numbers
	}
	return append(text, '\n')
}

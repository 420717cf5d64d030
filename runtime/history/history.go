// Package history keeps a record of every processing of an instance: one [Line]
// of JSON each, in the file history.jsonl of the instance's state, old ones
// first. At 1 MiB the file is put aside; two old ones are kept.
//
// Texts are masked before they get here. The invariant: a line is written whole
// by one call, so that a reader sees lines, however many write.
package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"instar/runtime/report"
	"instar/runtime/state"
)

const (
	fileName = "history.jsonl"
	maxSize  = 1 << 20
	keep     = 2
	// What one line holds.
	maxChanges = 200
	maxOutput  = 50
	// maxText bounds one line of output, in bytes.
	maxText     = 4096
	maxWarnings = 50
)

// Line is one processing.
type Line struct {
	FormatVersion int             `json:"format_version"`
	At            time.Time       `json:"at"`  // when it ended
	Why           string          `json:"why"` // "asked: apply", "bang: …", "boot", "retry"
	By            string          `json:"by"`  // "node", "up", "apply", "destroy"
	Generation    int             `json:"generation,omitempty"`
	Complete      bool            `json:"complete"`
	Changes       []report.Change `json:"changes,omitempty"`
	// More counts the changes that are left out.
	More     int              `json:"more,omitempty"`
	Output   []Output         `json:"output,omitempty"` // the last lines of commands
	Summary  report.Summary   `json:"summary"`
	Promises []report.Promise `json:"promises,omitempty"`
	// Runs are those that had not succeeded in time.
	Runs     []report.Service `json:"runs,omitempty"`
	Warnings []string         `json:"warnings,omitempty"`
	Pending  *string          `json:"pending,omitempty"`
	Error    *report.Error    `json:"error,omitempty"`
	Seconds  float64          `json:"seconds"`
}

// Output is a line that a command wrote.
type Output struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Of returns the line for a report.
func Of(r *report.Report, by, why string, output []Output) *Line {
	l := &Line{FormatVersion: report.FormatVersion, At: time.Now().UTC().Round(time.Millisecond), Why: why, By: by,
		Generation: r.Generation, Complete: r.Complete, Summary: r.Summary,
		Promises: r.Promises, Runs: r.Runs, Warnings: r.Warnings[:min(len(r.Warnings), maxWarnings)], Pending: r.Pending, Error: r.Error, Seconds: r.Seconds}
	for i, c := range r.Changes {
		if i == maxChanges {
			l.More = len(r.Changes) - maxChanges
			break
		}
		c.Diff = ""
		l.Changes = append(l.Changes, c)
	}
	l.Output = output[max(0, len(output)-maxOutput):]
	return l
}

// Append adds a line, where the instance has a state, or is requested of a node:
// what was never applied, nor asked for, leaves nothing.
func Append(f state.Folder, l *Line) error {
	if _, err := os.Lstat(f.Path("profile")); err != nil && !f.Exists() {
		return nil
	}
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	path := f.Path(fileName)
	if info, err := os.Lstat(path); err == nil && info.Size()+int64(len(data)) > maxSize && info.Size() > 0 {
		rotate(path)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write the history: %w", err)
	}
	_, err = file.Write(append(data, '\n'))
	return errors.Join(err, file.Close())
}

func rotate(path string) {
	for i := keep; i > 0; i-- {
		_ = os.Rename(old(path, i-1), old(path, i)) // where there is one
	}
}

func old(path string, i int) string {
	if i == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, i)
}

// Read returns the last n lines, old ones first; all when n is negative. What
// cannot be understood is passed over: a crash may have cut a line.
func Read(f state.Folder, n int) ([]Line, error) {
	var lines []Line
	for i := keep; i >= 0; i-- {
		data, err := os.ReadFile(old(f.Path(fileName), i))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		in := bufio.NewScanner(bytes.NewReader(data))
		in.Buffer(nil, 16<<20)
		for in.Scan() {
			var l Line
			if json.Unmarshal(in.Bytes(), &l) == nil && l.FormatVersion > 0 {
				lines = append(lines, l)
			}
		}
	}
	if n >= 0 && len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return lines, nil
}

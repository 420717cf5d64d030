package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"instar/runtime/plan"
)

// An attempt of a command that wipes leaves a note in the instance's root while
// it has not succeeded: which attempt it is. Only together with it does a
// record of a failed attempt allow wiping. So a record that is older than what
// lies in the root (of a state folder that was restored) is not believed: what
// it says was begun may long have been made by a later attempt, and be data.

// notePrefix begins the name of every note, in the root.
const notePrefix = ".instar-attempt-"

// NotePath is where, relative to the root, the note of a command's attempt is.
func NotePath(name string) string { return notePrefix + name }

// NoteOf returns the command whose note a file in the root is; false for any
// other file.
func NoteOf(file string) (name string, ok bool) { return strings.CutPrefix(file, notePrefix) }

// maxNote bounds what is read of a note, in bytes.
const maxNote = 100

// believed returns rec, or nil when it is of an attempt that failed and is not
// the last one that began in this root.
func believed(cmd *plan.Command, rec *Record, view plan.View) (*Record, error) {
	if rec == nil || rec.Status == Succeeded || rec.Status == Adopted || len(rec.Wipe) == 0 {
		return rec, nil
	}
	info, err := view.Lstat(NotePath(cmd.Name))
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && (info.Kind != plan.KindFile || info.Size > maxNote):
		return rec.unless(""), nil
	case err != nil:
		return nil, fmt.Errorf("cannot look at %s for command %q: %w", NotePath(cmd.Name), cmd.Name, err)
	}
	note, err := view.ReadFile(NotePath(cmd.Name))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s for command %q: %w", NotePath(cmd.Name), cmd.Name, err)
	}
	return rec.unless(strings.TrimSpace(string(note))), nil
}

// unless returns nil unless rec is of the attempt that a note names.
func (r *Record) unless(note string) *Record {
	if note != r.Attempt {
		return nil
	}
	return r
}

// takeNote writes the note of the attempt that begins.
func (s *supervisor) takeNote() error {
	if len(s.order.Wipe) == 0 {
		return nil
	}
	s.dropNote()
	file, err := s.root.OpenFile(NotePath(s.order.Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cannot note the attempt: %w", err)
	}
	_, err = file.WriteString(s.order.Attempt + "\n")
	return errors.Join(err, file.Sync(), file.Close(), s.syncRoot())
}

// syncRoot makes durable which names stand at the top of the root: a note that a
// power cut takes, while it leaves what the attempt made, would forbid wiping that.
func (s *supervisor) syncRoot() error {
	top, err := s.root.Open(".")
	if err != nil {
		return err
	}
	_ = top.Sync() // not every system can sync a folder
	return top.Close()
}

// dropNote removes the note: after success there is nothing to be wiped. One
// that stays is removed by the deployer.
func (s *supervisor) dropNote() {
	if len(s.order.Wipe) > 0 {
		_ = s.root.Remove(NotePath(s.order.Name))
	}
}

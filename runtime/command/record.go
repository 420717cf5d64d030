// Package command executes commands while an instance converges, at most once
// where once is what was asked for.
//
// An attempt is one execution of a command, and its [Record], a file of the
// state folder, is what is known of the last one. [Decide] says, from the
// record alone and what stands below the root, whether a command must run. [Run]
// has a process of its own run it, the supervisor ([Supervise]), which outlives
// the deployer. [Wait] waits for one that an earlier deployer left.
//
// The invariant: the supervisor holds the command's lock from before the
// attempt is recorded as started until after its outcome is recorded, both
// durably. So whoever holds the lock knows that a record that says "started"
// is that of an attempt that was interrupted, and that a command which
// succeeded is recorded as such before anything after it begins.
package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/state"
)

// Status is how far an attempt came.
type Status string

// The states of an attempt. A record that says Started while nobody holds the
// command's lock is that of an interrupted one.
const (
	Started     Status = "started"
	Succeeded   Status = "succeeded"
	Failed      Status = "failed"
	Interrupted Status = "interrupted" // by Ctrl-C, or because the supervisor was killed
	Adopted     Status = "adopted"     // never attempted: what it creates was there, see [Adopt]
)

// Record is what is known of the last attempt. It holds no secret.
type Record struct {
	Format     int       `json:"format_version"`
	Name       string    `json:"name"`
	Status     Status    `json:"status"`
	Digest     string    `json:"digest"`  // of the definition, as the caller reckons it
	Attempt    string    `json:"attempt"` // unlike that of any other attempt
	Started    time.Time `json:"started"`
	Finished   time.Time `json:"finished,omitzero"`
	ExitCode   int       `json:"exit_code"` // -1 when it did not exit by itself
	Reason     string    `json:"reason,omitempty"`
	Supervisor int       `json:"supervisor,omitempty"` // its process number
	Mark       string    `json:"mark,omitempty"`       // of the processes, see package process

	// Wipe has, for every path to be wiped, whether the attempt began with it
	// missing or empty.
	Wipe map[string]bool `json:"wipe,omitempty"`
	// Creates has, for every path to be created that was there when the
	// command had ended, "sha256:…", "folder", "link:TARGET" or "special".
	Creates map[string]string `json:"creates,omitempty"`
	// Output is the end of the output, masked.
	Output string `json:"output,omitempty"`
	// Runs is set by a reader who does not wait, of an attempt that still runs.
	Runs bool `json:"-"`
}

const (
	format = 1
	// maxRecord bounds what is read of a record, in bytes.
	maxRecord = 1 << 20
)

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@-]{0,60}$`)

// CheckName returns an error when name can't be that of a command.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("bad command name %q: it must match %s", name, validName)
	}
	return nil
}

// LogPath returns the file with the masked output of the last attempt; that of
// the one before it, and what did not fit, has ".1" behind its name.
func LogPath(dir, name string) string { return filepath.Join(dir, name+".log") }

func recordPath(dir, name string) string { return filepath.Join(dir, name+".json") }
func lockPath(dir, name string) string   { return filepath.Join(dir, name+".lock") }

// Load reads the record of a command from the folder of records; nil when
// there is none. It takes no lock and writes nothing.
func Load(dir, name string) (*Record, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	path := recordPath(dir, name)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("cannot read the record of command %q: %w", name, err)
	case info.Size() > maxRecord:
		return nil, fmt.Errorf("cannot read the record of command %q: %s is too large", name, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the record of command %q: %w", name, err)
	}
	rec := &Record{}
	if err := json.Unmarshal(data, rec); err != nil {
		return nil, fmt.Errorf("the record of command %q is damaged: %s: %w", name, path, err)
	}
	if rec.Format > format {
		return nil, fmt.Errorf("the record of command %q was written by a newer instar: %s", name, path)
	}
	if rec.Name != name {
		return nil, fmt.Errorf("the record of command %q is damaged: %s is that of %q", name, path, rec.Name)
	}
	return rec, nil
}

// save replaces the record atomically and durably.
func (r *Record) save(dir string) error {
	r.Format = format
	data, err := json.MarshalIndent(r, "", "\t")
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = state.WriteFile(recordPath(dir, r.Name), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot record command %q as %s: %w", r.Name, r.Status, err)
	}
	return nil
}

// Adopt records, without running it, that what the command creates is there:
// what [Decision.Adopt] asks for. From then on a digest that differs makes it
// run again. The caller holds the instance's lock.
func Adopt(dir, root string, cmd *plan.Command, digest string) (Record, error) {
	rec := Record{Name: cmd.Name, Status: Adopted, Digest: digest}
	if err := CheckName(cmd.Name); err != nil {
		return rec, err
	}
	folder, err := fsys.OpenOS(root)
	if err != nil {
		return rec, fmt.Errorf("cannot open the instance's root: %w", err)
	}
	defer folder.Close()
	var missing []string
	rec.Creates, missing, err = created(folder, cmd.Creates)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("cannot take command %q as done: %s does not exist", cmd.Name, missing[0])
	}
	if err != nil {
		return rec, err
	}
	return rec, rec.save(dir)
}

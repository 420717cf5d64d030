package command

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"instar/runtime/plan"
)

// Decision says what is to be done about a command.
type Decision struct {
	Run bool
	// Why says why it runs: "never run", "srv/mysql/mysql does not exist".
	Why string
	// Wipe are the paths, relative to the root, to be emptied before it runs,
	// by the caller: a folder loses all that is in it, anything else goes.
	// [Job.Prepare] is the place. Run refuses to begin with one not empty.
	Wipe []string
	// Adopt asks for [Adopt] instead of a run.
	Adopt bool
}

// NotEmptyError is returned by [Decide] when an attempt would begin with a
// path to be wiped that is not empty, while no earlier attempt is known to
// have begun with it empty: what it holds may be data.
type NotEmptyError struct {
	Name string // of the command
	Path string
	Why  string // why the command would run
}

func (e *NotEmptyError) Error() string {
	return fmt.Sprintf("cannot run command %q (%s): %s is not empty, and may only be wiped after an attempt that began with it empty",
		e.Name, e.Why, e.Path)
}

// Hint says what a person can do.
func (e *NotEmptyError) Hint() string {
	return fmt.Sprintf("move %s away if what it holds is not needed, or put back what the command should have created", e.Path)
}

// Decide says whether cmd must run, given the digest of its definition and
// what it depends on, the record of its last attempt, nil for none, and what
// stands below the root. It is pure. The rules:
//
//   - Until an attempt has succeeded, it runs; but if no attempt was ever
//     recorded, and it creates something, and all of that exists, it counts as
//     done.
//   - After a success it runs when something that it creates is missing; and,
//     if it is Changed, when the digest differs from that of the success.
//   - A path to be wiped is wiped when it is not empty and the last attempt
//     failed or was interrupted and had itself begun with it missing or empty.
//     Otherwise, a path that is not empty is a [NotEmptyError].
//
// The record of a failed attempt counts only if that was the last attempt in
// this root: a state folder that was restored may hold an older one.
//
// A record that says Started counts as interrupted: the caller has waited
// ([Wait]), or only wants to know what an apply would do.
func Decide(cmd *plan.Command, digest string, rec *Record, view plan.View) (Decision, error) {
	missing, err := absent(cmd, view)
	if err != nil {
		return Decision{}, err
	}
	if rec, err = believed(cmd, rec, view); err != nil {
		return Decision{}, err
	}
	d := Decision{Why: why(cmd, digest, rec, missing)}
	if d.Why == "" {
		d.Adopt = rec == nil && cmd.Changed
		return d, nil
	}
	d.Run = true
	for _, path := range cmd.Wipe {
		clean, err := isClean(view, path)
		switch {
		case err != nil:
			return Decision{}, fmt.Errorf("cannot look at %s for command %q: %w", path, cmd.Name, err)
		case clean:
		case rec.mayWipe(path):
			d.Wipe = append(d.Wipe, path)
		default:
			return Decision{}, &NotEmptyError{Name: cmd.Name, Path: path, Why: d.Why}
		}
	}
	return d, nil
}

// why says why the command must run, "" when it need not.
func why(cmd *plan.Command, digest string, rec *Record, missing []string) string {
	switch {
	case rec == nil && len(cmd.Creates) > 0 && len(missing) == 0:
		return ""
	case rec == nil && len(cmd.Creates) == 0:
		return "never run"
	case rec != nil && rec.Runs:
		return "the last attempt still runs, and may succeed"
	case rec != nil && rec.Status == Failed:
		return "the last attempt failed: " + rec.Reason
	case rec != nil && rec.Status != Succeeded && rec.Status != Adopted:
		return "the last attempt was interrupted"
	case len(missing) > 0:
		return strings.Join(missing, ", ") + " " + plural(len(missing), "does", "do") + " not exist"
	case cmd.Changed && rec.Digest != digest:
		return "its definition, or a file that it mentions, changed"
	}
	return ""
}

func plural(n int, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

// mayWipe reports whether the last attempt allows the wiping of path.
func (r *Record) mayWipe(path string) bool {
	return r != nil && r.Status != Succeeded && r.Status != Adopted && r.Wipe[path]
}

// absent returns what should have been created and is not there.
func absent(cmd *plan.Command, view plan.View) (missing []string, err error) {
	for _, path := range cmd.Creates {
		_, err := view.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, path)
		case err != nil:
			return nil, fmt.Errorf("cannot look at %s for command %q: %w", path, cmd.Name, err)
		}
	}
	return missing, nil
}

// isClean reports whether path is missing or empty.
func isClean(view plan.View, path string) (bool, error) {
	info, err := view.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	case info.Kind == plan.KindDir:
		names, err := view.ReadDir(path)
		return len(names) == 0, err
	}
	return info.Kind == plan.KindFile && info.Size == 0, nil
}

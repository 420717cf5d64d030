package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"

	"instar/runtime/apply"
	"instar/runtime/command"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/state"
)

// What is executable in etc/prerm runs, as the instance's user, before its data
// is removed: once, by name, one after the other. That it succeeded is recorded
// by the process that ran it, so that a removal which was interrupted does not
// run it again.

// prermFolder is where they stand.
const prermFolder = "etc/prerm"

// prermTimeout bounds each of them.
const prermTimeout = 10 * time.Minute

// PrermError is the failure of a program in etc/prerm: the data stays.
type PrermError struct {
	Instance string
	Path     string // relative to the root
	Err      error
}

func (e *PrermError) Error() string {
	var failed *command.FailedError
	if errors.As(e.Err, &failed) {
		return e.Path + " " + failed.How()
	}
	return e.Path + ": " + e.Err.Error()
}

func (e *PrermError) Unwrap() error { return e.Err }

// Hint says what the operator can do.
func (e *PrermError) Hint() string {
	text := "the data stays until it has succeeded, or was removed; instar destroy " + e.Instance + " --purge tries again"
	var failed *command.FailedError
	if errors.As(e.Err, &failed) {
		text += "; " + failed.Hint()
	}
	return text
}

// checkPrerm refuses, while the instance is converged, what could not run: nobody
// would notice before it is too late.
func (w *work) checkPrerm() error {
	scripts, err := w.programsIn(prermFolder)
	if err != nil {
		return err
	}
	for _, script := range scripts {
		if w.leaving(script) {
			continue
		}
		if err := w.checkProgram(script); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) checkProgram(script string) error {
	if !serviceName.MatchString(path.Base(script)) {
		return badName(filepath.Join(w.Settings.Root, script), "a program that runs before data is removed")
	}
	info, err := w.view.Lstat(script)
	if err != nil {
		return err
	}
	return w.executable(script, info)
}

// prerm runs what has not succeeded yet, since this destruction began. The first
// failure ends it.
func (w *work) prerm(ctx context.Context) error {
	scripts, err := w.programsIn(prermFolder)
	if err != nil {
		return err
	}
	for _, script := range scripts {
		if err := w.checkProgram(script); err != nil {
			return err
		}
	}
	if len(scripts) > 0 && w.Prerm == nil {
		return fmt.Errorf("%s cannot be run here", scripts[0])
	}
	for _, script := range scripts {
		if err := w.runPrerm(ctx, script); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) runPrerm(ctx context.Context, script string) error {
	name := path.Base(script)
	info, err := w.view.Lstat(script)
	if err != nil {
		return err
	}
	own, err := w.ownDigest(script, info)
	if err != nil {
		return err
	}
	digest := apply.Digest([]byte(w.state.DestroyedAt.UTC().Format(time.RFC3339Nano)), map[string]string{script: own})
	at := w.state.Owned[script].At
	cmd := &plan.Command{
		Name: name, At: at, Timeout: prermTimeout,
		Exec: plan.Exec{Argv: []string{filepath.Join(w.Settings.Root, script)}, Dir: w.Settings.Root, Identity: w.Identity},
	}
	for {
		rec, err := w.Prerm.Record(ctx, name)
		if err != nil {
			return err
		}
		if rec != nil && rec.Status == command.Succeeded && rec.Digest == digest {
			return nil
		}
		why := "before data is removed"
		if rec != nil && rec.Digest == digest {
			why = "failed before"
		}
		w.emit(report.Event{Kind: "progress", Name: script, Text: "running"})
		_, err = w.Prerm.Run(ctx, command.Job{
			Command: cmd, Digest: digest, Secrets: w.state.Secrets,
			Line: func(line string) { w.emit(report.Event{Kind: "output", Name: script, Text: line}) },
		})
		switch {
		case errors.Is(err, command.ErrBusy):
			continue
		case err != nil:
			return &PrermError{w.Name, script, err}
		}
		w.run.changed["prerm:"+script] = true
		w.record(report.Change{Op: string(plan.OpRun), Name: script, Why: why, At: at.String()})
		return nil
	}
}

// keptForPrerm returns what a destruction that leaves data leaves for its removal:
// the programs in etc/prerm, and the declared files that they lead to.
func (w *work) keptForPrerm() map[string]bool {
	names, err := w.view.ReadDir(prermFolder)
	if err != nil {
		return nil // there is none
	}
	for i, name := range names {
		names[i] = prermFolder + "/" + name
	}
	return apply.Mentioned(w.Settings.Root, w.view, w.state.Owned, names)
}

// without returns owned less what is kept.
func without(owned map[string]state.Owned, kept map[string]bool) map[string]state.Owned {
	if len(kept) == 0 {
		return owned
	}
	rest := make(map[string]state.Owned, len(owned))
	for name, rec := range owned {
		if !kept[name] {
			rest[name] = rec
		}
	}
	return rest
}

func badName(path, what string) error {
	return &DropInError{path, "its name is none for " + what, "names match " + strings.Trim(serviceName.String(), "^$")}
}

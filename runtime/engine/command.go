package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"instar/runtime/apply"
	"instar/runtime/command"
	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/report"
)

// Commands keeps the records of an instance's commands and runs them.
type Commands interface {
	// Record returns the record of the command called name, nil when it was
	// never attempted. It first waits for an attempt that still runs, left by a
	// deployer that was killed.
	Record(ctx context.Context, name string) (*command.Record, error)
	// Names returns the commands that may have been attempted.
	Names() ([]string, error)
	// Run makes one attempt, which is recorded durably before Run returns. The
	// engine fills in all of job but where records are and who supervises.
	Run(ctx context.Context, job command.Job) (command.Record, error)
	// Adopt records a command whose effect was found there as done.
	Adopt(cmd *plan.Command, digest string) error
	// Path is where the command's record is, or would be.
	Path(name string) string
}

// Native runs commands on this machine. Dir is where their records are.
type Native struct {
	Dir, Root  string
	Supervisor command.Supervisor
}

// Record implements [Commands].
func (n Native) Record(ctx context.Context, name string) (*command.Record, error) {
	return command.Wait(ctx, n.Dir, name)
}

// Names implements [Commands].
func (n Native) Names() ([]string, error) { return command.Names(n.Dir) }

// Run implements [Commands].
func (n Native) Run(ctx context.Context, job command.Job) (command.Record, error) {
	job.Dir, job.Root, job.Supervisor = n.Dir, n.Root, n.Supervisor
	return command.Run(ctx, job)
}

// Adopt implements [Commands].
func (n Native) Adopt(cmd *plan.Command, digest string) error {
	_, err := command.Adopt(n.Dir, n.Root, cmd, digest)
	return err
}

// Path implements [Commands].
func (n Native) Path(name string) string { return filepath.Join(n.Dir, name+".json") }

// Pretend reads the records in Dir and runs nothing: the commands of a plan.
type Pretend struct{ Dir string }

// Record implements [Commands]. It does not wait.
func (p Pretend) Record(_ context.Context, name string) (*command.Record, error) {
	rec, err := command.Load(p.Dir, name)
	if rec != nil && rec.Status == command.Started {
		rec.Runs = command.Running(p.Dir, name)
	}
	return rec, err
}

// Names implements [Commands]. There is none to wait for.
func (p Pretend) Names() ([]string, error) { return nil, nil }

// Run implements [Commands].
func (p Pretend) Run(_ context.Context, job command.Job) (command.Record, error) {
	return command.Record{Name: job.Command.Name, Status: command.Succeeded, Digest: job.Digest}, nil
}

// Adopt implements [Commands].
func (p Pretend) Adopt(*plan.Command, string) error { return nil }

// Path implements [Commands].
func (p Pretend) Path(name string) string { return filepath.Join(p.Dir, name+".json") }

// unknown stands for the hash of a file that a command will make.
const unknown = "made at apply"

// loadMade collects the hashes of the files that commands made, from their
// records.
func (w *work) loadMade(ctx context.Context) error {
	w.made = map[string]string{}
	for _, r := range w.plan.Resources {
		cmd, ok := r.(*plan.Command)
		if !ok {
			continue
		}
		rec, err := w.recordOf(ctx, cmd.Name)
		if err != nil {
			return err
		}
		w.learnMade(cmd, rec)
	}
	return nil
}

func (w *work) learnMade(cmd *plan.Command, rec *command.Record) {
	for _, name := range cmd.Creates {
		if _, mine := w.cmp.Created[name]; !mine {
			continue
		}
		hash := ""
		if rec != nil {
			hash = rec.Creates[name]
		}
		w.made[name] = hash
	}
}

// command runs cmd when its record says that it must.
func (w *work) command(ctx context.Context, cmd *plan.Command) error {
	if w.Planning && w.run.changed[string(cmd.ID())] {
		return nil // an earlier round of this plan ran it
	}
	for {
		rec, err := w.recordOf(ctx, cmd.Name)
		if err != nil {
			return err
		}
		if err := w.recoverAside(cmd, rec); err != nil {
			return err
		}
		digest, err := w.commandDigest(cmd)
		if err != nil {
			return err
		}
		d, err := command.Decide(cmd, digest, rec, w.view)
		if err != nil {
			return err
		}
		if d.Adopt {
			return w.adopt(ctx, cmd, digest)
		}
		if !d.Run {
			return nil
		}
		if err := w.attempt(ctx, cmd, digest, d); !errors.Is(err, command.ErrBusy) {
			return err
		}
	}
}

// adopt records cmd as done. What is known of the files that it would make is in
// its record from now on.
func (w *work) adopt(ctx context.Context, cmd *plan.Command, digest string) error {
	if err := w.Commands.Adopt(cmd, digest); err != nil {
		return err
	}
	rec, err := w.recordOf(ctx, cmd.Name)
	if err != nil {
		return err
	}
	w.learnMade(cmd, rec)
	w.digests = nil
	return nil
}

func (w *work) attempt(ctx context.Context, cmd *plan.Command, digest string, d command.Decision) error {
	w.foresight.command(w, cmd, d.Why)
	if err := w.open(); err != nil {
		return err
	}
	aside, err := w.setAside(cmd)
	if err != nil {
		return err
	}
	if len(aside) > 0 {
		err = fsys.SyncFS(w.disk)
	} else {
		err = w.sync()
	}
	if err != nil {
		return errors.Join(err, w.putBack(aside, false))
	}
	w.dirty, w.digests = true, nil
	w.emit(report.Event{Kind: "progress", Name: cmd.Name, Text: "running"})
	rec, err := w.Commands.Run(ctx, command.Job{
		Command: cmd, Digest: digest, Secrets: w.secrets(),
		Prepare: func(context.Context) error { return w.wipe(cmd, d.Wipe) },
		Line:    func(line string) { w.emit(report.Event{Kind: "output", Name: cmd.Name, Text: line}) },
	})
	if err := w.putBack(aside, err == nil); err != nil {
		return err
	}
	if err != nil {
		return at(cmd.At, err)
	}
	w.learnMade(cmd, &rec)
	if w.Planning {
		for _, name := range cmd.Creates {
			if _, ok := w.made[name]; ok {
				w.made[name] = unknown
			}
		}
	}
	for _, name := range cmd.Creates {
		w.writes[name] = true
	}
	w.noteObserved()
	w.run.changed[string(cmd.ID())] = true
	w.record(report.Change{Op: string(plan.OpRun), Name: cmd.Name, Why: d.Why, At: cmd.At.String()})
	return nil
}

// wipe empties what a failed attempt left, in a folder that it had found empty.
func (w *work) wipe(cmd *plan.Command, names []string) error {
	for _, name := range names {
		if err := apply.Empty(w.disk, w.view, name); err != nil {
			return fmt.Errorf("%s: cannot empty %q before command %q: %w", cmd.At, name, cmd.Name, err)
		}
	}
	return nil
}

// positioned is an error with the place in the profile that it is about.
type positioned struct {
	error
	at plan.Pos
}

func (p *positioned) At() string    { return p.at.String() }
func (p *positioned) Unwrap() error { return p.error }

func at(pos plan.Pos, err error) error { return &positioned{err, pos} }

// commandDigest covers the command's definition and every declared file that it
// mentions.
func (w *work) commandDigest(cmd *plan.Command) (string, error) {
	def, err := json.Marshal(struct {
		Exec    plan.Exec
		Stdin   []byte
		Creates []string
	}{cmd.Exec, cmd.Stdin, cmd.Creates})
	if err != nil {
		return "", err
	}
	texts := append(execTexts(cmd.Exec), string(cmd.Stdin))
	// What a command makes is its effect, not an input of its own.
	own := map[string]bool{}
	for _, name := range cmd.Creates {
		own[name] = true
	}
	inputs, err := w.digester().Inputs(texts, cmd.Uses, own)
	if err != nil {
		return "", fmt.Errorf("%s: command %q: %w", cmd.At, cmd.Name, err)
	}
	return apply.Digest(def, inputs), nil
}

func execTexts(x plan.Exec) []string {
	texts := append([]string{x.Dir}, x.Argv...)
	return append(texts, x.Env...)
}

// digester is made once, and anew after a command may have changed what is
// copied.
func (w *work) digester() *apply.Digester {
	if w.digests == nil {
		w.digests = apply.NewDigester(w.Settings.Root, w.cmp, w.made)
	}
	return w.digests
}

package command

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"instar/runtime/plan"
	"instar/runtime/secret"
	"instar/runtime/state"
)

// ErrBusy is returned by [Run] when a supervisor that another deployer started
// runs the command. The caller calls [Wait], then [Decide] anew.
var ErrBusy = errors.New("an earlier instar's attempt is still running")

// Job is one execution of a command.
type Job struct {
	Command *plan.Command
	Dir     string   // of records, locks and logs; made when missing, 0700
	Root    string   // of the instance, absolute; Creates and Wipe are below it
	Digest  string   // recorded
	Secrets []string // masked in log, record, Line and errors

	// Grace is what the command gets between TERM and KILL, at its timeout and
	// when ctx ends; 0 means 5 seconds.
	Grace time.Duration
	// Prepare, if not nil, is called while the command's lock is held, right
	// before it begins: the place to empty what is to be wiped. If it fails,
	// nothing is run and nothing is recorded.
	Prepare func(context.Context) error `json:"-"`
	// Line, if not nil, is given every line of the masked output, without its
	// end; a line of more than 64 KiB in pieces. A deployer that takes no
	// output for 5 seconds gets no more of it; the log does.
	Line func(string) `json:"-"`

	Supervisor Supervisor
}

// Supervisor says how a supervisor is started. The zero value means this very
// binary, as `instar supervise --once`.
type Supervisor struct {
	Argv []string // absolute program first
	Env  []string // nil: as ours
}

const defaultGrace = 5 * time.Second

func (j Job) grace() time.Duration {
	if j.Grace > 0 {
		return j.Grace
	}
	return defaultGrace
}

// FailedError is returned by [Run] for a command that did not succeed. Its text
// says how it ended, and the end of its output, masked.
type FailedError struct {
	Record Record
	Log    string // path of the log
}

// outputLines is how many lines of output an error shows.
const outputLines = 20

func (e *FailedError) Error() string { return fmt.Sprintf("command %q %s", e.Record.Name, e.How()) }

// How is the error without the command's name.
func (e *FailedError) How() string {
	text := fmt.Sprintf("%s: %s", e.Record.Status, e.Record.Reason)
	if e.Record.Output == "" {
		return text
	}
	lines := strings.Split(e.Record.Output, "\n")
	lines = lines[max(0, len(lines)-outputLines):]
	return text + "\n    " + strings.Join(lines, "\n    ")
}

// Hint says where the whole output is.
func (e *FailedError) Hint() string { return "all of its output: " + e.Log }

// Run runs the command once, through a supervisor that finishes even if this
// process dies, and returns the record. A [*FailedError] means that the command
// was run, or could not be started, and did not succeed; the record says the
// same. Any other error means that it was not begun, but for those that say
// that its outcome could not be recorded.
//
// When ctx ends, the command's whole tree is ended, the attempt is recorded as
// interrupted, and the error is ctx's.
func Run(ctx context.Context, job Job) (Record, error) {
	if err := job.check(); err != nil {
		return Record{}, err
	}
	if err := ctx.Err(); err != nil {
		return Record{}, err
	}
	if err := os.MkdirAll(job.Dir, 0o700); err != nil {
		return Record{}, fmt.Errorf("cannot make the folder of command records: %w", err)
	}
	if err := state.SyncFolders(filepath.Dir(job.Dir)); err != nil {
		return Record{}, fmt.Errorf("cannot make the folder of command records durable: %w", err)
	}
	r := &runner{job: job, attempt: rand.Text(), masker: secret.New(job.Secrets)}
	r.said = r.masker.Tail(tailBytes)
	if err := r.start(); err != nil {
		return Record{}, fmt.Errorf("cannot run command %q: %w", job.Command.Name, err)
	}
	stop := context.AfterFunc(ctx, func() { r.tell(signCancel) })
	defer stop()
	err := r.follow(ctx)
	return r.outcome(ctx, err)
}

func (j Job) check() error {
	if err := CheckName(j.Command.Name); err != nil {
		return err
	}
	if len(j.Command.Exec.Argv) == 0 {
		return fmt.Errorf("cannot run command %q: it names no program", j.Command.Name)
	}
	if !filepath.IsAbs(j.Dir) || !filepath.IsAbs(j.Root) {
		return fmt.Errorf("cannot run command %q: the folder of records and the root must be absolute paths", j.Command.Name)
	}
	return nil
}

// runner is the deployer's side of one attempt.
type runner struct {
	job     Job
	attempt string
	masker  *secret.Masker
	child   *exec.Cmd
	orders  *speaker
	input   io.Closer
	output  *bufio.Reader
	said    *secret.Tail // what the supervisor itself has to say
}

func (r *runner) start() error {
	argv := r.job.Supervisor.Argv
	if len(argv) == 0 {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("cannot find this program: %w", err)
		}
		argv = []string{self, "supervise", "--once"}
	}
	r.child = exec.Command(argv[0], argv[1:]...)
	r.child.Env = r.job.Supervisor.Env
	r.child.Dir = filepath.VolumeName(argv[0]) + string(filepath.Separator)
	r.child.SysProcAttr = detached()
	r.child.Stderr = r.said
	in, err := r.child.StdinPipe()
	if err != nil {
		return err
	}
	out, err := r.child.StdoutPipe()
	if err != nil {
		return err
	}
	r.orders, r.input, r.output = newSpeaker(in), in, bufio.NewReaderSize(out, 64<<10)
	return r.child.Start()
}

// tell sends a sign; a supervisor that has ended needs none.
func (r *runner) tell(s sign) { _ = r.orders.say(s) }

// follow gives the order, lets the command begin, and passes its output on
// until the supervisor has ended.
func (r *runner) follow(ctx context.Context) error {
	err := r.begin(ctx)
	if err != nil {
		r.input.Close() // the supervisor does not begin without us
	}
	r.pass()
	if ended := r.child.Wait(); err == nil {
		err = ended
	}
	r.said.Close() // a Tail's Close can't fail
	r.input.Close()
	return err
}

func (r *runner) begin(ctx context.Context) error {
	if err := r.orders.say(newOrder(r.job, r.attempt)); err != nil {
		return err
	}
	line, err := r.output.ReadBytes('\n')
	if err != nil {
		return errors.New("the supervisor said nothing")
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return fmt.Errorf("cannot understand the supervisor: %q", line)
	}
	switch {
	case a.Busy:
		return ErrBusy
	case !a.Ready:
		return fmt.Errorf("cannot understand the supervisor: %q", line)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.job.Prepare != nil {
		if err := r.job.Prepare(ctx); err != nil {
			return &prepareError{err}
		}
	}
	return r.orders.say(signGo)
}

// prepareError marks an error of [Job.Prepare], which is returned as it is.
type prepareError struct{ error }

func (e *prepareError) Unwrap() error { return e.error }

// pass passes on the output.
func (r *runner) pass() {
	for {
		line, err := r.output.ReadSlice('\n')
		if len(line) > 0 && r.job.Line != nil {
			r.job.Line(strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// outcome says what became of the attempt, as the record tells it.
func (r *runner) outcome(ctx context.Context, err error) (Record, error) {
	name := r.job.Command.Name
	var prepare *prepareError
	switch {
	case errors.As(err, &prepare):
		return Record{}, prepare.error
	case errors.Is(err, ErrBusy):
		return Record{}, fmt.Errorf("cannot run command %q: %w", name, ErrBusy)
	}
	said := r.said.Lines(outputLines)
	// The supervisor has ended: what is recorded as started was interrupted.
	rec, waitErr := Wait(context.WithoutCancel(ctx), r.job.Dir, name)
	switch {
	case waitErr != nil:
		return Record{}, errors.Join(waitErr, silence(said))
	case rec == nil || rec.Attempt != r.attempt:
		if ctx.Err() != nil {
			return Record{}, ctx.Err()
		}
		if said != "" {
			return Record{}, fmt.Errorf("cannot run command %q: %s", name, said)
		}
		if err == nil {
			err = fmt.Errorf("its supervisor ended without a record of this attempt (%s)", describe(rec))
		}
		return Record{}, fmt.Errorf("cannot run command %q: %w", name, err)
	case rec.Status == Succeeded:
		return *rec, nil
	}
	failed := &FailedError{Record: *rec, Log: LogPath(r.job.Dir, name)}
	if rec.Status == Interrupted && ctx.Err() != nil {
		return *rec, fmt.Errorf("command %q interrupted: %w", name, ctx.Err())
	}
	if said != "" {
		return *rec, fmt.Errorf("%w\n%s", failed, said)
	}
	return *rec, failed
}

// describe says what a record is of.
func describe(rec *Record) string {
	if rec == nil {
		return "there is none"
	}
	return fmt.Sprintf("there is one of an attempt of %s, %s", rec.Started.Format(time.RFC3339Nano), rec.Status)
}

// silence returns what was said as an error, nil when nothing was.
func silence(said string) error {
	if said == "" {
		return nil
	}
	return errors.New(said)
}

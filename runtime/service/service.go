// Package service is about an instance's long-lived processes, whoever runs
// them: what one is started with ([Spec]), who starts it ([Manager]), and what
// must happen so that what runs is what is declared ([Reconcile]).
//
// The rule is level, not edge: a service restarts because the digest it was
// started with differs from the one wanted now, never because something was
// noticed to have changed.
package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"instar/runtime/plan"
)

// Spec is all that a manager needs to start one service, run or timer.
type Spec struct {
	Instance string
	Name     string
	Run      bool     // expected to end: an `etc/run` program, or a timer
	Argv     []string // the program that is executed: the script, or the command itself
	Env      []string // whole environment, "K=V"; no secret ever stands here
	// PrivateEnv is the part of the environment that holds secrets: it may not
	// stand in any definition that others can read.
	PrivateEnv []string
	Dir        string
	Identity   plan.Identity
	Umask      int // 027; managers whose children inherit it from instar do not look at it

	// Schedule is set for a timer: when the program is started, in the five
	// fields of runtime/schedule. It is armed where services are started, and
	// never started again before its next time.
	Schedule string
	// ThenService is told by the signal ThenSignal, a name without "SIG", whenever
	// the program of a timer has ended: its main process, if it runs.
	ThenService, ThenSignal string

	Restart     string // "always", "on-failure", "no"; runs: until it succeeds
	After       []string
	ReloadArgv  []string
	ReloadSig   string
	StopSignal  string
	StopTimeout time.Duration
	Limits      plan.Limits

	// Digest covers all that the process is started with. A running process
	// with another one is restarted, but a timer's process never is: it goes on,
	// and the next one is started with what is wanted now.
	Digest string
	// ReloadDigest covers the files of reload_on. A running process that read
	// others is told to reload.
	ReloadDigest string
	// Inputs and ReloadInputs are the digests of the files that the two digests
	// cover, by path, so that a change can be explained; they decide nothing.
	Inputs, ReloadInputs map[string]string

	At plan.Pos
}

// Status is what a service does at the moment.
type Status string

// The states of a service.
const (
	Running    Status = "running"
	Stopped    Status = "stopped"
	Failed     Status = "failed"     // could not be started, or ended badly for good
	Restarting Status = "restarting" // waiting for its next attempt
	Waiting    Status = "waiting"    // for a service or run in `after`; of a timer: for its time
	Done       Status = "done"       // of a run: it succeeded
)

// State is what a manager knows about one service.
type State struct {
	Name         string    `json:"name"`
	Run          bool      `json:"run,omitempty"`
	Status       Status    `json:"status"`
	PID          int       `json:"pid"`
	Restarts     int       `json:"restarts"`
	Since        time.Time `json:"since"`            // of Status
	Digest       string    `json:"digest,omitempty"` // what it was started with; "" when not known
	ReloadDigest string    `json:"reload_digest,omitempty"`
	Definition   string    `json:"definition,omitempty"` // [Spec.Definition] in force; "" when not known
	After        []string  `json:"after,omitempty"`
	ExitCode     int       `json:"exit_code"`         // of the last attempt, -1 when a signal ended it
	Message      string    `json:"message,omitempty"` // "exit status 3", for people

	// Schedule is that of the Spec. Next is when a timer is due, and Last when it
	// was started last, if that is known. A timer that is Failed waits for its
	// time, too.
	Schedule string    `json:"schedule,omitempty"`
	Next     time.Time `json:"next,omitzero"`
	Last     time.Time `json:"last,omitzero"`

	// Ended is set when the process ended by itself and is not started again:
	// restart is "no", or it is "on-failure" and the process succeeded.
	Ended bool `json:"ended,omitempty"`

	// Inputs and ReloadInputs are as in Spec; nil when not known.
	Inputs       map[string]string `json:"inputs,omitempty"`
	ReloadInputs map[string]string `json:"reload_inputs,omitempty"`
}

// Op is what Apply shall do with one service.
type Op string

// The operations on a service.
const (
	Start   Op = "start"
	Stop    Op = "stop"
	Restart Op = "restart"
	Reload  Op = "reload" // of a timer: give it another schedule or program, for its next time
	Unload  Op = "unload" // stop and forget
	Update  Op = "update" // replace the definition without disturbing the process
)

// Change is one operation on one service. Spec is not looked at for Stop and
// Unload.
type Change struct {
	Op   Op
	Name string
	Run  bool
	Spec Spec
	Why  string
	At   plan.Pos
}

// Artifact is a file that a manager installs, for plan and diff.
type Artifact struct {
	Path string
	Data []byte
	Mode uint32
}

// Exit is a service's end that nobody asked for.
type Exit struct {
	Instance, Name string
	Code           int    // -1 when a signal ended it
	Reason         string // "exit status 3", "signal: KILL"
	At             time.Time
}

// Manager runs services. Every call takes many at once, is idempotent, and
// gives up when ctx ends. After Stop a service is Stopped and not Ended, after
// Unload it is not observed, and after any other operation it is observed with
// the digests and the definition of the Change's Spec, unless Apply says what
// failed.
type Manager interface {
	// Platform names the manager: "up", "none", "systemd".
	Platform() string
	// Render returns the files that Apply would install for spec.
	Render(spec Spec) ([]Artifact, error)
	// Observe returns the states of all services of instance that the manager
	// knows, by key ([Key]).
	Observe(ctx context.Context, instance string) (map[string]State, error)
	// Apply performs changes in order; what can be done at once is.
	Apply(ctx context.Context, instance string, changes []Change) error
	// Exits delivers ends that nobody asked for until ctx ends.
	Exits(ctx context.Context) (<-chan Exit, error)
}

// Refuser is a Manager that cannot run everything.
type Refuser interface {
	// Refuses says, for people, why the manager does not take spec; "" when it
	// does.
	Refuses(spec Spec) string
}

// Key identifies a service or run within its instance: a run and a service
// never share a name, so it is the name.
func Key(s Spec) string { return s.Name }

// Timer reports whether s is started at certain times.
func (s Spec) Timer() bool { return s.Schedule != "" }

// Timer reports whether s is that of a timer.
func (s State) Timer() bool { return s.Schedule != "" }

// Definition returns a digest of what a manager must know about the service
// but a running process need not be restarted for.
func (s Spec) Definition() string {
	text, err := json.Marshal([]any{s.Restart, s.After, s.ReloadArgv, s.ReloadSig, s.StopSignal, s.StopTimeout})
	if err != nil {
		panic(err) // plain texts and numbers
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// CanReload reports whether the service has a way to be told to read its files
// again.
func (s Spec) CanReload() bool { return len(s.ReloadArgv) > 0 || s.ReloadSig != "" }

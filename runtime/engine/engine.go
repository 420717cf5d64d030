// Package engine converges one instance: a profile is evaluated into a plan,
// the plan is compared with the machine, edits are performed, services
// reconciled, promises checked, and a report written.
//
// There is one engine. What `plan`, `apply`, `up` and the node do differs only
// in the values they give it: the file system (the real root, or an overlay of
// it in memory), the service manager (the machine's, or one that only
// records), the store of the state, and who runs commands. The invariant: up to
// the claim, which is saved before the first edit, nothing on the machine has
// changed.
package engine

import (
	"context"
	"time"

	"github.com/spf13/afero"

	"instar/runtime/generation"
	"instar/runtime/plan"
	"instar/runtime/planfile"
	"instar/runtime/report"
	"instar/runtime/secret"
	"instar/runtime/service"
	"instar/runtime/state"
)

// Evaluator turns an instance's profile into a plan. It changes nothing; what
// it sees of the root it sees through the view.
type Evaluator func(context.Context, *state.State, plan.View) (*plan.Plan, error)

// Store is where an instance's state is kept while it converges.
type Store interface {
	Load() (*state.State, error)
	// Save writes the state, unless it says the same already.
	Save(*state.State) error
	// Remove forgets the instance: its state, records and logs.
	Remove() error
}

// Cache is where it is kept what lets an unchanged instance be recognized.
type Cache interface {
	LoadCache() *state.Cache // nil: none that counts
	// Current reports whether the state is still the one that the cache was made
	// beside.
	Current(*state.Cache) bool
	SaveCache(*state.Cache) error
	DropCache()
	// LoadPlanned returns what the plan was when the cache was made, nil when that is
	// not known.
	LoadPlanned(*state.Cache) *state.Planned
	SavePlanned(*state.Cache, *state.Planned) error
}

// Generations keeps what applies made.
type Generations interface {
	Keep(*generation.Made) error
	// Judge tells whether the promises and runs of a generation held; failure,
	// masked, says which did not.
	Judge(number int, failure string) error
}

// Disk gives the engine its root.
type Disk interface {
	// Peek returns the root for reading; when it does not exist, an empty one.
	Peek() (afero.Fs, error)
	// Open returns the root for writing, and creates it when it is missing.
	Open() (afero.Fs, error)
	// Remove removes the root folder itself, which is empty.
	Remove() error
}

// Engine is one instance and everything that is needed to converge it.
type Engine struct {
	Name     string
	Settings state.Settings // remembered once evaluation has succeeded
	// Requested replaces the remembered state when it is not "".
	Requested string
	Identity  plan.Identity // the instance's user; Home is the root

	// Program is instar itself, which rotates logs.
	Program string

	Disk     Disk
	Store    Store
	Evaluate Evaluator
	// Cache, if not nil, spares the evaluation where nothing has changed. Key
	// covers all that Evaluate starts from but files and the state.
	Cache Cache
	Key   func(*state.State) (string, error)
	// Build, if not nil, tells this program from others: what another one found out of
	// a plan does not count.
	Build func() (string, error)
	// Verify reads everything, whatever Cache says.
	Verify bool

	// Generations, if not nil, keeps what an apply made. RolledBack is remembered:
	// the generation by whose profile Evaluate goes, nil for the source itself.
	// RollbackOf is that generation while it is being returned to, else 0.
	Generations Generations
	RolledBack  *state.RolledBack
	RollbackOf  int

	Commands Commands
	// Prerm runs what stands in etc/prerm before data is removed.
	Prerm Commands
	// Manager runs the services; nil leaves them alone, and their promises
	// unchecked.
	Manager service.Manager
	// Unsupported says, for people, which wishes of a service Manager cannot
	// honour; nil: it honours all.
	Unsupported func(service.Spec) []string
	// Promises checks the plan's promises for up to the given time; nil does
	// not check any.
	Promises func(ctx context.Context, promises []plan.Promise, mask *secret.Masker, wait time.Duration, progress func(report.Promise)) []report.Promise
	// Wait bounds how long runs and promises are waited for.
	Wait time.Duration

	// Children carries out what the profile requests; nil: it can request nothing.
	Children Children

	// Held names services that an operator stopped: they are not started.
	Held map[string]bool
	// Specs is set by Converge: what runs, or would, of the last plan.
	Specs []service.Spec
	// Observed is set by Converge: the paths, relative to the root, that the last
	// evaluation observed.
	Observed []string

	// Settled, if not nil, is called when nothing is left to do but to wait for
	// runs and promises.
	Settled func()
	// Patience, if not nil, ends when promises and runs are no longer waited for:
	// somebody else wants the instance. Converge then fails with its cause.
	Patience context.Context

	// Source is the folder of the profile that Evaluate evaluates, without links.
	Source string
	// Paper returns an engine that does on paper what this one does, and what
	// releases it.
	Paper func() (e *Engine, done func())
	// Saved, if not nil, must be what would be done: else Converge does nothing and
	// fails with a [StaleError]. It needs Paper.
	Saved *planfile.Forecast
	// VerifyIdempotent has Converge plan again after a success, and fail with an
	// [IdempotenceError] when that has changes. It needs Paper.
	VerifyIdempotent bool
	foresight        *Foresight

	// Planning is set when nothing is real: values chosen are shown as such, and
	// files that a command would make count as unknown.
	Planning bool
	// Reveal has published values shown with their secrets.
	Reveal bool
	// Diffs has changes of texts carry a unified diff.
	Diffs bool
	Sink  report.Sink
	Now   func() time.Time

	// Mask learns what must be masked, as soon as it is known.
	Mask *secret.Masker
}

// maxRounds bounds how often one processing evaluates the profile.
const maxRounds = 10

func (e *Engine) emit(ev report.Event) {
	if e.Sink == nil {
		return
	}
	ev.Time = e.now()
	e.Sink(ev)
}

func (e *Engine) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

// Package supervise runs services as child processes: [Supervisor] is the
// service manager of `instar up`, which needs no other one and no root.
//
// Each service is a unit: one goroutine that owns the service's process and
// alone starts, ends and replaces it. An instance is its units together with
// the order among them. Whatever a unit does, it does to the whole tree of its
// process, and no unit ever waits for the output, the log or the end of
// another's.
//
// The invariant: between two processes of one service nothing of the first one
// is left, and after [Supervisor.Close] nothing at all.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"time"

	"instar/runtime/process"
	"instar/runtime/service"
)

// Options configure a Supervisor. LogDir and MarkBase are required.
type Options struct {
	// LogDir returns the folder of an instance's logs; it is made, 0700. It
	// also holds the record by which a later Supervisor ends what this one
	// leaves when it is killed.
	LogDir func(instance string) string
	// RecordDir returns the folder of that record where it shall not be among
	// the logs; it exists. Supervisors that share logs have one each.
	RecordDir func(instance string) string
	// MarkBase names what no other Supervisor of this machine shares: the
	// state folder.
	MarkBase string
	// Alone returns since when nobody but this Supervisor can have started services
	// of an instance. A look at all processes that began later finds what an
	// earlier one has left of it: one look serves many instances. Nil, or the zero
	// time: nobody knows, and each instance has a look of its own.
	Alone func(instance string) time.Time
	// Mask returns what hides the instance's secrets in one line of its logs,
	// the newline not included. It is asked again for each piece of output, so
	// that a secret is hidden from the moment it is known: both must be quick.
	Mask func(instance string) func([]byte) []byte
	// OnChange is told every change of a service's state, in order for each
	// service, by the service's own goroutine: it must return soon and not
	// call Apply or Close.
	OnChange func(instance string, state service.State)
	// LogSize is the size at which a log is rotated, in bytes, and LogKeep how
	// many old ones are kept; 0 means 10 MiB and 5.
	LogSize int64
	LogKeep int
	// Clock paces the attempts; nil is the system's. Stop timeouts and the
	// watching of memory are always paced by the system's.
	Clock Clock
	// Signal sends a signal, by its name, to the main process of a service that
	// this Supervisor does not run; nil where there are none. One that does not
	// run needs none.
	Signal func(instance, name, signal string) error
	// MemoryPeriod is how often memory is looked at; 0 means a second.
	MemoryPeriod time.Duration
}

// Supervisor is a [service.Manager] that runs services as its own children.
type Supervisor struct {
	options Options
	exits   exits
	release func()          // takes adoption back
	hard    context.Context // ends when ending must not be gentle any more
	harden  context.CancelFunc
	quit    chan struct{} // closed by Close once nothing runs
	watch   chan struct{} // holds a token once there is memory to watch
	work    sync.WaitGroup

	survey survey
	ending chan struct{} // holds a token for each instance of which leftovers are ended

	mu        sync.Mutex
	closed    bool
	instances map[string]*instance
}

var _ service.Manager = (*Supervisor)(nil)

// New returns a Supervisor without services. The caller must Close it.
func New(options Options) (*Supervisor, error) {
	if options.LogDir == nil || options.MarkBase == "" {
		return nil, errors.New("cannot supervise: LogDir and MarkBase are required")
	}
	if options.Clock == nil {
		options.Clock = systemClock{}
	}
	if options.LogSize <= 0 {
		options.LogSize = 10 << 20
	}
	if options.LogKeep <= 0 {
		options.LogKeep = 5
	}
	if options.MemoryPeriod <= 0 {
		options.MemoryPeriod = time.Second
	}
	release, err := process.Adopt()
	if err != nil {
		return nil, err
	}
	s := &Supervisor{options: options, release: release, quit: make(chan struct{}), watch: make(chan struct{}, 1), ending: make(chan struct{}, maxEnding), instances: map[string]*instance{}}
	s.hard, s.harden = context.WithCancel(context.Background())
	s.work.Go(s.watchMemory)
	return s, nil
}

// Platform implements [service.Manager].
func (s *Supervisor) Platform() string { return "up" }

// Render implements [service.Manager]: nothing is installed.
func (s *Supervisor) Render(service.Spec) ([]service.Artifact, error) { return nil, nil }

// Unsupported says which of spec's wishes a Supervisor can't honour here, one
// text each, for people.
func Unsupported(spec service.Spec) []string {
	var texts []string
	add := func(format string, args ...any) {
		texts = append(texts, fmt.Sprintf("%s: ", spec.Name)+fmt.Sprintf(format, args...))
	}
	if spec.Limits.CPU > 0 {
		add("limit cpu=%g is not enforced: child processes have no cgroup of their own", spec.Limits.CPU)
	}
	if spec.Limits.Memory > 0 && runtime.GOOS != "linux" {
		add("limit memory=%d is not enforced on %s", spec.Limits.Memory, runtime.GOOS)
	}
	if (spec.Limits.NoFile > 0 || spec.Limits.NProc > 0) && runtime.GOOS == "windows" {
		add("limits nofile and nproc are refused on windows")
	}
	return texts
}

// Observe implements [service.Manager].
func (s *Supervisor) Observe(_ context.Context, name string) (map[string]service.State, error) {
	s.mu.Lock()
	in := s.instances[name]
	s.mu.Unlock()
	states := map[string]service.State{}
	if in == nil {
		return states, nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for key, u := range in.units {
		states[key] = u.state
	}
	return states, nil
}

// Tree returns what identifies the last process of a service that was started,
// and all that came from it; none for one that never was.
func (s *Supervisor) Tree(name, serviceName string) process.Tree {
	s.mu.Lock()
	in := s.instances[name]
	s.mu.Unlock()
	if in == nil {
		return process.Tree{}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if u := in.units[serviceName]; u != nil && u.main != nil {
		return u.main.Tree()
	}
	return process.Tree{}
}

// Exits implements [service.Manager]. Of what a slow reader leaves, the oldest
// is forgotten: a thousand exits are kept for it.
func (s *Supervisor) Exits(ctx context.Context) (<-chan service.Exit, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	return s.exits.subscribe(ctx, s.quit, &s.work), nil
}

var errClosed = errors.New("the supervisor is closed")

// Close stops all services, dependents first, and returns when no process and
// no goroutine is left. When ctx ends, what still runs is killed at once. The
// error names what could not be ended.
func (s *Supervisor) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.quit
		return nil
	}
	s.closed = true
	instances := maps.Clone(s.instances)
	s.mu.Unlock()

	defer context.AfterFunc(ctx, s.harden)()
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed []error
	for _, in := range instances {
		all.Go(func() {
			err := in.close()
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
		})
	}
	all.Wait()
	process.Strays()
	close(s.quit)
	s.harden()
	s.work.Wait()
	s.release()
	return errors.Join(failed...)
}

// instance returns the instance called name, made when it is new.
func (s *Supervisor) instance(name string) (*instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	in := s.instances[name]
	if in == nil {
		in = newInstance(s, name)
		s.instances[name] = in
	}
	return in, nil
}

// closing reports whether nothing shall be started any more.
func (s *Supervisor) closing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

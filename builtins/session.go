// Package builtins is what a profile can call.
//
// A [Session] is one evaluation of one profile, in one goroutine. It gives
// the interpreter its predeclared names, and collects what they declare into
// a plan. What the evaluation starts from is plain data ([Inputs]); what it
// may ask of the machine while it runs is a [Host], which has no method that
// changes anything.
//
// [Table] lists every builtin. One file holds one of them, or a family.
//
// The invariant: same inputs and same answers of the host, same plan. What
// was asked outside the instance's root is recorded in the plan.
package builtins

import (
	"io/fs"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
	"instar/starlark/interp"
)

// Host answers what evaluation asks of the machine.
type Host interface {
	// Observe returns the content of a regular file of at most [MaxObserved]
	// bytes below the instance's root. A missing one is an error for which
	// errors.Is(err, fs.ErrNotExist) holds.
	Observe(path string) ([]byte, error)
	// Stat and ReadDir look at the release and the system's folders of
	// programs, by absolute path, following symbolic links. Names are sorted.
	Stat(path string) (fs.FileInfo, error)
	ReadDir(path string) ([]string, error)
	// PortFree reports whether a TCP port could be listened on now.
	PortFree(host string, port int) (bool, error)
	// User and Group look a name up. An unknown one is an error.
	User(name string) (User, error)
	Group(name string) (gid int, err error)
}

// MaxObserved bounds the files that observe reads.
const MaxObserved = 1 << 20

// Session is one evaluation. It is used by one goroutine.
type Session struct {
	in      Inputs
	profile fs.FS
	host    Host
	plan    *plan.Plan

	root    *base
	release *base

	params   parameters
	declared map[string]*declaration // by path
	below    map[string]string       // a folder, and the first path declared below it
	names    map[string]declaration  // of services, runs, commands, promises, published keys: "service nginx"
	observed map[string]plan.Pos
	values   map[string]remembered // by kind and name
	ports    map[int]bool          // that no new port may be
	programs map[string]string     // found, by name
	asked    map[plan.Input]bool
	sources  map[string]*source // templates, parsed
	users    map[string]User
	argvs    []argv // what anybody can see in the list of processes
	copies   []profileCopy
	refs     []reference  // paths in uses and reload_on
	afters   []afterNames // names in after
}

// New returns a session that has evaluated nothing yet. The profile's files
// are read from profile, whose names are relative to its folder.
func New(in Inputs, profile fs.FS, host Host) *Session {
	s := &Session{
		in:       in,
		profile:  profile,
		host:     host,
		plan:     &plan.Plan{Values: map[string]plan.Value{}, Published: map[string]any{}},
		declared: map[string]*declaration{},
		below:    map[string]string{},
		names:    map[string]declaration{},
		observed: map[string]plan.Pos{},
		values:   map[string]remembered{},
		programs: map[string]string{},
		asked:    map[plan.Input]bool{},
		sources:  map[string]*source{},
		users:    map[string]User{},
		params:   parameters{declared: map[string]int{}},
	}
	for _, text := range in.Secrets {
		s.addSecret(text)
	}
	s.root = &base{dir: in.Instance.Root, what: "the instance's root"}
	s.release = &base{dir: in.Release, what: "the release"}
	return s
}

// Predeclared returns the names that profiles can use.
func (s *Session) Predeclared() starlark.StringDict { return s.environment(Table) }

// Secrets returns the secrets that the evaluation has met so far.
func (s *Session) Secrets() []string { return s.plan.Secrets }

// Printed returns a plan with nothing but what the profile has printed so far,
// and the secrets that must be masked in it: all that is left of an evaluation
// that failed.
func (s *Session) Printed() *plan.Plan {
	return &plan.Plan{Prints: s.plan.Prints, Secrets: s.plan.Secrets}
}

// Stopped reports whether err ended an evaluation early without being a
// failure: a value does not exist yet, or nothing but the parameters was
// wanted. The plan so far is valid then.
func Stopped(err error) bool {
	_, ok := stop(err)
	return ok
}

// Finish completes the plan after an evaluation, which ended with err, nil or
// one for which [Stopped] holds.
func (s *Session) Finish(err error) (*plan.Plan, error) {
	if why, ok := stop(err); ok {
		s.plan.Pending = why.pending
		if why.pending == nil {
			return s.plan, nil // parameters only
		}
	} else if err != nil {
		return nil, err
	} else if err := s.closeParams(); err != nil {
		return nil, err
	}
	if s.in.ParamsOnly {
		return s.plan, nil
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	s.arrange()
	s.plan.Observed = plan.SortedKeys(s.observed)
	return s.plan, nil
}

// Print records a line that the profile printed.
func (s *Session) print(at plan.Pos, text string) {
	s.plan.Prints = append(s.plan.Prints, plan.Print{At: at, Text: text})
}

// position returns where the profile's own code called: the innermost frame
// that is not of the shipped library.
func position(thread *starlark.Thread) plan.Pos {
	var first plan.Pos
	for i := range thread.CallStackDepth() {
		frame := thread.DebugFrame(i)
		if _, ok := frame.Callable().(*starlark.Function); !ok {
			continue
		}
		pos := frame.Position()
		at := plan.Pos{File: pos.Filename(), Line: pos.Line, Col: pos.Col}
		if !isStd(at.File) {
			return at
		}
		if first.File == "" {
			first = at
		}
	}
	return first
}

// in the interpreter's form.
func where(at plan.Pos) interp.Position {
	return interp.Position{File: at.File, Line: at.Line, Col: at.Col}
}

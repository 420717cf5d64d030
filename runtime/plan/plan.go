// Package plan holds what a profile asks for, as plain data, and the pure
// comparison of it with a file system.
//
// A [Plan] is what one evaluation of a profile yields: resources in the order
// in which they were declared, services, runs, promises and published values.
// A [Resource] is one thing that must exist below the instance's root; its
// Diff yields the [Edit] values that would make it so. Nothing here can write:
// comparison sees the file system through a [View], which has no method that
// changes anything.
//
// Paths of resources are relative to the instance's root, slash separated and
// clean ("etc/my.cnf"); commands, environments and contents hold absolute
// paths. The package imports the standard library only.
package plan

import (
	"fmt"
	"sort"
)

// Pos is a place in a profile. Line and Col count from 1; a zero Line means
// that the place is not known.
type Pos struct {
	File string `json:"file"` // relative to the profile's folder, or "@std//x.star"
	Line int32  `json:"line"`
	Col  int32  `json:"col,omitempty"`
}

// String returns "instance.star:12", the form used in reports.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Plan is the outcome of one evaluation. The order of Resources is the order
// in which they are applied; there is no dependency graph.
type Plan struct {
	Resources []Resource
	Services  []Service
	Runs      []Run
	Timers    []Timer
	Promises  []Promise
	Requests  []Request
	Values    map[string]Value // remembered values that were asked for, old and new
	Published map[string]any   // JSON values; secrets in the clear
	Secrets   []string         // every text that must be masked wherever it is shown
	Pending   *Pending         // why evaluation stopped early; nil when complete
	Observed  []string         // paths given to observe, each once, sorted
	Prints    []Print          // what the profile printed
	Params    []Param          // every parameter the profile declares
	Inputs    []Input          // all that evaluation looked at outside the root
	// Digests, if not nil, are those of Resources, as they were evaluated.
	Digests []Digest
}

// Digest tells resources apart: those with the same one are the same, position and
// all.
type Digest [16]byte

// Param is one parameter that a profile takes.
type Param struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"` // "string", "int", "float", "bool", "list", "dict"
	Default  any      `json:"default"`
	Doc      string   `json:"doc"`
	Choices  []any    `json:"choices,omitempty"`
	Min      *float64 `json:"min,omitempty"`
	Max      *float64 `json:"max,omitempty"`
	Pattern  string   `json:"pattern,omitempty"`
	Required bool     `json:"required,omitempty"`
	Secret   bool     `json:"secret,omitempty"`
	At       Pos      `json:"at"`
}

// Input is something outside the root that evaluation looked at: with the same
// answers to all of them, the same profile yields the same plan.
type Input struct {
	Path string `json:"path"` // absolute
	// What was asked: "content" (of a file), "exists" (what stands there) or
	// "names" (in a folder).
	What string `json:"what"`
	// Answer is the hex SHA-256 of the content or of the sorted names joined by
	// NUL; for "exists" one of "file", "exec" (executable), "folder", "other". "" when
	// nothing stands there, or, for a content, when it was not read by the profile
	// itself: names of users are looked up by the system.
	Answer string `json:"answer"`
}

// Complete reports whether evaluation reached the end of the profile. Only a
// complete plan may remove anything.
func (p *Plan) Complete() bool { return p.Pending == nil }

// Pending says which value evaluation would have needed to go on.
type Pending struct {
	Why string `json:"why"` // "observe(\"var/token\"): no such file yet"
	At  Pos    `json:"at"`
}

// Print is one line that a profile printed.
type Print struct {
	At   Pos
	Text string
}

// Value is a value that is chosen once and the same ever after.
type Value struct {
	Kind   string `json:"kind"` // "password", "hex", "uuid", "port"
	Text   string `json:"text"`
	Secret bool   `json:"secret,omitempty"`
	New    bool   `json:"-"` // chosen by this evaluation, not yet saved
}

// ID names a resource within its instance: "path:etc/my.cnf" or
// "command:initialise".
type ID string

// PathID returns the ID of the resource that declares path.
func PathID(path string) ID { return ID("path:" + path) }

// CommandID returns the ID of the command called name.
func CommandID(name string) ID { return ID("command:" + name) }

// Resource is one thing that a profile declares.
type Resource interface {
	ID() ID
	Declared() Pos
	// Diff compares the resource with what stands in view. It changes
	// nothing, and returns no edits when all is as declared.
	Diff(view View) ([]Edit, error)
}

// SortedKeys returns the keys of m in order, for deterministic output.
func SortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	if len(keys) < manyKeys {
		sort.Strings(keys)
		return keys
	}
	return sortTogether(keys)
}

// manyKeys is from how many keys on a second processor pays.
const manyKeys = 4096

// sortTogether sorts on two processors.
func sortTogether(keys []string) []string {
	a, b := keys[:len(keys)/2], keys[len(keys)/2:]
	done := make(chan struct{})
	go func() {
		defer close(done)
		sort.Strings(a)
	}()
	sort.Strings(b)
	<-done
	sorted := make([]string, 0, len(keys))
	for len(a) > 0 && len(b) > 0 {
		if a[0] <= b[0] {
			sorted, a = append(sorted, a[0]), a[1:]
		} else {
			sorted, b = append(sorted, b[0]), b[1:]
		}
	}
	return append(append(sorted, a...), b...)
}

// Package generation keeps what the applies of an instance made, so that they
// can be compared and returned to.
//
// A [Generation] is one apply that changed something: the settings and values
// that it was evaluated with, the files of the profile that the evaluation
// read, the services, and every path that the instance owned, with its content
// by hash. A [Store] is the folder that holds one file for each. A file holds
// those contents that no earlier one has, and refers to the others: an apply
// that changes one file writes one content.
//
// The invariant: a generation is there whole or not at all. Its file is written
// beside its place, made durable and moved there before the state names it;
// whatever is read of it is checked against hashes first.
package generation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"instar/runtime/plan"
	"instar/runtime/state"
)

// FormatVersion is the version of the files that this program writes. Newer
// ones are refused.
const FormatVersion = 1

// Kept is how many generations are kept: the last ones. One that the instance
// was rolled back to stays as long as it follows that.
const Kept = 10

// MaxContent bounds the contents that are kept, in bytes. Of larger files only
// the hash is.
const MaxContent = 64 << 20

// Head is what a generation is, but for its paths.
type Head struct {
	FormatVersion int       `json:"format_version"`
	Number        int       `json:"number"`
	At            time.Time `json:"at"`
	// RollbackOf is the generation that this one brought back, or 0.
	RollbackOf int                      `json:"rollback_of,omitempty"`
	Settings   state.Settings           `json:"settings"`
	Values     map[string]plan.Value    `json:"values,omitempty"`
	Secrets    [][]byte                 `json:"secrets,omitempty"` // texts to mask
	Services   map[string]state.Service `json:"services,omitempty"`

	// Entry is the file of the profile that the evaluation began with. Sources
	// are all files of the profile's folder that it read, by path.
	Entry   string   `json:"entry"`
	Sources []Source `json:"sources,omitempty"`
	// Torn says why Sources are not those that were evaluated; then nothing can
	// return to the generation.
	Torn string `json:"torn,omitempty"`

	// Packs says how many bytes of content the generation has in which file, at most, by
	// the number of the generation that the file is of.
	Packs map[int]int64 `json:"packs,omitempty"`

	// Outcome is what [Store.Judge] was told; it is kept elsewhere.
	Outcome Outcome `json:"-"`
}

// Source is one file, folder or link of a profile.
type Source struct {
	Path string    `json:"path"` // relative to the profile's folder, slash separated
	Kind plan.Kind `json:"kind"`
	Mode plan.Mode `json:"mode"`
	Link string    `json:"link,omitempty"` // the text of a link
	Hash string    `json:"hash,omitempty"` // hex SHA-256 of a file's content
	Size int64     `json:"size,omitempty"`
	Pack int       `json:"pack,omitempty"` // generation whose file holds the content
}

// Path is one path that the instance owned.
type Path struct {
	Name     string // relative to the root
	Kind     plan.Kind
	Mode     plan.Mode
	UID, GID int
	Once     bool
	Implicit bool // a missing parent of something declared
	Made     bool // by a command: its content is not kept
	// Hash is the hex SHA-256 of a file's content or a link's text; "" of what was
	// made once, and of folders.
	Hash string
	Size int64 // of the content that is kept
	Pack int   // generation whose file holds the content; 0: it is not kept
}

// Generation is one generation with its paths.
type Generation struct {
	Head
	Paths []Path // by name
	store Store
	index map[string]place // of contents, by hash; nil until verified
}

// Outcome is whether the promises and runs of a generation ever held.
type Outcome struct {
	Judged  bool      `json:"judged"`
	Kept    bool      `json:"kept"`
	Message string    `json:"message,omitempty"` // which one did not, masked
	At      time.Time `json:"at,omitzero"`
}

// String is the outcome as people are shown it.
func (o Outcome) String() string {
	switch {
	case !o.Judged:
		return "not checked"
	case o.Kept:
		return "ok"
	}
	return o.Message
}

// Texts returns what must be masked in all that is shown of the generation.
func (h *Head) Texts() []string {
	texts := make([]string, len(h.Secrets))
	for i, s := range h.Secrets {
		texts[i] = string(s)
	}
	return texts
}

// Profile is a short digest of the sources: generations of the same profile
// have the same.
func (h *Head) Profile() string {
	if len(h.Sources) == 0 {
		return ""
	}
	var all strings.Builder
	fmt.Fprintf(&all, "%q", h.Entry)
	for _, s := range h.Sources {
		fmt.Fprintf(&all, "%q %s %o %q %s\n", s.Path, s.Kind, s.Mode, s.Link, s.Hash)
	}
	return hashOf([]byte(all.String()))[:12]
}

// Find returns what stood at a path, if the instance owned it.
func (g *Generation) Find(name string) (Path, bool) {
	i, ok := slices.BinarySearchFunc(g.Paths, name, func(p Path, name string) int { return strings.Compare(p.Name, name) })
	if !ok {
		return Path{}, false
	}
	return g.Paths[i], true
}

// Below returns what stood at a folder and below it, the folder first.
func (g *Generation) Below(name string) []Path {
	var paths []Path
	for _, p := range g.Paths {
		if p.Name == name || strings.HasPrefix(p.Name, name+"/") {
			paths = append(paths, p)
		}
	}
	return paths
}

// UnknownError says that a generation is not kept.
type UnknownError struct {
	Number int
	Known  []int
}

func (e *UnknownError) Error() string { return fmt.Sprintf("generation %d is not kept", e.Number) }

// Hint lists those that are.
func (e *UnknownError) Hint() string {
	if len(e.Known) == 0 {
		return "none is"
	}
	var texts []string
	for _, n := range e.Known {
		texts = append(texts, fmt.Sprint(n))
	}
	return "these are: " + strings.Join(texts, ", ")
}

// DamagedError says that the file of a generation is not as it was written.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("generation %s is damaged: %v", e.Path, e.Err)
}
func (e *DamagedError) Unwrap() error { return e.Err }

// Hint says what the operator can do.
func (e *DamagedError) Hint() string {
	return "restore the file from a backup, or choose another generation: nothing was changed"
}

// NewerError is a file written by a later version of instar.
type NewerError struct {
	Path string
	Got  int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("generation %s has format %d; this instar knows up to %d", e.Path, e.Got, FormatVersion)
}

// Hint says what the operator can do.
func (e *NewerError) Hint() string { return "use the version of instar that wrote it, or a later one" }

// MovedError says that an instance's root was another one in a generation.
type MovedError struct {
	Number   int
	Had, Has string
}

func (e *MovedError) Error() string {
	return fmt.Sprintf("generation %d had its root at %s, and the instance has it at %s", e.Number, e.Had, e.Has)
}

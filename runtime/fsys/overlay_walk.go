package fsys

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

const errInvalid = syscall.EINVAL

// What is done with a link at the end of a name.
type following int

const (
	followNever  following = iota // remove, rename, mkdir
	followSlash                   // lstat: only if a slash comes after it
	followAlways                  // stat, open
	followCreate                  // open with O_CREATE: always, but a slash at the end is EISDIR
	followFresh                   // with O_EXCL too: never, but likewise
)

// The limits of Linux.
const (
	maxLinks = 40
	maxName  = 255 // bytes
)

// A point is where a name leads: a folder, a name in it, and what is there.
type point struct {
	steps []step // from the top to the folder, both included
	name  string // in that folder; "" if a dot named the folder itself
	node  *node  // nil: nothing there
	slash bool   // the name ended in a slash or a dot
}

type step struct {
	node *node
	name string // in the step before
}

func (p *point) dot() bool     { return p.name == "" }
func (p *point) folder() *node { return p.steps[len(p.steps)-1].node }

// A walker resolves one name.
type walker struct {
	o      *Overlay
	op     string
	given  string
	follow following
	steps  []step
	links  int
}

// resolve finds where a name leads. Only the last part may be missing.
func (o *Overlay) resolve(op, name string, follow following) (*point, error) {
	w := &walker{o: o, op: op, given: name, follow: follow, steps: []step{{node: o.top}}}
	p, err := w.start(name)
	if err != nil {
		return nil, pathError(op, name, err)
	}
	return p, nil
}

// existing is resolve for what must be there, and be a folder after a slash.
func (o *Overlay) existing(op, name string, follow following) (*point, error) {
	p, err := o.resolve(op, name, follow)
	if err != nil {
		return nil, err
	}
	if p.node == nil {
		return nil, pathError(op, name, syscall.ENOENT)
	}
	if p.slash && !p.node.sig.isDir() {
		return nil, pathError(op, name, syscall.ENOTDIR)
	}
	return p, nil
}

func (w *walker) start(name string) (*point, error) {
	switch {
	case name == "":
		return nil, syscall.ENOENT
	case strings.IndexByte(name, 0) >= 0:
		return nil, syscall.EINVAL
	case len(name) >= maxPath:
		return nil, syscall.ENAMETOOLONG
	}
	if w.o.noFollow { // without links the spelling alone tells
		if _, err := parse(w.op, name); err != nil {
			return nil, err
		}
	}
	if !plain(name) {
		return w.walk(strings.Split(name, "/"))
	}
	folder, base := split(name)
	if folder == w.o.lastFolder {
		w.steps = slices.Clip(w.o.lastSteps)
		p, err := w.enter(w.steps[len(w.steps)-1].node, base, nil, true, false)
		return p, err
	}
	p, err := w.walk(strings.Split(name, "/"))
	if err == nil && p.name == base && w.links == 0 {
		w.o.lastFolder, w.o.lastSteps = folder, p.steps
	}
	return p, err
}

// walk goes on with parts, of which none but the last may be missing.
func (w *walker) walk(parts []string) (*point, error) {
	for i, part := range parts {
		rest := parts[i+1:]
		last, slash := onlySlashes(rest)
		if part == "" && (i > 0 || !last) {
			continue // a doubled slash, or one in front
		}
		here := w.steps[len(w.steps)-1].node
		if !here.sig.isDir() {
			return nil, syscall.ENOTDIR
		}
		switch part {
		case "", ".":
		case "..":
			if len(w.steps) == 1 {
				return nil, &RefusedError{Op: w.op, Path: w.given, Reason: "it leaves the root"}
			}
			w.steps = w.steps[:len(w.steps)-1]
		default:
			p, err := w.enter(here, part, rest, last, slash)
			if p != nil || err != nil {
				return p, err
			}
		}
	}
	return &point{steps: w.steps, node: w.steps[len(w.steps)-1].node, slash: true}, nil
}

// enter looks at one part. It returns the point if that is the end of the way.
func (w *walker) enter(here *node, part string, rest []string, last, slash bool) (*point, error) {
	if last && slash && w.follow >= followCreate {
		return nil, syscall.EISDIR // before anything is looked at
	}
	child, err := w.o.lookup(here, part)
	if errors.Is(err, fs.ErrNotExist) && last {
		return &point{steps: w.steps, name: part, slash: slash}, nil
	}
	if err != nil {
		return nil, err
	}
	if child.sig.isLink() && (!last || w.follows(slash)) {
		return w.through(child, part, rest)
	}
	if last {
		return &point{steps: w.steps, name: part, node: child, slash: slash}, nil
	}
	w.steps = append(w.steps, step{child, part})
	return nil, nil
}

// follows says what to do with a link at the end.
func (w *walker) follows(slash bool) bool {
	switch w.follow {
	case followAlways, followCreate:
		return true
	case followSlash:
		return slash
	}
	return false
}

// through follows a link, or refuses to.
func (w *walker) through(link *node, name string, rest []string) (*point, error) {
	if w.o.noFollow {
		at := append([]string{}, w.path()...)
		return nil, &RefusedError{Op: w.op, Path: w.given, Link: path.Join(append(at, name)...)}
	}
	if w.links++; w.links > maxLinks {
		return nil, syscall.ELOOP
	}
	if strings.HasPrefix(link.target, "/") {
		w.steps = w.steps[:1]
	}
	return w.walk(append(strings.Split(link.target, "/"), rest...))
}

// path names where the walker is.
func (w *walker) path() []string {
	var names []string
	for _, s := range w.steps[1:] {
		names = append(names, s.name)
	}
	return names
}

// onlySlashes reports whether nothing but slashes is left, and whether one is.
func onlySlashes(rest []string) (last, slash bool) {
	for _, part := range rest {
		if part != "" {
			return false, false
		}
	}
	return true, len(rest) > 0
}

// lookup returns an entry of a folder, or ENOENT.
func (o *Overlay) lookup(folder *node, name string) (*node, error) {
	if len(name) > maxName {
		return nil, syscall.ENAMETOOLONG
	}
	if child, ok := folder.children[name]; ok {
		if child == nil {
			return nil, syscall.ENOENT
		}
		return child, nil
	}
	if folder.base == "" {
		return nil, syscall.ENOENT
	}
	at := path.Join(folder.base, name)
	fi, err := Lstat(o.base, at)
	if err != nil {
		return nil, absent(err)
	}
	child, err := o.adopt(at, fi)
	if err != nil {
		return nil, absent(err)
	}
	return child, nil
}

// absent makes ENOENT of what says that the base has no such thing (any more).
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return syscall.ENOENT
	}
	return cause(err)
}

// pin puts into the tree what a point went through, so that a change to it stays.
func (o *Overlay) pin(p *point) {
	if o.lastFolder != "" && &o.lastSteps[0] != &p.steps[0] {
		o.lastFolder, o.lastSteps = "", nil // that way may lead through other nodes
	}
	for i := 1; i < len(p.steps); i++ {
		p.steps[i-1].node.set(p.steps[i].name, p.steps[i].node)
	}
	if p.name != "" && p.node != nil {
		p.folder().set(p.name, p.node)
	}
}

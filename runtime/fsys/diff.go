package fsys

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

// A ChangeKind says how an object of an Overlay differs from the base.
type ChangeKind string

const (
	Created  ChangeKind = "created"  // not in the base
	Modified ChangeKind = "modified" // other content, other target, or another kind of object
	Removed  ChangeKind = "removed"  // in the base only
	Meta     ChangeKind = "meta"     // the same content with another mode or owner
)

// A Change is one object that differs. Two objects are the same if kind, content
// or target, mode and owner are; times don't count.
type Change struct {
	Path   string
	Kind   ChangeKind
	Before fs.FileInfo // in the base; nil if created
	After  fs.FileInfo // in the Overlay; nil if removed
}

// Diff returns what differs from the base, sorted by path. What was changed and
// changed back does not appear; a folder that is created or removed comes with
// everything below it, and so does one that was moved.
func (o *Overlay) Diff() ([]Change, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := differ{o: o}
	if err := d.folder(".", o.base != nil, o.top); err != nil {
		return nil, err
	}
	slices.SortFunc(d.changes, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return d.changes, nil
}

type differ struct {
	o       *Overlay
	changes []Change
}

func (d *differ) add(kind ChangeKind, at string, before fs.FileInfo, after *node) {
	c := Change{Path: at, Kind: kind, Before: before}
	if after != nil {
		c.After = after.snapshot(path.Base(at))
	}
	d.changes = append(d.changes, c)
}

// folder compares the entries of a folder with those of the base's folder of the
// same path, if it has one.
func (d *differ) folder(at string, based bool, n *node) error {
	names, err := d.names(at, based, n)
	if err != nil {
		return err
	}
	for _, name := range names {
		child, err := d.o.lookup(n, name)
		if err != nil && err != syscall.ENOENT {
			return err
		}
		var before fs.FileInfo
		below := path.Join(at, name)
		if based {
			if before, err = d.before(below); err != nil {
				return err
			}
		}
		if err := d.object(below, before, child); err != nil {
			return err
		}
	}
	return nil
}

// names are those that may differ.
func (d *differ) names(at string, based bool, n *node) ([]string, error) {
	set := map[string]bool{}
	for name := range n.children {
		set[name] = true
	}
	if !based || n.base != at {
		ours, err := d.o.list(n)
		if err != nil {
			return nil, err
		}
		var theirs []string
		if based {
			if theirs, err = d.o.listBase(&node{base: at}); err != nil {
				return nil, err
			}
		}
		for _, name := range append(ours, theirs...) {
			set[name] = true
		}
	}
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	return names, nil
}

// before describes what the base has at a path; nil if nothing.
func (d *differ) before(at string) (fs.FileInfo, error) {
	fi, err := Lstat(d.o.base, at)
	if err != nil {
		if absent(err) == syscall.ENOENT {
			return nil, nil
		}
		return nil, err
	}
	return fi, nil
}

// object compares one object with the base's of the same path.
func (d *differ) object(at string, before fs.FileInfo, after *node) error {
	switch {
	case before == nil && after == nil:
		return nil
	case before == nil:
		d.add(Created, at, nil, after)
	case after == nil:
		d.add(Removed, at, before, nil)
	default:
		if err := d.pair(at, before, after); err != nil {
			return err
		}
	}
	if before != nil && before.IsDir() && (after == nil || !after.sig.isDir()) {
		return d.gone(at)
	}
	if after != nil && after.sig.isDir() {
		return d.folder(at, before != nil && before.IsDir(), after)
	}
	return nil
}

// gone notes everything that the base has below a folder.
func (d *differ) gone(at string) error {
	names, err := d.o.listBase(&node{base: at})
	if err != nil {
		return err
	}
	for _, name := range names {
		below := path.Join(at, name)
		before, err := d.before(below)
		if err == nil {
			err = d.object(below, before, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pair compares two objects of one path, but not what is below them.
func (d *differ) pair(at string, before fs.FileInfo, after *node) error {
	was := d.o.signature(before)
	same := was.Mode&kindMask == after.sig.Mode&kindMask
	if same && after.base != at {
		var err error
		if same, err = d.sameContent(at, was, after); err != nil {
			return err
		}
	} else if same && was.isFile() && after.loaded {
		var err error
		if same, err = d.sameContent(at, was, after); err != nil {
			return err
		}
	}
	switch {
	case !same:
		d.add(Modified, at, before, after)
	case was.Mode != after.sig.Mode || was.UID != after.sig.UID || was.GID != after.sig.GID:
		d.add(Meta, at, before, after)
	}
	return nil
}

// sameContent compares the content of files and the targets of links.
func (d *differ) sameContent(at string, was Sig, after *node) (bool, error) {
	switch {
	case was.isLink():
		target, err := Readlink(d.o.base, at)
		return target == after.target, err
	case !was.isFile():
		return was.isDir() || after.base == at, nil
	case was.Size != after.snapshot("").sig.Size:
		return false, nil
	}
	theirs, err := ReadRegular(d.o.base, at, maxFile)
	if err != nil {
		return false, err
	}
	ours := after.data
	if !after.loaded {
		if ours, err = d.o.content(after); err != nil {
			return false, err
		}
	}
	return bytes.Equal(theirs, ours), nil
}

// content reads a file whose content is in the base.
func (o *Overlay) content(n *node) ([]byte, error) {
	if n.lower == nil {
		return ReadRegular(o.base, n.base, maxFile)
	}
	data, err := io.ReadAll(io.NewSectionReader(n.lower, 0, maxFile))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return data, err
}

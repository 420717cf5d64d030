package plan

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// ConflictError says that something stands at a declared path which instar
// will not replace.
type ConflictError struct {
	Path  string
	Want  Kind
	Got   string // "a folder that is not empty", "a FIFO"
	Where Pos
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s: cannot make %q a %s: %s stands there", e.Where, e.Path, e.Want, e.Got)
}

// At returns the declaration's place.
func (e *ConflictError) At() string { return e.Where.String() }

// PathError is a failure to look at what stands at a declared path.
type PathError struct {
	Path  string
	Where Pos
	Err   error
}

func (e *PathError) Error() string { return fmt.Sprintf("%s: %q: %v", e.Where, e.Path, e.Err) }
func (e *PathError) Unwrap() error { return e.Err }

// At returns the declaration's place.
func (e *PathError) At() string { return e.Where.String() }

// Lookup is Lstat with a missing path as a value: ok is false then.
func Lookup(view View, name string) (info Info, ok bool, err error) {
	info, err = view.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Info{}, false, nil
	}
	return info, err == nil, err
}

func (m Meta) lookup(view View) (Info, bool, error) {
	info, ok, err := Lookup(view, m.Path)
	if err != nil {
		return Info{}, false, &PathError{m.Path, m.At, err}
	}
	return info, ok, nil
}

func (m Meta) conflict(want Kind, got string) error {
	return &ConflictError{Path: m.Path, Want: want, Got: got, Where: m.At}
}

// edit returns an edit at the resource's own path.
func (m Meta) edit(op Op, why string) Edit {
	return Edit{Op: op, Path: m.Path, Mode: m.Mode, UID: m.UID, GID: m.GID, Why: why, At: m.At}
}

// meta returns the edits that bring mode and owner in line. A change of owner
// comes first, since it clears the setuid bits.
func (m Meta) meta(info Info) []Edit {
	var edits []Edit
	uid := m.UID >= 0 && info.UID >= 0 && m.UID != info.UID
	gid := m.GID >= 0 && info.GID >= 0 && m.GID != info.GID
	if uid || gid {
		edits = append(edits, m.edit(OpChown, fmt.Sprintf("owner is %d:%d", info.UID, info.GID)))
	}
	if UnixModes && (info.Mode != m.Mode || len(edits) > 0 && m.Mode&0o6000 != 0) {
		edits = append(edits, m.edit(OpChmod, fmt.Sprintf("mode is %04o", info.Mode)))
	}
	return edits
}

// Diff implements [Resource].
func (d *Dir) Diff(view View) ([]Edit, error) {
	info, ok, err := d.lookup(view)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return []Edit{d.edit(OpMkdir, "does not exist")}, nil
	case info.Kind != KindDir:
		return nil, d.conflict(KindDir, describe(info))
	case d.Once || d.Implicit:
		return nil, nil
	}
	return d.meta(info), nil
}

// Diff implements [Resource].
func (f *File) Diff(view View) ([]Edit, error) {
	return f.diff(view, KindFile, func(info Info) (bool, error) {
		if info.Size != int64(len(f.Content)) {
			return false, nil
		}
		if k, ok := view.(Knower); ok {
			if same, known := k.Holds(f.Path, f.Content); known {
				return same, nil
			}
		}
		got, err := view.ReadFile(f.Path)
		return bytes.Equal(got, f.Content), err
	}, func(why string) Edit {
		e := f.edit(OpWrite, why)
		e.Data = f.Content
		return e
	})
}

// Diff implements [Resource].
func (l *Link) Diff(view View) ([]Edit, error) {
	return l.diff(view, KindLink, func(Info) (bool, error) {
		got, err := view.Readlink(l.Path)
		return got == l.To, err
	}, func(why string) Edit {
		e := l.edit(OpLink, why)
		e.To = l.To
		return e
	})
}

// diff is the comparison that files and links share: same says whether the
// content of what stands there is the one wanted, and write makes the edit
// that puts it there.
func (m Meta) diff(view View, want Kind, same func(Info) (bool, error), write func(why string) Edit) ([]Edit, error) {
	info, ok, err := m.lookup(view)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return []Edit{write("does not exist")}, nil
	case m.Once && (info.Kind == KindFile || info.Kind == KindLink):
		return nil, nil
	case info.Kind == KindSpecial:
		return nil, m.conflict(want, describe(info))
	case info.Kind == KindDir:
		return m.replaceDir(view, want, write)
	case info.Kind != want:
		e := write("is a " + string(info.Kind))
		e.Foreign = true
		return []Edit{e}, nil
	}
	equal, err := same(info)
	if err != nil {
		return nil, &PathError{m.Path, m.At, err}
	}
	if !equal {
		why := "content differs"
		if want == KindLink {
			why = "target differs"
		}
		return []Edit{write(why)}, nil
	}
	if want == KindLink {
		info.Mode = m.Mode
	}
	return m.meta(info), nil
}

// replaceDir puts a file or link where an empty folder stands; any other
// folder is a conflict.
func (m Meta) replaceDir(view View, want Kind, write func(why string) Edit) ([]Edit, error) {
	names, err := view.ReadDir(m.Path)
	if err != nil {
		return nil, &PathError{m.Path, m.At, err}
	}
	if len(names) > 0 {
		return nil, m.conflict(want, "a folder that is not empty")
	}
	rm := m.edit(OpRemove, "is an empty folder")
	rm.Dir = true
	return []Edit{rm, write("is an empty folder")}, nil
}

// describe names what stands at a path: "a FIFO", "a folder".
func describe(info Info) string {
	if info.Kind == KindSpecial {
		return "a " + info.Special
	}
	return "a " + string(info.Kind)
}

// Diff implements [Resource]. A command is decided on by its record, not by
// what stands in view.
func (c *Command) Diff(View) ([]Edit, error) { return nil, nil }

// Diff implements [Resource].
func (c *Copy) Diff(view View) ([]Edit, error) {
	parts, err := c.Expand(view)
	if err != nil {
		return nil, err
	}
	var edits []Edit
	for _, part := range parts {
		es, err := part.Diff(view)
		if err != nil {
			return nil, err
		}
		edits = append(edits, es...)
	}
	return edits, nil
}

// Expand returns the folders, files and links that the copy consists of, the
// outermost first. It reads the source through view.
func (c *Copy) Expand(view View) ([]PathResource, error) {
	info, err := view.Stat(c.From)
	if err != nil {
		return nil, &PathError{c.From, c.At, err}
	}
	var parts []PathResource
	err = c.expand(view, c.Path, c.From, info, &parts)
	return parts, err
}

func (c *Copy) expand(view View, to, from string, info Info, parts *[]PathResource) error {
	m := c.Meta
	m.Path = to
	if c.Mode&KeepMode != 0 {
		m.Mode = info.Mode
	}
	switch info.Kind {
	case KindFile:
		if c.Mode&KeepMode == 0 {
			m.Mode = c.Mode
		}
		*parts = append(*parts, &copied{File: File{Meta: m, Source: c.Source}, from: from})
		return nil
	case KindLink:
		target, err := view.Readlink(from)
		if err != nil {
			return &PathError{from, c.At, err}
		}
		*parts = append(*parts, &Link{Meta: m, To: target})
		return nil
	case KindDir:
		if c.Mode&KeepMode == 0 { // a mode is for the files: folders get the x bits that go with it
			m.Mode = c.Mode | c.Mode&0o444>>2
		}
		*parts = append(*parts, &Dir{Meta: m})
		names, err := view.ReadDir(from)
		if err != nil {
			return &PathError{from, c.At, err}
		}
		for _, name := range names {
			child := path.Join(from, name)
			info, err := view.Lstat(child)
			if err != nil {
				return &PathError{child, c.At, err}
			}
			if err := c.expand(view, path.Join(to, name), child, info, parts); err != nil {
				return err
			}
		}
		return nil
	}
	return &PathError{from, c.At, fmt.Errorf("cannot copy %s", describe(info))}
}

// copied is one file of a [Copy]: a file whose content is that of another.
type copied struct {
	File
	from string
}

// Diff implements [Resource].
func (c *copied) Diff(view View) ([]Edit, error) {
	return c.diff(view, KindFile, func(info Info) (bool, error) {
		src, err := view.Stat(c.from)
		if err != nil || src.Size != info.Size {
			return false, err
		}
		want, err := view.ReadFile(c.from)
		if err != nil {
			return false, err
		}
		got, err := view.ReadFile(c.Path)
		return bytes.Equal(got, want), err
	}, func(why string) Edit {
		e := c.edit(OpCopy, why)
		e.From = c.from
		return e
	})
}

// Bytes returns the content of a file resource: its own, or that of the file
// it copies, read through view.
func Bytes(r PathResource, view View) ([]byte, error) {
	switch r := r.(type) {
	case *File:
		return r.Content, nil
	case *copied:
		return view.ReadFile(r.from)
	}
	return nil, fmt.Errorf("%q is not a file", r.Target().Path)
}

// SourceOf says what a file's content came from: "template my.cnf.tmpl"; "" when
// it stands in the profile itself.
func SourceOf(r PathResource) string {
	switch r := r.(type) {
	case *File:
		return r.Source
	case *copied:
		return r.Source
	}
	return ""
}

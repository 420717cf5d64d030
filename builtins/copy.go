package builtins

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
	"instar/runtime/secret"
)

// copy(path, source, mode=None)
//
// A file or folder with the content of another: text names one of the
// profile, a path handle one of the release or the instance.
func copyPath(c *call) (starlark.Value, error) {
	var path, source starlark.Value
	mode := plan.KeepMode
	if err := c.unpack(&path, &source, &mode); err != nil {
		return nil, err
	}
	m, err := c.meta(path, mode, nil, nil)
	if err != nil {
		return nil, err
	}
	switch source := source.(type) {
	case *Path:
		return c.copyHandle(m, source)
	case starlark.String:
		return c.copyProfile(m, string(source))
	}
	return nil, prefixed("source", want("a path handle, or the name of a file of the profile", source))
}

func (c *call) copyHandle(m plan.Meta, from *Path) (starlark.Value, error) {
	label := "copy of " + from.rel
	if from.base == c.release {
		label = "copy of release " + from.rel
		if what, err := c.stat(from.abs); err != nil {
			return nil, prefixed("source", err)
		} else if what == "" {
			return nil, prefixed("source", c.missingProgram(from.abs))
		} else if what == "other" {
			return nil, fmt.Errorf("source: %q is neither a file nor a folder", from.abs)
		}
	} else if from.rel == "" || m.Path == from.rel || within(m.Path, from.rel) || within(from.rel, m.Path) {
		return nil, fmt.Errorf("source: %q and %q are within one another", from.abs, m.Path)
	}
	return c.declare(aCopy, &plan.Copy{Meta: m, From: from.abs, Source: label, Inside: from.base == c.root})
}

// within reports whether a path is below a folder.
func within(rel, dir string) bool {
	return len(rel) > len(dir) && rel[:len(dir)] == dir && rel[len(dir)] == '/'
}

func (c *call) copyProfile(m plan.Meta, ref string) (starlark.Value, error) {
	name, err := c.resolve(ref)
	if err != nil {
		return nil, prefixed("source", err)
	}
	if isStd(name) {
		return c.copyLibrary(m, ref)
	}
	info, err := fs.Stat(c.profile, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, prefixed("source", c.noSuchFile(ref, name))
	case err != nil:
		return nil, prefixed("source", err)
	case name == ".":
		return nil, errors.New("source: the profile's folder itself cannot be copied")
	case standing(info) == "other":
		return nil, fmt.Errorf("source: %q is neither a file nor a folder", ref)
	}
	abs := c.profilePath(name)
	c.input(plan.Input{Path: abs, What: "exists", Answer: standing(info)})
	c.copies = append(c.copies, profileCopy{name, m})
	return c.declare(aCopy, &plan.Copy{Meta: m, From: abs, Source: "copy of " + name})
}

// copyLibrary declares a file of the shipped library, which has no place on
// the disk.
func (c *call) copyLibrary(m plan.Meta, ref string) (starlark.Value, error) {
	name, text, err := c.readSource(ref)
	if err != nil {
		return nil, prefixed("source", err)
	}
	if m.Mode == plan.KeepMode {
		m.Mode = 0o640
	}
	return c.declare(aFile, &plan.File{Meta: m, Content: text, Source: "copy of " + name})
}

// profileCopy is a file or folder of the profile that is copied.
type profileCopy struct {
	name string
	meta plan.Meta
}

// checkCopy refuses a copy that everybody could read of what contains a secret.
func (s *Session) checkCopy(p profileCopy, masker *secret.Masker) error {
	return fs.WalkDir(s.profile, p.name, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil // what cannot be read, the copying tells
		}
		mode := p.meta.Mode
		if info, err := entry.Info(); err == nil && mode&plan.KeepMode != 0 {
			mode = plan.Mode(info.Mode().Perm())
		}
		if mode&0o004 == 0 {
			return nil
		}
		content, err := s.readProfile(name)
		if err != nil || !masker.Contains(content) {
			return nil
		}
		return failure(p.meta.At, "mode = 0o640", "%q contains a secret, and the mode of its copy, %04o, lets everybody read it", name, mode)
	})
}

// readProfile reads a file of the profile as far as one with a secret may be long.
func (s *Session) readProfile(name string) ([]byte, error) {
	file, err := s.profile.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, 1<<20))
}

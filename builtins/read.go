package builtins

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
	"instar/starlark/interp"
	"instar/starlark/stdlib"
)

// maxRead bounds the files of a profile that builtins read.
const maxRead = 64 << 20

// read(path)
//
// The text of a file of the profile: beside the calling file, or below the
// profile's folder ("//x"), or of the shipped library ("@std//x").
func read(c *call) (starlark.Value, error) {
	var ref string
	if err := c.unpack(&ref); err != nil {
		return nil, err
	}
	_, text, err := c.readSource(ref)
	if err != nil {
		return nil, err
	}
	return starlark.String(text), nil
}

const stdPrefix = "@std//"

func isStd(file string) bool { return strings.HasPrefix(file, stdPrefix) }

// resolve returns the canonical name of the file that ref means in the
// calling file.
func (c *call) resolve(ref string) (string, error) {
	name, err := interp.Resolve(interp.CallerFile(c.thread), ref)
	if err != nil {
		return "", fmt.Errorf("%q: %w", shorten(ref), err)
	}
	return name, nil
}

// readSource reads the file that ref means in the calling file.
func (c *call) readSource(ref string) (name string, text []byte, err error) {
	if name, err = c.resolve(ref); err != nil {
		return "", nil, err
	}
	text, err = c.ReadFile(name, maxRead)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, c.noSuchFile(ref, name)
	}
	if err != nil {
		return "", nil, fmt.Errorf("cannot read %q: %w", ref, err)
	}
	return name, text, nil
}

// ReadFile returns a file of the profile or the shipped library by its
// canonical name, see [interp.Resolve]. One larger than max is an error that
// is [interp.ErrTooLarge].
func (s *Session) ReadFile(name string, max int64) ([]byte, error) {
	if rest, ok := strings.CutPrefix(name, stdPrefix); ok {
		return fs.ReadFile(stdlib.Files, rest)
	}
	text, err := readRegular(s.profile, name, max)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		s.input(plan.Input{Path: s.profilePath(name), What: "content", Answer: answer(text, err)})
	}
	return text, err
}

// readRegular reads a file, and nothing that is none.
func readRegular(from fs.FS, name string, max int64) ([]byte, error) {
	info, err := fs.Stat(from, name)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("it is a folder")
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > max:
		return nil, interp.ErrTooLarge
	}
	return fs.ReadFile(from, name)
}

func (s *Session) profilePath(name string) string {
	return (&base{dir: s.in.Profile}).handle(name).abs
}

// noSuchFile is the error of a file that the profile does not have.
func (c *call) noSuchFile(ref, name string) error {
	hint := ""
	if best, ok := interp.Nearest(name, c.Files()); ok {
		if path.Dir(best) == path.Dir(interp.CallerFile(c.thread)) {
			best = path.Base(best)
		} else if !isStd(best) {
			best = "//" + best
		}
		hint = fmt.Sprintf("did you mean %q?", best)
	}
	return hinted(hint, "no file %q in the profile", shorten(ref))
}

// maxListed bounds the files among which a near miss is sought.
const maxListed = 2000

// Files lists the canonical names of the profile's files and the shipped
// library's, for suggestions.
func (s *Session) Files() []string {
	var names []string
	walk := func(from fs.FS, prefix string) {
		_ = fs.WalkDir(from, ".", func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return fs.SkipDir
			case len(names) >= maxListed:
				return fs.SkipAll
			case !entry.IsDir():
				names = append(names, prefix+name)
			}
			return nil
		})
	}
	walk(stdlib.Files, stdPrefix)
	walk(s.profile, "")
	return names
}

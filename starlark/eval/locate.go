package eval

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Entry is the file that a profile which is a folder begins with.
const Entry = "instance.star"

// locateError is an error with advice.
type locateError struct{ msg, hint string }

func (e *locateError) Error() string { return e.msg }

// Hint says what to do about it.
func (e *locateError) Hint() string { return e.hint }

// Locate returns the folder of the profile that path names, its entry file,
// and the name that its instance has by default. A profile is a folder with
// an instance.star, or one file whose name ends in .star. Links are followed,
// so that dir has none; the name is the one that path has.
func Locate(path string) (dir, entry, name string, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", "", "", err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return "", "", "", fmt.Errorf("cannot find the profile: %w", err)
	}
	folder := abs
	switch {
	case info.IsDir():
		entry, name = Entry, filepath.Base(abs)
	case !info.Mode().IsRegular():
		return "", "", "", &locateError{fmt.Sprintf("%s is neither a folder nor a file", path), ""}
	case filepath.Ext(abs) != ".star":
		return "", "", "", &locateError{fmt.Sprintf("%s is no profile: its name does not end in .star", path), ""}
	default:
		folder, entry = filepath.Dir(abs), filepath.Base(abs)
		name = strings.TrimSuffix(entry, ".star")
		if entry == Entry {
			name = filepath.Base(folder)
		}
	}
	if dir, err = filepath.EvalSymlinks(folder); err != nil {
		return "", "", "", fmt.Errorf("cannot find the profile: %w", err)
	}
	if info.IsDir() {
		if err := hasEntry(path, dir); err != nil {
			return "", "", "", err
		}
	}
	return dir, entry, name, nil
}

// hasEntry returns an error that lists what is in a folder without a profile.
func hasEntry(path, dir string) error {
	info, err := os.Stat(filepath.Join(dir, Entry))
	switch {
	case err == nil && info.Mode().IsRegular():
		return nil
	case err == nil:
		return &locateError{fmt.Sprintf("%s in %s is not a file", Entry, path), ""}
	case !os.IsNotExist(err):
		return fmt.Errorf("cannot read the profile: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("cannot read the profile: %w", err)
	}
	var names []string
	var programs []string
	for _, entry := range entries {
		shown := entry.Name()
		if entry.IsDir() {
			shown += "/"
		}
		names = append(names, shown)
		if !entry.IsDir() && filepath.Ext(shown) == ".star" {
			programs = append(programs, shown)
		}
	}
	e := &locateError{msg: fmt.Sprintf("%s is a folder without %s", path, Entry)}
	switch {
	case len(programs) > 0:
		e.hint = "a profile of one file is named itself: " + filepath.Join(path, programs[0])
	case len(names) == 0:
		e.hint = "it is empty"
	default:
		if len(names) > 10 {
			names = append(names[:10], "…")
		}
		e.hint = "it holds " + strings.Join(names, ", ")
	}
	return e
}

package builtins

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// input records what was asked outside the root, once.
func (s *Session) input(in plan.Input) {
	if !s.asked[in] {
		s.asked[in] = true
		s.plan.Inputs = append(s.plan.Inputs, in)
	}
}

// answer is what an Input keeps of a content, or "" when there is none.
func answer(content []byte, err error) string {
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// stat looks at a path outside the root, and says what stands there: "file",
// "exec", "folder", "other" or "" for nothing.
func (s *Session) stat(abs string) (string, error) {
	info, err := s.host.Stat(abs)
	what := ""
	switch {
	case err == nil:
		what = standing(info)
	case !isMissing(err):
		return "", err
	}
	s.input(plan.Input{Path: abs, What: "exists", Answer: what})
	return what, nil
}

func standing(info fs.FileInfo) string {
	switch {
	case info.IsDir():
		return "folder"
	case !info.Mode().IsRegular():
		return "other"
	case executable(info):
		return "exec"
	}
	return "file"
}

// isMissing reports whether nothing stands at a path. A file where a folder
// should be on the way means that, too.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || notFolder(err)
}

// list returns the names in a folder outside the root; a missing one is empty.
func (s *Session) list(abs string) []string {
	names, err := s.host.ReadDir(abs)
	a := ""
	if err == nil {
		a = answer([]byte(strings.Join(names, "\x00")), nil)
	}
	s.input(plan.Input{Path: abs, What: "names", Answer: a})
	return names
}

// releaseFolders are where a release keeps its programs; those of
// lib/*/bin come last.
var releaseFolders = []string{"bin", "sbin", "libexec"}

// findInRelease returns the program called name below the release, relative
// to it, and where it looked.
func (s *Session) findInRelease(name string) (rel string, looked []string, err error) {
	try := func(dir string) bool {
		looked = append(looked, s.release.handle(dir).abs)
		what, statErr := s.stat(s.release.handle(dir + "/" + name).abs)
		if statErr != nil {
			err = statErr
		}
		if what == "exec" {
			rel = dir + "/" + name
		}
		return rel != ""
	}
	for _, dir := range releaseFolders {
		if try(dir) {
			return rel, looked, nil
		}
	}
	for _, lib := range s.list(s.release.handle("lib").abs) {
		dir := "lib/" + lib + "/bin"
		if what, _ := s.stat(s.release.handle(dir).abs); what != "folder" {
			continue
		}
		if try(dir) {
			return rel, looked, nil
		}
	}
	looked = append(looked, s.release.handle("lib/*/bin").abs)
	return "", looked, err
}

// release.find(name)
//
// The path handle of a program of the release, sought in bin, sbin, libexec
// and lib/*/bin.
func releaseFind(c *call) (starlark.Value, error) {
	var name string
	if err := c.unpack(&name); err != nil {
		return nil, err
	}
	if err := programName(name); err != nil {
		return nil, err
	}
	rel, looked, err := c.findInRelease(name)
	if err != nil {
		return nil, err
	}
	if rel == "" {
		return nil, c.noProgram(name, looked)
	}
	return c.release.handle(rel), nil
}

// programName checks a name that is sought in folders.
func programName(name string) error {
	if name == "" || strings.ContainsAny(name, "/\x00"+string(filepath.Separator)) || name == "." || name == ".." {
		return fmt.Errorf("name: %q is not the name of a program", shorten(name))
	}
	return nil
}

// noProgram is the error of a program that was not found.
func (s *Session) noProgram(name string, looked []string) error {
	var names []string
	for _, dir := range looked {
		if there, err := s.host.ReadDir(dir); err == nil {
			names = append(names, there...)
		}
	}
	hint := "looked in " + strings.Join(looked, ", ")
	if near := didYouMean(name, names); near != "" {
		hint = near + "\n" + hint
	}
	return hinted(hint, "no program %q in the release, %s", shorten(name), s.in.Release)
}

// program returns the absolute path of a command's program: name without a
// slash is sought in the release, then in the system's folders.
func (s *Session) program(name string) (string, error) {
	if abs, ok := s.programs[name]; ok {
		return abs, nil
	}
	if err := programName(name); err != nil {
		return "", err
	}
	rel, looked, err := s.findInRelease(name)
	if err != nil {
		return "", err
	}
	abs := s.release.handle(rel).abs
	if rel == "" {
		if abs, err = s.findInSystem(name, &looked); err != nil {
			return "", err
		}
	}
	if abs == "" {
		err := s.noProgram(name, looked).(*problem)
		err.msg = fmt.Sprintf("no program %q, neither in the release, %s, nor in the system", shorten(name), s.in.Release)
		return "", err
	}
	s.programs[name] = abs
	return abs, nil
}

func (s *Session) findInSystem(name string, looked *[]string) (string, error) {
	for _, dir := range filepath.SplitList(plan.DefaultPath) {
		*looked = append(*looked, dir)
		for _, suffix := range plan.ProgramSuffixes {
			path := filepath.Join(dir, name+suffix)
			what, err := s.stat(path)
			if err != nil {
				return "", err
			}
			if what == "exec" {
				return path, nil
			}
		}
	}
	return "", nil
}

package interp

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

const stdPrefix = "@std//"

// Resolve returns the canonical name of the file that ref means in the file
// from, itself a canonical name:
//
//	lib.star         beside from
//	//lib/x.star     below the profile's folder; in the shipped library, below that
//	@std//x.star     in the shipped library
//
// A reference that leaves its folder, or is absolute, is an error. Symlinks
// are not looked at: whoever opens the file must.
func Resolve(from, ref string) (string, error) {
	if ref == "" {
		return "", errors.New("empty file name")
	}
	if strings.ContainsAny(ref, "\x00\\") {
		return "", errors.New("a file name cannot hold a backslash or a zero byte")
	}
	root, dir := "", path.Dir(from)
	if rest, ok := strings.CutPrefix(from, stdPrefix); ok {
		root, dir = stdPrefix, path.Dir(rest)
	}
	name := path.Join(dir, ref)
	switch {
	case strings.HasPrefix(ref, stdPrefix):
		root, name = stdPrefix, ref[len(stdPrefix):]
	case strings.HasPrefix(ref, "@"):
		library, _, _ := strings.Cut(ref, "//")
		return "", fmt.Errorf("unknown library %q (the only one is %q)", library, "@std")
	case strings.HasPrefix(ref, "//"):
		name = ref[2:]
	case strings.HasPrefix(ref, "/"):
		return "", errors.New("a file name is relative to the calling file, or begins with // for the profile's folder")
	}
	name = path.Clean(name)
	if path.IsAbs(name) || !filepath.IsLocal(filepath.FromSlash(name)) {
		if root != "" {
			return "", errors.New("it is outside the library")
		}
		return "", errors.New("it is outside the profile's folder")
	}
	return root + name, nil
}

// reference returns how the file from would refer to the file name.
func reference(from, name string) string {
	switch {
	case strings.HasPrefix(name, stdPrefix):
		return name
	case path.Dir(name) == path.Dir(from):
		return path.Base(name)
	default:
		return "//" + name
	}
}

package fsys

import (
	"path"
	"strings"
	"syscall"
)

// A spot is a name made unambiguous, with what its spelling demands.
type spot struct {
	rel   string   // clean, relative, without ".."; "." is the top
	slash bool     // ended in a slash or a dot: must be a folder
	dot   bool     // ended in a dot, or is the top: can't be made, moved, removed
	via   []string // folders that a ".." left: they must exist
}

// maxPath is Linux's limit for a name, in bytes, with the final zero.
const maxPath = 4096

// parse reads a name. It refuses one that leaves the top.
func parse(op, name string) (spot, error) {
	if len(name) >= maxPath {
		return spot{}, pathError(op, name, syscall.ENAMETOOLONG)
	}
	if plain(name) {
		return spot{rel: name}, nil
	}
	if name == "" {
		return spot{}, pathError(op, name, syscall.ENOENT)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return spot{}, pathError(op, name, syscall.EINVAL)
	}
	var s spot
	var stack []string
	last := ""
	for _, part := range strings.Split(name, "/") {
		switch part {
		case "":
			continue
		case ".":
		case "..":
			if len(stack) == 0 {
				return spot{}, &RefusedError{Op: op, Path: name, Reason: "it leaves the root"}
			}
			s.via = append(s.via, path.Join(stack...))
			stack = stack[:len(stack)-1]
		default:
			stack = append(stack, part)
		}
		last = part
	}
	s.rel = "."
	if len(stack) > 0 {
		s.rel = path.Join(stack...)
	}
	s.dot = last == "." || last == ".." || last == ""
	s.slash = s.dot || strings.HasSuffix(name, "/")
	return s, nil
}

// plain reports whether a name is its own clean form and no special case:
// most are.
func plain(name string) bool {
	start := 0
	for i := 0; i <= len(name); i++ {
		if i < len(name) {
			if name[i] == 0 {
				return false
			}
			if name[i] != '/' {
				continue
			}
		}
		switch name[start:i] {
		case "", ".", "..":
			return false
		}
		start = i + 1
	}
	return true
}

// split cuts a clean name into the folder and the last part.
func split(rel string) (folder, base string) {
	if i := strings.LastIndexByte(rel, '/'); i >= 0 {
		return rel[:i], rel[i+1:]
	}
	return ".", rel
}

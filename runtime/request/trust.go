package request

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"instar/runtime/fsys"
)

// Trust says whose files a node may follow by itself: those that nobody but UID
// (and root, who can do anything) can write.
type Trust struct {
	UID int
}

// Mine trusts whoever runs this program.
func Mine() Trust { return Trust{os.Geteuid()} }

// UntrustedError is a path that somebody else can change.
type UntrustedError struct{ Path, Why string }

func (e *UntrustedError) Error() string { return e.Path + " " + e.Why }

// owned says whether others could write what info describes.
func (t Trust) owned(path string, info fs.FileInfo) error {
	sig, ok := fsys.Stat(info)
	if !ok || sig.UID < 0 {
		return nil // a system without owners
	}
	switch {
	case sig.UID != t.UID && sig.UID != 0:
		return &UntrustedError{path, fmt.Sprintf("belongs to user %d", sig.UID)}
	case info.Mode()&fs.ModeSymlink == 0 && info.Mode().Perm()&0o022 != 0:
		return &UntrustedError{path, fmt.Sprintf("is writable by others (mode %04o)", info.Mode().Perm())}
	}
	return nil
}

// maxLinks is how many links are followed on the way to one path.
const maxLinks = 40

// Way says whether each folder, link and file on the way to an absolute path is
// writable by the trusted user alone.
func (t Trust) Way(path string) error {
	root := filepath.VolumeName(path) + string(filepath.Separator)
	rest := split(path[len(filepath.VolumeName(path)):])
	at := root
	if err := t.one(at); err != nil {
		return err
	}
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, part)
		info, err := os.Lstat(next)
		if err != nil {
			return err
		}
		if err := t.owned(next, info); err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return &UntrustedError{path, "leads through too many links"}
		}
		target, err := os.Readlink(next)
		if err != nil {
			return err
		}
		if filepath.IsAbs(target) {
			at = root
		}
		rest = append(split(target), rest...)
	}
	return nil
}

func split(path string) []string {
	var parts []string
	for part := range strings.SplitSeq(filepath.ToSlash(path), "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

func (t Trust) one(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	return t.owned(path, info)
}

// Profile says whether a profile, the way to it and all that lies in its folder
// are writable by the trusted user alone. Where files have no owners, none is.
func (t Trust) Profile(source string) error {
	dir, err := folderOf(source)
	if err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if sig, ok := fsys.Stat(info); !ok || sig.UID < 0 {
		return &UntrustedError{dir, "may be writable by others: this system does not say"}
	}
	for _, path := range []string{source, dir} {
		if err := t.Way(path); err != nil {
			return err
		}
	}
	return walk(dir, nil, func(path string, info fs.FileInfo) error { return t.owned(path, info) })
}

// Untrusted reports whether err says that others can write something.
func Untrusted(err error) bool {
	var untrusted *UntrustedError
	return errors.As(err, &untrusted)
}

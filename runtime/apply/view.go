// Package apply compares a plan with an instance's root and performs the edits
// that follow: it is the only place that changes the disk for an instance.
//
// [Compare] is pure: it reads through a [plan.View] and says, resource by
// resource, which edits are needed, who owns what now ([Comparison.Claims]) and
// what is no longer declared ([Comparison.Obsolete]). [Do] performs one edit,
// atomically, on an afero file system that does not leave the root.
package apply

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"

	"github.com/spf13/afero"

	"instar/runtime/fsys"
	"instar/runtime/plan"
)

// maxFile bounds what is read of one file, in bytes.
const maxFile = 1 << 30

// View is what evaluation and comparison see of an instance. It implements
// [plan.View].
type View struct {
	root    string
	disk    afero.Fs
	outside map[string]string
	sources map[string]string
	ahead   *Ahead // until something is changed
	before  *Ahead // from then on
}

// NewView returns a view of the instance whose root, an absolute folder, is held
// by disk: a Root or an Overlay.
func NewView(root string, disk afero.Fs) *View {
	return &View{root: root, disk: disk, outside: map[string]string{}, sources: map[string]string{}}
}

// Outside returns the absolute paths outside the root that were looked at: for a
// file that was read its hash, for a folder that was listed that of its names
// ([HashNames]), "" for what was only looked at from outside.
func (v *View) Outside() map[string]string { return v.outside }

// Sources returns, in the same form and relative to the root, the paths in it that
// were named absolutely: what is copied from there, and what links lead to.
func (v *View) Sources() map[string]string { return v.sources }

// HashNames is the hash of what a folder holds, by name.
func HashNames(sorted []string) string { return Hash([]byte(strings.Join(sorted, "\x00"))) }

// saw notes what was read outside.
func (v *View) saw(name, hash string) {
	if hash != "" || v.outside[name] == "" {
		v.outside[name] = hash
	}
}

// Disk returns what the view looks at inside the root.
func (v *View) Disk() afero.Fs { return v.disk }

// On has the view look at another disk from now on: at the root, once it was
// created.
func (v *View) On(disk afero.Fs) { v.disk = disk }

// inside returns name relative to the root, and whether it lies in it.
func (v *View) inside(name string) (string, bool) {
	if !filepath.IsAbs(name) {
		return name, true
	}
	if rest, ok := strings.CutPrefix(name, v.root); ok && (rest == "" || rest[0] == filepath.Separator) {
		rel := strings.TrimPrefix(filepath.ToSlash(rest), "/")
		if _, seen := v.sources[rel]; !seen && rel != "" {
			v.sources[rel] = ""
		}
		return rel, true
	}
	v.saw(name, "")
	return name, false
}

// Lstat implements [plan.View].
func (v *View) Lstat(name string) (plan.Info, error) {
	rel, ok := v.inside(name)
	if !ok {
		return outside(os.Lstat(name))
	}
	if info, err, ok := v.foreseen(rel); ok {
		return info, err
	}
	fi, err := fsys.Lstat(v.disk, rel)
	if err != nil && isMissing(err) {
		return plan.Info{}, &fs.PathError{Op: "lstat", Path: rel, Err: fs.ErrNotExist}
	}
	if err != nil {
		return plan.Info{}, err
	}
	sig, _ := fsys.Stat(fi)
	return infoOf(sig), nil
}

// isMissing reports whether err says that nothing is there: where the folder would
// have to be is a file, or nothing.
func isMissing(err error) bool {
	return errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrNotExist)
}

// Stat implements [plan.View].
func (v *View) Stat(name string) (plan.Info, error) {
	if _, ok := v.inside(name); !ok {
		return outside(os.Stat(name))
	}
	return v.Lstat(name)
}

func outside(fi fs.FileInfo, err error) (plan.Info, error) {
	if err != nil {
		return plan.Info{}, err
	}
	sig, _ := fsys.Stat(fi)
	return infoOf(sig), nil
}

// ReadFile implements [plan.View].
func (v *View) ReadFile(name string) ([]byte, error) {
	rel, ok := v.inside(name)
	if !ok {
		data, err := readOutside(name)
		if err == nil {
			v.saw(name, Hash(data))
		}
		return data, err
	}
	data, err := fsys.ReadRegular(v.disk, rel, maxFile)
	if _, source := v.sources[rel]; source && err == nil {
		v.sources[rel] = Hash(data)
	}
	return data, err
}

// readOutside reads a file as fsys.ReadRegular does, but follows links.
func readOutside(name string) ([]byte, error) {
	info, err := os.Stat(name) // opening a pipe would wait for its other end
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fsys.NotRegularError{Path: name, Kind: special(info.Mode())}
	}
	if info.Size() > maxFile {
		return nil, &fsys.TooLargeError{Path: name, Max: maxFile}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := bytes.NewBuffer(make([]byte, 0, info.Size()+bytes.MinRead))
	if _, err := data.ReadFrom(io.LimitReader(f, maxFile+1)); err != nil {
		return nil, err
	}
	if data.Len() > maxFile {
		return nil, &fsys.TooLargeError{Path: name, Max: maxFile}
	}
	return data.Bytes(), nil
}

// Readlink implements [plan.View].
func (v *View) Readlink(name string) (string, error) {
	rel, ok := v.inside(name)
	if !ok {
		return os.Readlink(name)
	}
	return fsys.Readlink(v.disk, rel)
}

// ReadDir implements [plan.View].
func (v *View) ReadDir(name string) ([]string, error) {
	rel, ok := v.inside(name)
	var names []string
	if !ok {
		entries, err := os.ReadDir(name)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		v.saw(name, HashNames(names))
		return names, nil
	}
	if rel == "" {
		rel = "."
	}
	dir, err := v.disk.Open(rel)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err = dir.Readdirnames(-1)
	sort.Strings(names)
	if _, source := v.sources[rel]; source && err == nil {
		v.sources[rel] = HashNames(names)
	}
	return names, err
}

// infoOf turns what lstat says into what plan compares.
func infoOf(sig fsys.Sig) plan.Info {
	info := plan.Info{Mode: plan.Mode(sig.Mode & 0o7777), UID: sig.UID, GID: sig.GID, Size: sig.Size}
	switch m := sig.Type(); {
	case m == fs.ModeDir:
		info.Kind = plan.KindDir
	case m == 0:
		info.Kind = plan.KindFile
	case m == fs.ModeSymlink:
		info.Kind = plan.KindLink
	default:
		info.Kind, info.Special = plan.KindSpecial, special(m)
	}
	return info
}

func special(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "folder"
	case m&fs.ModeNamedPipe != 0:
		return "FIFO"
	case m&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

// Hash is the hex SHA-256 by which contents are remembered.
func Hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// hashOf returns the hash of what stands at a path: of a file's content or a
// link's text, "" for anything else.
func hashOf(v plan.View, name string, kind plan.Kind) (string, error) {
	switch kind {
	case plan.KindFile:
		data, err := v.ReadFile(name)
		return Hash(data), err
	case plan.KindLink:
		text, err := v.Readlink(name)
		return Hash([]byte(text)), err
	}
	return "", nil
}

// shadow is a view in which some paths, and all below them, are already gone.
type shadow struct {
	plan.View
	gone map[string]bool
	held map[string]bool // files whose declared content is the one that was last applied
}

func (s *shadow) isGone(name string) bool {
	if len(s.gone) == 0 {
		return false
	}
	for p := name; p != "." && p != "/" && p != ""; p = parent(p) {
		if s.gone[p] {
			return true
		}
	}
	return false
}

func (s *shadow) Lstat(name string) (plan.Info, error) {
	if s.isGone(name) {
		return plan.Info{}, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
	}
	return s.View.Lstat(name)
}

// Holds implements [plan.Knower].
func (s *shadow) Holds(path string, content []byte) (same, known bool) {
	if k, ok := s.View.(plan.Knower); ok && !s.isGone(path) {
		same, known = k.Holds(path, content)
	}
	if same && known {
		s.held[path] = true
	}
	return same, known
}

func (s *shadow) ReadDir(name string) ([]string, error) {
	names, err := s.View.ReadDir(name)
	if err != nil || len(s.gone) == 0 {
		return names, err
	}
	var left []string
	for _, n := range names {
		if !s.gone[join(name, n)] {
			left = append(left, n)
		}
	}
	return left, nil
}

func join(dir, name string) string {
	if dir == "" || dir == "." {
		return name
	}
	return dir + "/" + name
}

// parent returns the folder of a relative path, "." for a path without one.
func parent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i > 0 {
		return p[:i]
	}
	return "."
}

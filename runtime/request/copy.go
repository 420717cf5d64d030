package request

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"instar/runtime/fsys"
	"instar/runtime/state"
)

// Copy is the stored copy of a profile: a folder whose name is the digest of
// what lies in it, below the folder profile of the instance's state. The file
// current.json beside it names the one that is run.
type Copy struct {
	FormatVersion int    `json:"format_version"`
	Source        string `json:"source"` // the profile it was made from, absolute
	Digest        string `json:"digest"`
	Entry         string `json:"entry"` // "" for a folder, else the .star file in it
	// Seen describes the source when it was copied, so that a change of it is
	// noticed without reading it.
	Seen string `json:"seen"`

	dir string
}

// Path is the profile to evaluate.
func (c *Copy) Path() string { return filepath.Join(c.dir, c.Digest, c.Entry) }

// Bounds of a profile's folder.
const (
	maxFiles = 10000
	maxBytes = 256 << 20
)

// ErrNoCopy says that no copy of a profile is stored.
var ErrNoCopy = errors.New("no copy of the profile is stored")

// TooBigError is a folder that holds more than a profile may.
type TooBigError struct{ Path string }

func (e *TooBigError) Error() string {
	return fmt.Sprintf("the folder %s holds more than %d files or %d MiB", e.Path, maxFiles, maxBytes>>20)
}

// Hint says what the operator can do.
func (e *TooBigError) Hint() string { return "put the profile into a folder of its own" }

func copies(f state.Folder) string { return f.Path("profile") }

// Current returns the copy that is run, or fails with [ErrNoCopy].
func Current(f state.Folder) (*Copy, error) {
	data, err := os.ReadFile(filepath.Join(copies(f), "current.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoCopy
	}
	if err != nil {
		return nil, err
	}
	c := &Copy{dir: copies(f)}
	if err := json.Unmarshal(data, c); err != nil || c.FormatVersion != FormatVersion || !isDigest(c.Digest) || c.Entry != filepath.Base(c.Entry) && c.Entry != "" {
		return nil, ErrNoCopy // the next one replaces it
	}
	if _, err := os.Lstat(c.Path()); err != nil {
		return nil, ErrNoCopy
	}
	return c, nil
}

func isDigest(text string) bool {
	_, err := hex.DecodeString(text)
	return err == nil && len(text) == digestLen
}

const digestLen = 32

// Stage stores a copy of the profile source, which is not run yet: see
// [Copy.Use]. What lies in skip (the state, the instance's root) is no part of
// it.
func Stage(f state.Folder, source string, skip ...string) (*Copy, error) {
	return StageFrom(f, source, source, skip...)
}

// StageFrom stores a copy of what lies at from as that of the profile source:
// from is in a copy of the profile that requests this one.
func StageFrom(f state.Folder, from, source string, skip ...string) (*Copy, error) {
	dir, err := folderOf(from)
	if err != nil {
		return nil, err
	}
	c := &Copy{FormatVersion: FormatVersion, Source: source, dir: copies(f)}
	if info, err := os.Stat(from); err == nil && !info.IsDir() {
		c.Entry = filepath.Base(from)
	}
	if c.Seen, err = See(from, skip...); err != nil {
		return nil, err
	}
	if err := c.fill(dir, skip); err != nil {
		return nil, err
	}
	if now, err := Current(f); err == nil && c.Same(now) && c.Source == now.Source {
		return c, c.Use() // it is what is run; only the source looks otherwise
	}
	return c, nil
}

// Same reports whether two copies are of the same content.
func (c *Copy) Same(other *Copy) bool { return c.Digest == other.Digest && c.Entry == other.Entry }

// Put stores a copy of the folder dir, which is not run yet, in place of one of
// source, which may be gone: it is what counts until source changes. Entry is
// the .star file in it, "" when the source is a folder.
func Put(f state.Folder, dir, entry, source string, skip ...string) (*Copy, error) {
	c := &Copy{FormatVersion: FormatVersion, Source: source, Entry: entry, dir: copies(f)}
	c.Seen, _ = See(source, skip...) // "" as long as it is gone
	return c, c.fill(dir, nil)
}

// fill copies what lies in dir.
func (c *Copy) fill(dir string, skip []string) error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(c.dir, "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if c.Digest, err = copyAll(dir, tmp, skip); err != nil {
		return fmt.Errorf("cannot copy the profile: %w", err)
	}
	final := filepath.Join(c.dir, c.Digest)
	now := time.Now()
	if os.Chtimes(final, now, now) == nil {
		return nil // it was copied before
	}
	return os.Rename(tmp, final)
}

// Use makes c the copy that is run from now on.
func (c *Copy) Use() error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	name := filepath.Join(c.dir, "current.json")
	if old, err := os.ReadFile(name); err == nil && string(old) == string(data) {
		return nil
	}
	return state.WriteFile(name, data, 0o600)
}

// staged is how long a copy that is not run may be on its way to be.
const staged = 10 * time.Minute

// Prune removes copies that are not run. Whoever processes the instance calls
// it: nothing is removed under an evaluation.
func (c *Copy) Prune() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && e.IsDir() && e.Name() != c.Digest && time.Since(info.ModTime()) > staged {
			_ = os.RemoveAll(filepath.Join(c.dir, e.Name())) // the next one tries again
		}
	}
}

// Store stages a copy and makes it the one that is run.
func Store(f state.Folder, source string, skip ...string) (*Copy, error) {
	c, err := Stage(f, source, skip...)
	if err != nil {
		return nil, err
	}
	return c, c.Use()
}

// See describes all that belongs to a profile by what lstat says: when it is
// the same, nothing has changed.
func See(source string, skip ...string) (string, error) {
	dir, err := folderOf(source)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n", source, dir)
	err = walk(dir, skip, func(path string, info fs.FileInfo) error {
		sig, _ := fsys.Stat(info)
		if info.IsDir() {
			sig.Mtime, sig.Ctime, sig.Size = 0, 0, 0 // its names are looked at themselves
		}
		fmt.Fprintf(sum, "%s %v\n", path, sig)
		return nil
	})
	return hex.EncodeToString(sum.Sum(nil))[:digestLen], err
}

// Folders returns the folders of a profile, to be watched.
func Folders(source string, skip ...string) ([]string, error) {
	dir, err := folderOf(source)
	if err != nil {
		return nil, err
	}
	dirs := []string{dir}
	err = walk(dir, skip, func(path string, info fs.FileInfo) error {
		if info.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs, err
}

// folderOf is the folder of a profile, links resolved.
func folderOf(source string) (string, error) {
	info, err := os.Stat(source)
	if err != nil {
		return "", fmt.Errorf("cannot find the profile: %w", err)
	}
	if !info.IsDir() {
		source = filepath.Dir(source)
	}
	return filepath.EvalSymlinks(source)
}

// isClosed reports whether err is that of a file or folder that may not be read,
// or that is gone by now, as there are where a profile of one file lies among
// those of others, in /tmp: no evaluation can need it either.
func isClosed(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist)
}

// walk calls do for all that lies below dir, in order, as far as it belongs to a
// profile: version control and what skip names do not.
func walk(dir string, skip []string, do func(path string, info fs.FileInfo) error) error {
	files, size := 0, int64(0)
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if path != dir && isClosed(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if path == dir {
			return nil
		}
		if d.IsDir() && (d.Name() == ".git" || isAny(path, skip)) {
			return fs.SkipDir
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if !info.IsDir() && !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0 {
			return nil // sockets and the like
		}
		files++
		if info.Mode().IsRegular() {
			size += info.Size()
		}
		if files > maxFiles || size > maxBytes {
			return &TooBigError{dir}
		}
		return do(path, info)
	})
}

func isAny(path string, skip []string) bool {
	for _, s := range skip {
		if path == s {
			return true
		}
	}
	return false
}

// dirMode is the mode that a folder gets.
type dirMode struct {
	path string
	mode fs.FileMode
}

// DigestOf is the digest that a copy of the profile at from would have.
func DigestOf(from string, skip ...string) (string, error) {
	dir, err := folderOf(from)
	if err != nil {
		return "", err
	}
	return copyAll(dir, "", skip)
}

// copyAll copies what belongs to a profile and returns its digest; to nowhere, it
// only computes that. Modes stay, since the profile may copy files with theirs:
// nobody else gets into the folder.
func copyAll(from, to string, skip []string) (string, error) {
	in, err := os.OpenRoot(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	sum := sha256.New()
	var dirs []dirMode
	err = walk(from, skip, func(path string, info fs.FileInfo) error {
		name := strings.TrimPrefix(path, strings.TrimSuffix(from, string(filepath.Separator))+string(filepath.Separator))
		target := filepath.Join(to, name)
		fmt.Fprintf(sum, "%q %o ", name, info.Mode()&(fs.ModeType|fs.ModePerm))
		switch {
		case info.IsDir() && to == "":
			return nil
		case info.IsDir():
			dirs = append(dirs, dirMode{target, info.Mode().Perm() | 0o700})
			return os.Mkdir(target, 0o700)
		case info.Mode()&fs.ModeSymlink != 0:
			text, err := os.Readlink(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(sum, "%q\n", text)
			if to == "" {
				return nil
			}
			return os.Symlink(text, target)
		}
		src, err := in.Open(name)
		if isClosed(err) && !strings.HasSuffix(name, ".star") {
			fmt.Fprintln(sum, "closed")
			return nil
		}
		if err != nil {
			return err
		}
		defer src.Close()
		if to == "" {
			return digestInto(sum, io.Discard, src)
		}
		return copyFile(src, target, info.Mode().Perm(), sum)
	})
	for _, d := range dirs {
		if err == nil {
			err = os.Chmod(d.path, d.mode)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))[:digestLen], err
}

func copyFile(src io.Reader, target string, mode fs.FileMode, sum io.Writer) error {
	dst, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = digestInto(sum, dst, src)
	if err == nil {
		err = dst.Chmod(mode | 0o400)
	}
	return errors.Join(err, dst.Close())
}

// digestInto copies src to dst, and adds its length and hash to sum.
func digestInto(sum, dst io.Writer, src io.Reader) error {
	one := sha256.New()
	n, err := io.Copy(io.MultiWriter(dst, one), io.LimitReader(src, maxBytes))
	fmt.Fprintf(sum, "%d %x\n", n, one.Sum(nil))
	return err
}

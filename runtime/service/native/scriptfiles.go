package native

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// scriptMode lets anybody read a script: there is nothing in it.
const scriptMode = 0o755

// scriptFiles is the [scriptStore] of an init that reads a folder.
type scriptFiles struct {
	dir    string
	suffix string // of the files' names
	bits   fs.FileMode
	// file, if not nil, makes the name of a file, without its suffix, from that
	// of a script.
	file func(name string) string
}

func (s scriptFiles) path(name string) string {
	if s.file != nil {
		name = s.file(name)
	}
	return filepath.Join(s.dir, name+s.suffix)
}

func (s scriptFiles) mode() fs.FileMode { return s.bits }

func (s scriptFiles) usable() error {
	if !isDir(s.dir) {
		return errors.New("there is no folder " + s.dir)
	}
	return nil
}

func (s scriptFiles) read(path string) ([]byte, fs.FileMode, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, &ForeignError{Path: path}
	}
	data, err := os.ReadFile(path)
	if data == nil {
		data = []byte{}
	}
	return data, info.Mode().Perm(), err
}

func (s scriptFiles) write(scripts map[string][]byte) error {
	var pending []string
	defer func() { _ = removeAll(pending) }()
	for path, data := range scripts {
		old, err := os.ReadFile(path)
		info, errMode := os.Lstat(path)
		if err == nil && errMode == nil && bytes.Equal(old, data) && info.Mode().Perm() == s.bits {
			if err := removeAll([]string{pendingScript(path)}); err != nil { // of one that was killed
				return err
			}
			continue
		}
		next := pendingScript(path)
		pending = append(pending, next)
		if err := writeNew(next, data, s.bits); err != nil {
			return err
		}
	}
	if len(pending) == 0 {
		return nil
	}
	if err := syncAll(s.dir, pending); err != nil {
		return err
	}
	for path := range scripts {
		if next := pendingScript(path); slices.Contains(pending, next) {
			if err := os.Rename(next, path); err != nil {
				return err
			}
		}
	}
	return syncDir(s.dir)
}

// pendingScript is where a script is written: no init looks at hidden files.
func pendingScript(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+pendingSuffix)
}

func (s scriptFiles) remove(path string) error {
	return removeAll([]string{path, pendingScript(path)})
}

func (s scriptFiles) list(prefix string) ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var paths []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), prefix) {
			paths = append(paths, filepath.Join(s.dir, entry.Name()))
		}
	}
	return paths, nil
}

package native

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// unitMode keeps what a unit says about files from others than root. What it
// executes is no secret: systemd tells it to anybody.
const unitMode = 0o640

// pendingSuffix ends the name of a unit that is being written. systemd does not
// look at such files.
const pendingSuffix = ".instar-new"

// writeUnits writes the units whose bytes differ, and returns how many did.
func (m *systemd) writeUnits(units map[string][]byte) (written int, err error) {
	if err := os.MkdirAll(m.unitDir, 0o755); err != nil {
		return 0, err
	}
	files := make(map[string][]byte, len(units))
	for unit, data := range units {
		files[m.unitPath(unit)] = data
	}
	return writeFiles(files, unitMode)
}

// writeFiles replaces the files of one folder whose bytes differ, all or, if that
// fails, none or some of them: each one whole, and durable before it counts. It
// returns how many differed.
func writeFiles(files map[string][]byte, mode fs.FileMode) (written int, err error) {
	var pending []string
	defer func() {
		for _, path := range pending[written:] {
			_ = os.Remove(path)
		}
	}()
	for path, data := range files {
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
			continue
		}
		path += pendingSuffix
		pending = append(pending, path)
		if err := writeNew(path, data, mode); err != nil {
			return 0, err
		}
	}
	if len(pending) == 0 {
		return 0, nil
	}
	dir := filepath.Dir(pending[0])
	if err := syncAll(dir, pending); err != nil {
		return 0, err
	}
	for _, path := range pending {
		if err := os.Rename(path, path[:len(path)-len(pendingSuffix)]); err != nil {
			return written, err
		}
		written++
	}
	return written, syncDir(dir)
}

// writeNew writes a file that nobody has a name for yet, whatever an earlier
// attempt left there.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Chmod(mode); err != nil { // whatever the umask
		_ = f.Close()
		return err
	}
	return f.Close()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync() // not every system can; the names stand
	return d.Close()
}

// enabled reports whether the unit, or timer, is started with the machine. systemd's own
// UnitFileState is as old as its last reload.
func (m *systemd) enabled(unit string) bool {
	to, err := os.Readlink(m.wantsPath(unit))
	return err == nil && to == m.unitPath(unit)
}

// enable makes the links that start units with the machine, and returns how
// many were missing.
func (m *systemd) enable(units []string) (made int, err error) {
	for _, unit := range units {
		if m.enabled(unit) {
			continue
		}
		link := m.wantsPath(unit)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return made, err
		}
		pending := link + pendingSuffix
		if err := removeAll([]string{pending}); err != nil {
			return made, err
		}
		if err := os.Symlink(m.unitPath(unit), pending); err != nil {
			return made, err
		}
		if err := os.Rename(pending, link); err != nil {
			return made, fmt.Errorf("cannot enable %s: %w", unit, err)
		}
		made++
	}
	if made > 0 {
		return made, syncDir(m.unitDir)
	}
	return 0, nil
}

// disable removes the links, and returns how many there were.
func (m *systemd) disable(units []string) (removed int, err error) {
	for _, unit := range units {
		link := m.wantsPath(unit)
		info, err := os.Lstat(link)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return removed, err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return removed, &ForeignError{Path: link}
		}
		if err := os.Remove(link); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// removeAll removes files; absent is fine.
func removeAll(paths []string) error {
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

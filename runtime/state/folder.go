package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"sort"
	"time"

	"github.com/gofrs/flock"
)

// ErrLocked says that another run holds the instance's lock.
var ErrLocked = errors.New("another run holds the instance's lock")

// BrokenError is a state.json that cannot be understood. Nothing overwrites it.
type BrokenError struct {
	Path string
	Err  error
}

func (e *BrokenError) Error() string { return fmt.Sprintf("cannot read state %s: %v", e.Path, e.Err) }
func (e *BrokenError) Unwrap() error { return e.Err }

// Hint says what the operator can do.
func (e *BrokenError) Hint() string {
	return "restore the file from a backup, or move it away: the next apply then treats what it finds in the root as its own only where it is unchanged, and never wipes data"
}

// NewerError is a state.json written by a later version of instar.
type NewerError struct {
	Path string
	Got  int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("state %s has format %d; this instar knows up to %d", e.Path, e.Got, FormatVersion)
}

// Hint says what the operator can do.
func (e *NewerError) Hint() string { return "use the version of instar that wrote it, or a later one" }

var instanceName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,40}$`)

// CheckName says what is wrong with an instance's name, or nil.
func CheckName(name string) error {
	if !instanceName.MatchString(name) {
		return fmt.Errorf("instance name %q does not match [a-z0-9][a-z0-9-]{0,40}", name)
	}
	return nil
}

// Home is the state folder of a node. It holds one [Folder] per instance.
type Home string

// Instance returns the folder of the instance called name, which need not
// exist.
func (h Home) Instance(name string) Folder {
	return Folder(filepath.Join(string(h), "instances", name))
}

// Names returns the instances that have a state, in order.
func (h Home) Names() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(string(h), "instances"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && CheckName(e.Name()) == nil {
			if _, err := os.Lstat(h.Instance(e.Name()).Path("state.json")); err == nil {
				names = append(names, e.Name())
			}
		}
	}
	sort.Strings(names)
	return names, nil
}

// Folder is the place where one instance's state is kept: state.json, its
// lock, and what goes with it (command records, logs).
type Folder string

// Path returns the path of something in the folder.
func (f Folder) Path(elem ...string) string {
	return filepath.Join(append([]string{string(f)}, elem...)...)
}

// Name returns the instance's name.
func (f Folder) Name() string { return filepath.Base(string(f)) }

// Exists reports whether the instance has a state.
func (f Folder) Exists() bool {
	_, err := os.Lstat(f.Path("state.json"))
	return err == nil
}

// Load reads the state; an instance that has none gets a new one.
func (f Folder) Load() (*State, error) {
	data, err := os.ReadFile(f.Path("state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return New(f.Name()), nil
	}
	if err != nil {
		return nil, err
	}
	s, err := decode(data)
	if err != nil {
		var newer *NewerError
		if errors.As(err, &newer) {
			newer.Path = f.Path("state.json")
			return nil, newer
		}
		return nil, &BrokenError{f.Path("state.json"), err}
	}
	if s.Instance != f.Name() {
		return nil, &BrokenError{f.Path("state.json"), fmt.Errorf("it is the state of instance %q", s.Instance)}
	}
	return s, nil
}

// Save writes the state durably, unless the file already says the same. It
// creates the folder, for its owner only, when that is missing.
func (f Folder) Save(s *State) error {
	data, err := Encode(s)
	if err != nil {
		return fmt.Errorf("cannot encode the state: %w", err)
	}
	exists, same := f.says(data)
	if same {
		return nil
	}
	if err := f.Make(); err != nil {
		return err
	}
	if err := WriteFile(f.Path("state.json"), data, 0o600); err != nil || exists {
		return err
	}
	return SyncFolders(filepath.Dir(string(f)))
}

// says reports whether there is a state.json, and whether it holds data.
func (f Folder) says(data []byte) (exists, same bool) {
	info, err := os.Stat(f.Path("state.json"))
	if err != nil || info.Size() != int64(len(data)) {
		return err == nil, false
	}
	old, err := os.ReadFile(f.Path("state.json"))
	return true, err == nil && bytes.Equal(old, data)
}

// Make creates the folder when it is missing.
func (f Folder) Make() error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return fmt.Errorf("cannot create the state folder: %w", err)
	}
	return nil
}

// Remove deletes all that is kept of the instance. The lock's holder calls it.
// The state itself goes last: until then a removal that was interrupted can be
// repeated, and no record of a command outlives the instance.
func (f Folder) Remove() error {
	entries, err := os.ReadDir(string(f))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.Name() == "state.json" || e.Name() == "lock" || heldFilesStay && filepath.Ext(e.Name()) == ".lock" {
			continue
		}
		if err := os.RemoveAll(f.Path(e.Name())); err != nil {
			return err
		}
	}
	if err := os.Remove(f.Path("state.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if heldFilesStay {
		return nil // unlock removes the rest
	}
	return os.RemoveAll(string(f))
}

// heldFilesStay says that the system removes no file that somebody has open, such
// as the lock.
const heldFilesStay = runtime.GOOS == "windows"

// lockPatience is how long a lock that is held is tried: a run that was killed while
// it started a process may leave it for the moment until that has begun.
const lockPatience = 100 * time.Millisecond

// Lock takes the instance's lock, or fails with [ErrLocked]. A lock left
// by a run that was killed does not count: the system released it. The caller
// calls unlock once. Where the instance has no state by then, unlock leaves
// nothing behind of what Lock had to create.
func (f Folder) Lock() (unlock func(), err error) { return f.LockAs("lock") }

// LockAs is Lock for a lock of another name, such as that of whoever supervises
// the services.
func (f Folder) LockAs(name string) (unlock func(), err error) {
	made := missing(string(f))
	deadline := time.Now().Add(lockPatience)
	for unmade := 0; ; {
		err := f.Make()
		if errors.Is(err, fs.ErrNotExist) && unmade < 100 {
			unmade++ // the one before us removed a folder that it is in
			continue
		}
		if err != nil {
			return nil, err
		}
		lock := flock.New(f.Path(name), flock.SetPermissions(0o600))
		ok, err := lock.TryLock()
		switch {
		case errors.Is(err, fs.ErrNotExist): // the one before us removed the folder
		case err != nil:
			return nil, fmt.Errorf("cannot lock %s: %w", f.Path(name), err)
		case !ok && time.Now().After(deadline):
			return nil, ErrLocked
		case !ok:
			_ = lock.Close() // holds nothing
			time.Sleep(lockPatience / 10)
		case current(lock):
			return func() { f.unlock(lock, made) }, nil
		default: // the one before us removed the file
			_ = lock.Unlock()
		}
	}
}

// current reports whether the locked file is the one that others would lock.
func current(lock *flock.Flock) bool {
	there, err := os.Lstat(lock.Path())
	if err != nil {
		return false
	}
	held, err := lock.Stat()
	return err == nil && os.SameFile(there, held)
}

// unlock releases the lock, and removes it and the folders in made when the
// instance has no state.
func (f Folder) unlock(lock *flock.Flock, made []string) {
	if !f.Exists() {
		if heldFilesStay {
			_ = lock.Unlock()
			made = append([]string{string(f)}, made...)
		}
		_ = os.Remove(lock.Path())
		for _, dir := range made {
			_ = os.Remove(dir) // what others have put something into stays
		}
	}
	_ = lock.Unlock()
}

// missing returns dir and the folders above it that do not exist, innermost
// first.
func missing(dir string) []string {
	var dirs []string
	for {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			return dirs
		}
		dirs = append(dirs, dir)
		dir = filepath.Dir(dir)
	}
}

// WriteFile replaces a file of the state folder atomically and durably.
func WriteFile(name string, data []byte, mode os.FileMode) (err error) {
	tmp := name + ".tmp"
	file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp)
		}
	}()
	if _, err := file.Write(data); err != nil {
		_ = file.Close()
		return err
	}
	if err := file.Sync(); err != nil {
		_ = file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := replace(tmp, name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// replace renames tmp to name. Where a file that somebody reads at the moment
// cannot be replaced, it is tried for a second.
func replace(tmp, name string) error {
	for deadline := time.Now().Add(time.Second); ; time.Sleep(lockPatience / 10) {
		err := os.Rename(tmp, name)
		if err == nil || !heldFilesStay || time.Now().After(deadline) {
			return err
		}
	}
}

// SyncFolders makes durable that the folder dir is there, and all that it is in: a
// power cut must not take a new one with what was synced in it.
func SyncFolders(dir string) error {
	for {
		if err := syncDir(dir); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// syncDir makes a rename in dir durable, where the system can.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync() // not every system can sync a folder; the rename stands
	return d.Close()
}

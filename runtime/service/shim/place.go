// Package shim stands between one service and a service manager that can do
// little more than run a script: System V's init, and OpenRC. It is instar
// itself, `instar supervise SPEC`, and gives the service what systemd would:
// restarts with back-off, a user, an environment, limits, logs with rotation,
// an end of the whole tree, times, and word of every exit that nobody asked
// for.
//
// A [Place] is the folder of one service. Its spec.json ([File]) says what
// shall run, and is written by the manager; its status.json ([Status]) says
// what does, and is written by the shim. A shim runs below a guard, a shell
// that starts it again when it is killed. [Start], [Stop] and [Reload] are what
// the manager's script calls.
//
// The invariant: whoever holds the place's lock is the only one that starts
// anything for the service, and starts nothing before all that an earlier one
// left has ended.
package shim

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// Place is the folder of one service, absolute.
type Place string

// folderName is what the folder of all places is called in the state folder.
const folderName = "shim"

// At returns the place of a service of an instance.
func At(stateDir, instance, name string) Place {
	return Place(filepath.Join(Folder(stateDir, instance), name))
}

// Folder returns where the places of an instance are.
func Folder(stateDir, instance string) string {
	return filepath.Join(stateDir, folderName, instance)
}

// Of returns the place whose [File] is at path.
func Of(path string) Place { return Place(filepath.Dir(path)) }

// Instances returns the instances that have places, and Names the services of
// one that do.
func Instances(stateDir string) ([]string, error) {
	return folders(filepath.Join(stateDir, folderName))
}

// Names returns the services of an instance that have a place, in order.
func Names(stateDir, instance string) ([]string, error) {
	return folders(Folder(stateDir, instance))
}

func folders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// SpecPath is where the place's [File] is.
func (p Place) SpecPath() string { return p.file("spec.json") }

func (p Place) file(name string) string { return filepath.Join(string(p), name) }

// statusPath is the [Status]; lockPath is held by the shim; wantedPath exists
// while the service shall run; recordsPath is what supervise leaves until all
// that it started has ended.
func (p Place) statusPath() string  { return p.file("status.json") }
func (p Place) lockPath() string    { return p.file("lock") }
func (p Place) wantedPath() string  { return p.file("wanted") }
func (p Place) recordsPath() string { return p.file(".processes") }

// Wanted reports whether the service shall run: it was started, and not
// stopped since.
func (p Place) Wanted() bool { return exists(p.wantedPath()) }

func (p Place) want() error {
	f, err := os.OpenFile(p.wantedPath(), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// lock takes the lock; nil means that somebody else holds it.
func (p Place) lock() (*flock.Flock, error) {
	l := flock.New(p.lockPath(), flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil || !ok {
		return nil, err
	}
	return l, nil
}

// Remove forgets a service that was stopped, and the instance's folder with its
// last one. Absent is fine.
func (p Place) Remove() error {
	entries, err := os.ReadDir(string(p))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if err := removeFile(p.file(e.Name())); err != nil {
			return err
		}
	}
	if err := removeFile(string(p)); err != nil {
		return err
	}
	_ = os.Remove(filepath.Dir(string(p))) // others may have a place there
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func removeFile(path string) error {
	if err := patiently(func() error { return os.Remove(path) }); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// patiently tries again for a second what fails only since somebody has the file
// open at the moment, where systems have that.
func patiently(do func() error) error {
	for n := 0; ; n++ {
		err := do()
		if err == nil || !inUse(err) || n == 100 {
			return err
		}
		time.Sleep(pollPeriod)
	}
}

// readFile reads a file that another process may be replacing.
func readFile(path string) (data []byte, err error) {
	err = patiently(func() error {
		data, err = os.ReadFile(path)
		return err
	})
	return data, err
}

// writeFile replaces a file as a whole. Where it must outlive a crash of the
// machine, durable is set.
func writeFile(path string, data []byte, durable bool) (err error) {
	temporary := path + ".new"
	if err := removeFile(temporary); err != nil { // left by one that was killed
		return err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if durable && err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = patiently(func() error { return os.Rename(temporary, path) })
	}
	if err != nil {
		_ = os.Remove(temporary)
	}
	return err
}

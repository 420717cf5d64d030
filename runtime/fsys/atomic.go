package fsys

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/spf13/afero"
)

const tempPrefix = ".instar-tmp-"

// IsTemp reports whether name is one that TempName makes.
func IsTemp(name string) bool { return strings.HasPrefix(path.Base(name), tempPrefix) }

// TempName returns the name under which WriteFile and WriteLink prepare path: in
// the same folder, always the same, so that what an interrupted run left is found
// again, and is overwritten by the next one.
func TempName(name string) string {
	folder, base := path.Split(name)
	sum := sha256.Sum256([]byte(base))
	return folder + tempPrefix + hex.EncodeToString(sum[:6])
}

// WriteFile puts a file with exactly this content, mode (the 12 permission bits,
// whatever the umask) and owner (-1: whoever runs) at path, replacing a file or a
// link, never a folder. At any moment path is the old object or the whole new one;
// while it is prepared nobody else can read it. On an error path is unchanged and
// nothing is left beside it. It is durable after SyncFS.
func WriteFile(fsys afero.Fs, path string, data []byte, mode uint32, uid, gid int) error {
	if d := straight(fsys, path); d != nil {
		if _, ok := d.writeFile(path, data, mode, uid, gid, false); ok {
			return nil
		}
	}
	return writeFile(fsys, path, data, mode, uid, gid)
}

// writeFile is WriteFile by the long way.
func writeFile(fsys afero.Fs, path string, data []byte, mode uint32, uid, gid int) error {
	return beside("open", fsys, path, func(at afero.Fs, tmp, final string) error {
		f, err := createTemp(at, tmp)
		if err != nil {
			return err
		}
		err = fill(f, data, mode, uid, gid)
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err == nil {
			err = at.Rename(tmp, final)
		}
		if err != nil {
			at.Remove(tmp)
		}
		return err
	})
}

// WriteLink puts a symbolic link at path as WriteFile does a file. The target is
// taken as it is; it need not exist.
func WriteLink(fsys afero.Fs, path, target string, uid, gid int) error {
	return beside("symlink", fsys, path, func(at afero.Fs, tmp, final string) error {
		linker, ok := at.(afero.Linker)
		if !ok {
			return &os.LinkError{Op: "symlink", Old: target, New: path, Err: afero.ErrNoSymlink}
		}
		err := retry(at, tmp, func() error { return linker.SymlinkIfPossible(target, tmp) })
		if err != nil {
			return err
		}
		if uid != -1 || gid != -1 {
			err = chownLink(at, tmp, uid, gid)
		}
		if err == nil {
			err = at.Rename(tmp, final)
		}
		if err != nil {
			at.Remove(tmp)
		}
		return err
	})
}

// errReplaced refuses to give away what is not the object just made.
var errReplaced = errors.New("somebody replaced it meanwhile")

// chownLink changes who owns a link that was just made, on a Root only if it still
// is one: whoever may write to the folder could have put another's file there.
func chownLink(at afero.Fs, name string, uid, gid int) error {
	root, ok := at.(*Root)
	if !ok {
		return Chown(at, name, uid, gid)
	}
	return root.fail("lchown", name, name, root.disk.chown(name, uid, gid, true))
}

// MakeDir makes a folder with exactly this mode (the 12 permission bits, whatever
// the umask) and owner (-1: whoever runs). Its parent must exist and path must not.
// It appears at path whole, as WriteFile has files do. On an error nothing is left.
func MakeDir(fsys afero.Fs, path string, mode uint32, uid, gid int) error {
	if d := straight(fsys, path); d != nil && d.makeDir(path, mode, uid, gid) {
		return nil
	}
	path = strings.TrimRight(path, "/")
	return beside("mkdir", fsys, path, func(at afero.Fs, tmp, final string) error {
		if _, err := Lstat(at, final); err == nil {
			return pathError("mkdir", path, syscall.EEXIST)
		}
		err := retry(at, tmp, func() error { return at.Mkdir(tmp, 0o700) })
		if err != nil {
			return err
		}
		err = settle(at, tmp, mode, uid, gid)
		if err == nil {
			err = at.Rename(tmp, final)
		}
		if err != nil {
			at.Remove(tmp)
		}
		return err
	})
}

// settle gives a new folder its owner and mode. A folder that is not empty is not
// the new one: it is not given away.
func settle(at afero.Fs, name string, mode uint32, uid, gid int) error {
	f, err := at.OpenFile(name, os.O_RDONLY|nonblock|nofollow, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err == nil && !fi.IsDir() {
		err = &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return err
	}
	if names, err := f.Readdirnames(1); len(names) > 0 {
		return &RefusedError{Op: "mkdir", Path: name, Reason: errReplaced.Error()}
	} else if err != nil && err != io.EOF {
		return err
	}
	return own(f, mode, uid, gid)
}

// A straightDisk has shorter ways for what is done most. They say false when they
// could not go them, for whatever reason; then nothing has changed.
type straightDisk interface {
	// writeFile looks at the file, and reads it, if see is set and it has data of no
	// more than maxStraight; it returns what lstat says of a file with just that.
	writeFile(rel string, data []byte, mode uint32, uid, gid int, see bool) (Sig, bool)
	makeDir(rel string, mode uint32, uid, gid int) bool
	// read takes a whole file of at most max bytes, into buf if that has room, and
	// returns what lstat says of it.
	read(rel string, buf []byte, max int64) ([]byte, Sig, bool)
}

// straight returns the disk of a Root whose shorter ways path can take, or nil.
func straight(fsys afero.Fs, path string) straightDisk {
	root, ok := fsys.(*Root)
	if !ok || len(path) >= maxPath || !plain(path) {
		return nil
	}
	d, _ := root.disk.(straightDisk)
	return d
}

// beside runs fn where path's folder can be reached in one step: on a Root that is
// a Root of this folder, opened once.
func beside(op string, fsys afero.Fs, path string, fn func(at afero.Fs, tmp, final string) error) error {
	root, ok := fsys.(*Root)
	if !ok {
		return fn(fsys, TempName(path), path)
	}
	at, final, err := root.at(op, path)
	if err != nil {
		return err
	}
	defer at.Close()
	return fn(at, TempName(final), final)
}

// createTemp opens a new file that only its owner can read.
func createTemp(at afero.Fs, tmp string) (f afero.File, err error) {
	err = retry(at, tmp, func() error {
		f, err = at.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|nofollow, 0o600)
		return err
	})
	return f, err
}

// retry makes way for a temporary object once if create finds the name taken.
func retry(at afero.Fs, tmp string, create func() error) error {
	err := create()
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := at.RemoveAll(tmp); err != nil {
		return err
	}
	return create()
}

// fill writes a new file and gives it its owner, then its mode.
func fill(f afero.File, data []byte, mode uint32, uid, gid int) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	return own(f, mode, uid, gid)
}

// own sets owner, then mode, since a change of owner clears setuid.
func own(f afero.File, mode uint32, uid, gid int) error {
	o, ok := f.(fileOwner)
	if !ok {
		return &fs.PathError{Op: "chmod", Path: f.Name(), Err: errors.ErrUnsupported}
	}
	if uid != -1 || gid != -1 {
		if err := o.Chown(uid, gid); err != nil {
			return err
		}
	}
	return o.Chmod(fileMode(mode & bits12))
}

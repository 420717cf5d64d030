package rotate

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"instar/runtime/fsys"
)

// old is the n-th old file of a log, as it is found.
type old struct{ plain, packed bool }

// there reports whether the place is taken.
func (o old) there() bool { return o.plain || o.packed }

// isOld reports whether name is one that rotation gives: "x.1", "x.2.gz".
func isOld(name string) bool {
	_, _, ok := parseOld(name)
	return ok
}

// parseOld takes "x.2.gz" apart: 2, true.
func parseOld(name string) (n int, packed, ok bool) {
	name, packed = strings.CutSuffix(name, ".gz")
	i := strings.LastIndexByte(name, '.')
	if i < 1 {
		return 0, false, false
	}
	n, err := strconv.Atoi(name[i+1:])
	ok = err == nil && n > 0 && strconv.Itoa(n) == name[i+1:]
	return n, packed, ok
}

func plainName(name string, n int) string  { return name + "." + strconv.Itoa(n) }
func packedName(name string, n int) string { return plainName(name, n) + ".gz" }

// one rotates one log.
func (r *rotation) one(name string) error {
	info, err := fsys.Lstat(r.root, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%q is left alone: it is no regular file", name)
	}
	full := err == nil && info.Size() > 0
	olds, err := r.olds(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !full && len(olds) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.trusted(name); err != nil {
		return err
	}
	for i := range olds {
		if err := r.single(name, i+1, &olds[i]); err != nil {
			return err
		}
	}
	if full {
		if olds, err = r.shift(name, olds); err != nil {
			return err
		}
	}
	return r.tidy(name, olds)
}

// olds returns the old files of a log: the first one, the second, and so on. What
// comes behind a number that is missing is not ours, or its turn comes when that
// is taken.
func (r *rotation) olds(name string) ([]old, error) {
	names, err := r.names(path.Dir(name))
	if err != nil {
		return nil, err
	}
	byNumber := map[int]old{}
	for _, other := range names {
		rest, ok := strings.CutPrefix(other, path.Base(name)+".")
		if !ok {
			continue
		}
		if n, packed, ok := parseOld("x." + rest); ok {
			o := byNumber[n]
			o.packed, o.plain = o.packed || packed, o.plain || !packed
			byNumber[n] = o
		}
	}
	var olds []old
	for n := 1; byNumber[n].there(); n++ {
		olds = append(olds, byNumber[n])
	}
	return olds, nil
}

// single leaves one form of an old file that was being compressed: the plain one
// is complete.
func (r *rotation) single(name string, n int, o *old) error {
	if !o.plain || !o.packed {
		return nil
	}
	o.packed = false
	return r.remove(packedName(name, n))
}

// shift moves the log to the first place. What stands there moves up, and so on
// to the first place that is free: nothing is replaced.
func (r *rotation) shift(name string, olds []old) ([]old, error) {
	for n := len(olds); n >= 1; n-- {
		at := plainName
		if olds[n-1].packed {
			at = packedName
		}
		if err := r.move(at(name, n), at(name, n+1)); err != nil {
			return nil, err
		}
	}
	if err := r.move(name, plainName(name, 1)); err != nil {
		return nil, err
	}
	return r.olds(name) // also those that a number was missing before
}

func (r *rotation) move(from, to string) error {
	if err := r.before(); err != nil {
		return err
	}
	return r.root.Rename(from, to)
}

// tidy removes what is too old, the oldest first, and compresses from the second
// old file on.
func (r *rotation) tidy(name string, olds []old) error {
	for n := len(olds); n >= 1; n-- {
		o := olds[n-1]
		var err error
		switch {
		case n > r.keep && o.packed:
			err = r.remove(packedName(name, n))
		case n > r.keep:
			err = r.remove(plainName(name, n))
		case n > 1 && !o.packed:
			err = r.pack(plainName(name, n), packedName(name, n))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *rotation) remove(name string) error {
	if err := r.before(); err != nil {
		return err
	}
	return r.root.Remove(name)
}

// pack writes the compressed form of a file beside it, complete from the moment
// that it is there. A file that is still written to stays for the next time.
func (r *rotation) pack(plain, packed string) (err error) {
	if err := r.before(); err != nil {
		return err
	}
	in, err := r.root.Open(plain)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q is left alone: it is no regular file", plain)
	}
	unfinished := fsys.TempName(packed)
	if err := r.root.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := r.root.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			r.root.Remove(unfinished)
		}
	}()
	size, err := compress(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := r.before(); err != nil {
		return err
	}
	if err := r.like(unfinished, info); err != nil {
		return err
	}
	if now, err := in.Stat(); err != nil || now.Size() != size {
		return errors.Join(err, r.root.Remove(unfinished)) // somebody writes to it
	}
	if err := r.move(unfinished, packed); err != nil {
		return err
	}
	r.obsolete = append(r.obsolete, plain)
	return nil
}

// compress returns how much it has read.
func compress(out interface {
	io.Writer
	Sync() error
}, in io.Reader) (int64, error) {
	z := gzip.NewWriter(out)
	size, err := io.Copy(z, in)
	if err := errors.Join(err, z.Close()); err != nil {
		return size, err
	}
	return size, out.Sync()
}

// like gives a file the mode, times and owner of another. Where it cannot be
// given away, nobody else may read it.
func (r *rotation) like(name string, info fs.FileInfo) error {
	mode := fsys.Unix(info) & 0o777
	if uid, gid, ok := fsys.Owner(info); ok {
		now, err := fsys.Lstat(r.root, name)
		if err != nil {
			return err
		}
		u, g, _ := fsys.Owner(now)
		if (u != uid || g != gid) && fsys.Chown(r.root, name, uid, gid) != nil {
			mode &= 0o700
		}
	}
	if err := fsys.Chmod(r.root, name, mode); err != nil {
		return err
	}
	return r.root.Chtimes(name, info.ModTime(), info.ModTime())
}

// settle removes the plain files that were compressed, once that is on the disk.
func (r *rotation) settle() error {
	if len(r.obsolete) == 0 {
		return nil
	}
	if err := r.root.SyncFS(); err != nil {
		return err
	}
	for _, name := range r.obsolete {
		if err := r.remove(name); err != nil {
			return err
		}
	}
	return nil
}

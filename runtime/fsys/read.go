package fsys

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/afero"
)

// ReadRegular returns the content of a regular file of at most max bytes. What
// somebody else planted can't trap it: it follows no link at the end of the path
// (*RefusedError), waits for nobody, reads no folder, pipe, socket or device
// (*NotRegularError), and no more than max bytes (*TooLargeError).
func ReadRegular(fsys afero.Fs, path string, max int64) ([]byte, error) {
	if d := straight(fsys, path); d != nil {
		if data, _, ok := d.read(path, nil, max); ok {
			return data, nil
		}
	}
	f, err := fsys.OpenFile(path, os.O_RDONLY|nonblock|nofollow, 0)
	if err != nil {
		return nil, whyNot(fsys, path, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, &NotRegularError{Path: path, Kind: kindOf(fi.Mode())}
	}
	if fi.Size() > max {
		return nil, &TooLargeError{Path: path, Max: max}
	}
	return readUpTo(f, path, fi.Size(), max)
}

// readUpTo reads to the end, which should be near size, but not beyond max.
func readUpTo(f afero.File, path string, size, max int64) ([]byte, error) {
	data := make([]byte, 0, size+1)
	for {
		n, err := f.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case int64(len(data)) > max:
			return nil, &TooLargeError{Path: path, Max: max}
		case err == io.EOF:
			return data, nil
		case err != nil:
			return nil, err
		case len(data) == cap(data):
			data = append(data, 0)[:len(data)]
		}
	}
}

// whyNot makes the error of an open say what is in the way, if that is not a file.
func whyNot(fsys afero.Fs, path string, err error) error {
	if errors.Is(err, ErrRefused) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fi, statErr := Lstat(fsys, path)
	switch {
	case statErr != nil || fi.Mode().IsRegular():
		return err
	case fi.Mode()&fs.ModeSymlink != 0:
		return &RefusedError{Op: "open", Path: path, Link: path}
	}
	return &NotRegularError{Path: path, Kind: kindOf(fi.Mode())}
}

package planfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Found by its content, not by its name: a plan file is a regular file.

// Is reports whether a plan file stands at path.
func Is(path string) bool {
	info, err := os.Stat(path) // opening a pipe would wait for its other end
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, headSize)
	n, err := io.ReadFull(f, head)
	return (err == nil || errors.Is(err, io.ErrUnexpectedEOF)) && Recognize(head[:n])
}

// Unreadable returns why nobody can say whether the file at path, which is no
// profile by its name, is a plan file: whoever asks may not read it.
func Unreadable(path string) error {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || filepath.Ext(path) == ".star" {
		return nil
	}
	f, err := os.Open(path)
	if err == nil {
		return f.Close()
	}
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// Read reads the plan file at path. The error is a [BrokenError] or a
// [NewerError] when that cannot be understood.
func Read(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, err
	}
	file, err := Decode(data)
	var newer *NewerError
	switch {
	case errors.As(err, &newer):
		newer.Path = path
		return nil, newer
	case err != nil:
		return nil, &BrokenError{path, err}
	}
	return file, nil
}

// Writable says why path is no place for a plan file: something else stands
// there, which is not replaced.
func Writable(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Size() > 0 && !Is(path):
		return &OccupiedError{path}
	}
	return nil
}

// OccupiedError says that something which is no plan file stands where one is
// to be written.
type OccupiedError struct{ Path string }

func (e *OccupiedError) Error() string {
	return fmt.Sprintf("cannot save the plan as %s: what stands there is no plan file", e.Path)
}

// Hint says what the operator can do.
func (e *OccupiedError) Hint() string { return "choose another name, or remove it" }

// Write replaces the file at path, atomically and durably, by f. Only its owner
// may read it.
func Write(path string, f *File) (err error) {
	data, err := Encode(f)
	if err != nil {
		return fmt.Errorf("cannot save the plan: %w", err)
	}
	if err := Writable(path); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600, and nobody's link
	if err != nil {
		return fmt.Errorf("cannot save the plan: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("cannot save the plan: %w", err)
	}
	return nil
}

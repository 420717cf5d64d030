package fsys

import (
	"errors"
	"fmt"
	"io/fs"
)

// ErrRefused is what every *RefusedError is.
var ErrRefused = errors.New("refused")

// ErrNotRegular is what every *NotRegularError is.
var ErrNotRegular = errors.New("not a regular file")

// ErrTooLarge is what every *TooLargeError is.
var ErrTooLarge = errors.New("too large")

// A RefusedError says that an operation was possible but is not allowed:
// it would follow a symbolic link, leave the root, or change a file that has
// another name elsewhere. Nothing was changed.
type RefusedError struct {
	Op     string
	Path   string // as given by the caller
	Link   string // the symbolic link, relative to the root; "" if another reason
	Reason string // without a link: why
}

func (e *RefusedError) Error() string {
	switch {
	case e.Link != "" && e.Link != e.Path:
		return fmt.Sprintf("%s %s: refused: %q is a symbolic link", e.Op, e.Path, e.Link)
	case e.Link != "":
		return fmt.Sprintf("%s %s: refused: it is a symbolic link", e.Op, e.Path)
	}
	return fmt.Sprintf("%s %s: refused: %s", e.Op, e.Path, e.Reason)
}

// Is reports true for ErrRefused.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// A NotRegularError says that ReadRegular found something else than a file.
type NotRegularError struct {
	Path string
	Kind string // "folder", "pipe", "socket", "device", or "special file"
}

func (e *NotRegularError) Error() string {
	return fmt.Sprintf("read %s: it is a %s, not a regular file", e.Path, e.Kind)
}

// Is reports true for ErrNotRegular.
func (e *NotRegularError) Is(target error) bool { return target == ErrNotRegular }

// A TooLargeError says that ReadRegular found more than it may read.
type TooLargeError struct {
	Path string
	Max  int64 // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("read %s: larger than %d bytes", e.Path, e.Max)
}

// Is reports true for ErrTooLarge.
func (e *TooLargeError) Is(target error) bool { return target == ErrTooLarge }

// kindOf names the kind of an object that is no regular file and no link.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "folder"
	case mode&fs.ModeNamedPipe != 0:
		return "pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

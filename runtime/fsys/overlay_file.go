package fsys

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// maxFile bounds a file in memory, so that a wrong offset is an error and no
// crash.
const maxFile = 1 << 31

// An overlayFile is an open file or folder of an Overlay. It stays usable when its
// name is renamed or removed.
type overlayFile struct {
	o      *Overlay
	n      *node
	name   string
	flag   int
	pos    int64
	closed bool
	names  []string // of a folder: those not read yet
	listed bool
}

var _ fileOwner = (*overlayFile)(nil)

// Name returns the name that the file was opened with.
func (f *overlayFile) Name() string { return f.name }

// do runs fn with the lock held, unless the file is closed.
func (f *overlayFile) do(op string, fn func() error) error {
	f.o.mu.Lock()
	defer f.o.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: op, Path: f.name, Err: os.ErrClosed}
	}
	err := fn()
	if err == nil || err == io.EOF {
		return err
	}
	return &fs.PathError{Op: op, Path: f.name, Err: cause(err)}
}

// Close releases the file; a second time is an error.
func (f *overlayFile) Close() error {
	return f.do("close", func() error {
		f.closed = true
		if f.n.handles--; f.n.handles == 0 {
			f.n.forget()
		}
		return nil
	})
}

// Stat describes the open file.
func (f *overlayFile) Stat() (fi fs.FileInfo, err error) {
	err = f.do("stat", func() error {
		fi = f.n.snapshot(baseName(f.name))
		return nil
	})
	return fi, err
}

// Sync does nothing.
func (f *overlayFile) Sync() error { return f.do("sync", func() error { return nil }) }

// Chmod is os.File.Chmod.
func (f *overlayFile) Chmod(mode fs.FileMode) error {
	return f.do("chmod", func() error { f.n.chmod(mode); return nil })
}

// Chown is os.File.Chown.
func (f *overlayFile) Chown(uid, gid int) error {
	return f.do("chown", func() error { f.n.chown(uid, gid); return nil })
}

func (f *overlayFile) Read(b []byte) (n int, err error) {
	err = f.do("read", func() error {
		n, err = f.readAt(b, f.pos)
		f.pos += int64(n)
		if n > 0 {
			return nil
		}
		return err
	})
	return n, err
}

func (f *overlayFile) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "readat", Path: f.name, Err: errors.New("negative offset")}
	}
	err = f.do("read", func() error {
		n, err = f.readAt(b, off)
		if n == len(b) {
			return nil
		}
		return err
	})
	return n, err
}

// readAt reads what there is; io.EOF comes with what is short.
func (f *overlayFile) readAt(b []byte, off int64) (int, error) {
	switch {
	case f.flag&accessMode == os.O_WRONLY:
		return 0, syscall.EBADF
	case f.n.sig.isDir():
		return 0, syscall.EISDIR
	case len(b) == 0:
		return 0, nil
	case f.n.lower != nil && !f.n.loaded:
		return f.n.lower.ReadAt(b, off)
	case off >= int64(len(f.n.data)):
		return 0, io.EOF
	}
	n := copy(b, f.n.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *overlayFile) Write(b []byte) (n int, err error) {
	err = f.do("write", func() error {
		if err := f.writable(); err != nil {
			return err
		}
		if f.flag&os.O_APPEND != 0 && len(b) > 0 {
			f.pos = int64(len(f.n.data))
		}
		n, err = f.writeAt(b, f.pos)
		f.pos += int64(n)
		return err
	})
	return n, err
}

// WriteString is Write.
func (f *overlayFile) WriteString(s string) (int, error) { return f.Write([]byte(s)) }

func (f *overlayFile) WriteAt(b []byte, off int64) (n int, err error) {
	if f.flag&os.O_APPEND != 0 {
		return 0, errors.New("os: invalid use of WriteAt on file opened with O_APPEND")
	}
	if off < 0 {
		return 0, &fs.PathError{Op: "writeat", Path: f.name, Err: errors.New("negative offset")}
	}
	err = f.do("write", func() error {
		if err := f.writable(); err != nil {
			return err
		}
		n, err = f.writeAt(b, off)
		return err
	})
	return n, err
}

// writable checks how the file was opened, and brings its content into memory.
func (f *overlayFile) writable() error {
	if f.flag&accessMode == os.O_RDONLY {
		return syscall.EBADF
	}
	return f.n.load()
}

func (f *overlayFile) writeAt(b []byte, off int64) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if off > maxFile-int64(len(b)) {
		return 0, syscall.EFBIG
	}
	end := off + int64(len(b))
	if end > int64(len(f.n.data)) {
		f.n.resize(end)
	}
	copy(f.n.data[off:], b)
	f.n.written(f.o)
	return len(b), nil
}

// load copies the base's content, so that it can be changed.
func (n *node) load() error {
	if n.loaded {
		return nil
	}
	fi, err := n.lower.Stat()
	if err != nil {
		return err
	}
	if fi.Size() > maxFile {
		return syscall.EFBIG
	}
	data, err := io.ReadAll(io.NewSectionReader(n.lower, 0, maxFile))
	if err != nil {
		return err
	}
	n.data, n.loaded = data, true
	n.forget()
	return nil
}

// resize makes the content size bytes long, with zeros at the end.
func (n *node) resize(size int64) {
	have := int64(len(n.data))
	if size <= have {
		n.data = n.data[:size]
		return
	}
	n.data = slices.Grow(n.data, int(size-have))[:size]
	clear(n.data[have:])
}

// Truncate is os.File.Truncate.
func (f *overlayFile) Truncate(size int64) error {
	return f.do("truncate", func() error {
		switch {
		case size < 0 || f.flag&accessMode == os.O_RDONLY:
			return syscall.EINVAL
		case size > maxFile:
			return syscall.EFBIG
		}
		if err := f.n.load(); err != nil {
			return err
		}
		f.n.resize(size)
		f.n.written(f.o)
		return nil
	})
}

// Seek is os.File.Seek. The start of a folder is the only place in it.
func (f *overlayFile) Seek(offset int64, whence int) (pos int64, err error) {
	err = f.do("seek", func() error {
		switch whence {
		case io.SeekStart:
		case io.SeekCurrent:
			offset += f.pos
		case io.SeekEnd:
			offset += f.n.snapshot("").sig.Size
		default:
			return syscall.EINVAL
		}
		if offset < 0 {
			return syscall.EINVAL
		}
		f.pos, f.listed = offset, false
		pos = offset
		return nil
	})
	return pos, err
}

package fsys

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/afero"
)

// A rootFile is an open file of a Root. Everything is done by descriptor: names
// are only what errors show.
type rootFile struct {
	*os.File
	name string
	disk disk
}

var _ fileOwner = (*rootFile)(nil)

// Name returns the name that the file was opened with.
func (f *rootFile) Name() string { return f.name }

// Stat describes the open file.
func (f *rootFile) Stat() (fs.FileInfo, error) {
	fi, err := f.File.Stat()
	if err != nil {
		return nil, err
	}
	sig, _ := Stat(fi)
	return &info{baseName(f.name), sig}, nil
}

// Readdir is os.File.Readdir.
func (f *rootFile) Readdir(n int) ([]fs.FileInfo, error) { return f.disk.entries(f.File, n) }

// ReadDir is os.File.ReadDir.
func (f *rootFile) ReadDir(n int) ([]fs.DirEntry, error) {
	list, err := f.Readdir(n)
	entries := make([]fs.DirEntry, len(list))
	for i, fi := range list {
		entries[i] = fs.FileInfoToDirEntry(fi)
	}
	return entries, err
}

// mkdirAll is os.MkdirAll on any file system.
func mkdirAll(fsys afero.Fs, name string, perm fs.FileMode) error {
	fi, err := fsys.Stat(name)
	switch {
	case err == nil && fi.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
	case errors.Is(err, ErrRefused):
		return err
	}
	trimmed := strings.TrimRight(name, "/")
	if slash := strings.LastIndexByte(trimmed, '/'); slash > 0 {
		if err := mkdirAll(fsys, trimmed[:slash], perm); err != nil {
			return err
		}
	}
	if err := fsys.Mkdir(name, perm); err != nil {
		if fi, statErr := Lstat(fsys, name); statErr == nil && fi.IsDir() {
			return nil
		}
		return err
	}
	return nil
}

// ifExists drops an error that says that nothing is there.
func ifExists(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

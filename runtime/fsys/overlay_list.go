package fsys

import (
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// list returns the names in a folder, sorted.
func (o *Overlay) list(folder *node) ([]string, error) {
	names, err := o.listBase(folder)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		_, ours := folder.children[name]
		return ours
	})
	for name, child := range folder.children {
		if child != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// listBase returns the names that the base has in a folder.
func (o *Overlay) listBase(folder *node) ([]string, error) {
	if folder.base == "" {
		return nil, nil
	}
	f, err := o.base.OpenFile(folder.base, os.O_RDONLY|nonblock|nofollow, 0)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	return names, cause(err)
}

// Readdirnames is os.File.Readdirnames. The names come sorted, and as they were when
// reading began.
func (f *overlayFile) Readdirnames(n int) (names []string, err error) {
	err = f.do("readdirent", func() error {
		names, err = f.take(n)
		return err
	})
	return names, err
}

// take returns the next names, all of them if n is not positive.
func (f *overlayFile) take(n int) ([]string, error) {
	if !f.n.sig.isDir() {
		return nil, syscall.ENOTDIR
	}
	if !f.listed {
		if f.n.removed {
			return nil, syscall.ENOENT
		}
		names, err := f.o.list(f.n)
		if err != nil {
			return nil, err
		}
		f.names, f.listed = names, true
	}
	if n > 0 && len(f.names) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(f.names) {
		n = len(f.names)
	}
	names := slices.Clone(f.names[:n])
	f.names = f.names[n:]
	return names, nil
}

// Readdir is os.File.Readdir. What has gone since reading began is left out.
func (f *overlayFile) Readdir(n int) (list []fs.FileInfo, err error) {
	err = f.do("readdirent", func() error {
		names, err := f.take(n)
		list = make([]fs.FileInfo, 0, len(names))
		for _, name := range names {
			if child, lookErr := f.o.lookup(f.n, name); lookErr == nil {
				list = append(list, child.snapshot(name))
			} else if lookErr != syscall.ENOENT && err == nil {
				err = lookErr
			}
		}
		return err
	})
	return list, err
}

// ReadDir is os.File.ReadDir, sorted as Readdirnames is.
func (f *overlayFile) ReadDir(n int) ([]fs.DirEntry, error) {
	list, err := f.Readdir(n)
	entries := make([]fs.DirEntry, len(list))
	for i, fi := range list {
		entries[i] = fs.FileInfoToDirEntry(fi)
	}
	return entries, err
}

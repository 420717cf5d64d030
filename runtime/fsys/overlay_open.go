package fsys

import (
	"io/fs"
	"os"
	"syscall"

	"github.com/spf13/afero"
)

// Open opens for reading.
func (o *Overlay) Open(name string) (afero.File, error) { return o.OpenFile(name, os.O_RDONLY, 0) }

// Create is os.Create.
func (o *Overlay) Create(name string) (afero.File, error) {
	return o.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
}

// OpenFile is os.OpenFile. A pipe or a device of the base opens for reading only,
// and reads as empty; a socket does not open.
func (o *Overlay) OpenFile(name string, flag int, perm fs.FileMode) (afero.File, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, err := o.openPoint(name, flag)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	switch {
	case p.node == nil:
		p.node = o.create(p, kindFile|o.masked(perm))
	default:
		if err := o.admit(p, flag); err != nil {
			return nil, pathError("open", name, err)
		}
	}
	p.node.handles++
	return &overlayFile{o: o, n: p.node, name: name, flag: flag}, nil
}

// openPoint finds what to open, or where to create it.
func (o *Overlay) openPoint(name string, flag int) (*point, error) {
	const fresh = os.O_CREATE | os.O_EXCL
	follow := followAlways
	switch noLink := flag&nofollow != 0 && !o.noFollow; {
	case flag&fresh == fresh || noLink && flag&os.O_CREATE != 0:
		follow = followFresh
	case noLink:
		follow = followSlash
	case flag&os.O_CREATE != 0:
		follow = followCreate
	}
	p, err := o.resolve("open", name, follow)
	switch {
	case err != nil:
		return nil, err
	case p.node == nil && flag&os.O_CREATE == 0:
		return nil, syscall.ENOENT
	case p.node == nil:
		return p, nil
	case flag&fresh == fresh:
		return nil, syscall.EEXIST
	case p.slash && flag&os.O_CREATE != 0:
		return nil, syscall.EISDIR
	case p.node.sig.isLink():
		return nil, syscall.ELOOP
	case p.slash && !p.node.sig.isDir():
		return nil, syscall.ENOTDIR
	}
	return p, nil
}

// admit says whether an existing object can be opened so, and makes it ready.
func (o *Overlay) admit(p *point, flag int) error {
	n := p.node
	writing := flag&accessMode != os.O_RDONLY || flag&os.O_TRUNC != 0
	switch n.sig.Mode & kindMask {
	case kindDir:
		if writing || flag&os.O_CREATE != 0 {
			return syscall.EISDIR
		}
	case kindFile:
		if err := o.ready(n, flag); err != nil {
			return err
		}
	case kindSocket:
		return syscall.ENXIO
	default:
		if writing {
			return syscall.EROFS
		}
	}
	o.pin(p)
	return nil
}

// ready opens the base's file below n, or empties n.
func (o *Overlay) ready(n *node, flag int) error {
	if flag&os.O_TRUNC != 0 {
		n.forget()
		n.data, n.loaded = nil, true
		n.written(o)
		return nil
	}
	if n.loaded || n.lower != nil {
		return nil
	}
	f, err := o.base.OpenFile(n.base, os.O_RDONLY|nonblock|nofollow, 0)
	if err != nil {
		return cause(err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = syscall.ESTALE
	}
	if err != nil {
		f.Close()
		return cause(err)
	}
	n.lower = f
	return nil
}

// forget closes the base's file.
func (n *node) forget() {
	if n.lower != nil {
		n.lower.Close()
		n.lower = nil
	}
}

// written notes a change of content. Writing clears setuid and setgid unless
// root writes.
func (n *node) written(o *Overlay) {
	if o.uid != 0 {
		n.dropSpecial()
	}
	n.touch()
}

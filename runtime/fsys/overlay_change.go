package fsys

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Mkdir is os.Mkdir: Linux ignores setuid and setgid here.
func (o *Overlay) Mkdir(name string, perm fs.FileMode) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, err := o.resolve("mkdir", name, followNever)
	if err != nil {
		return err
	}
	if p.node != nil {
		return pathError("mkdir", name, syscall.EEXIST)
	}
	o.create(p, kindDir|o.masked(perm)&mkdirBits)
	return nil
}

// masked is a mode for a new object, less the umask.
func (o *Overlay) masked(perm fs.FileMode) uint32 { return unixMode(perm) & bits12 &^ o.umask }

// create puts a new object where nothing is.
func (o *Overlay) create(p *point, mode uint32) *node {
	o.pin(p)
	folder := p.folder()
	n := o.newNode(mode)
	if folder.sig.Mode&bitSetgid != 0 {
		n.sig.GID = folder.sig.GID
		if n.sig.isDir() {
			n.sig.Mode |= bitSetgid
		}
	}
	folder.set(p.name, n)
	folder.touch()
	return n
}

// MkdirAll is os.MkdirAll.
func (o *Overlay) MkdirAll(name string, perm fs.FileMode) error { return mkdirAll(o, name, perm) }

// SymlinkIfPossible is os.Symlink: target is taken as it is.
func (o *Overlay) SymlinkIfPossible(target, name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, err := o.resolve("symlink", name, followNever)
	if err == nil {
		err = linkable(p, target)
	}
	if err != nil {
		return linkError("symlink", target, name, err)
	}
	o.create(p, kindLink|0o777).target = target
	return nil
}

// linkable says whether a link can be made at p.
func linkable(p *point, target string) error {
	switch {
	case target == "":
		return syscall.ENOENT
	case len(target) >= maxPath:
		return syscall.ENAMETOOLONG
	case p.node != nil:
		return syscall.EEXIST
	case p.slash:
		return syscall.ENOENT
	}
	return nil
}

// Remove is os.Remove: a file, a link, or an empty folder.
func (o *Overlay) Remove(name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, err := o.existing("remove", name, followNever)
	if err != nil {
		return err
	}
	if err := o.removable(p); err != nil {
		return pathError("remove", name, err)
	}
	o.detach(p)
	return nil
}

func (o *Overlay) removable(p *point) error {
	if p.dot() {
		return syscall.EINVAL
	}
	if !p.node.sig.isDir() {
		return nil
	}
	names, err := o.list(p.node)
	if err == nil && len(names) > 0 {
		err = syscall.ENOTEMPTY
	}
	return err
}

// detach takes an object out of its folder.
func (o *Overlay) detach(p *point) {
	o.pin(p)
	folder := p.folder()
	if folder.base != "" {
		folder.set(p.name, nil)
	} else {
		delete(folder.children, p.name)
	}
	folder.touch()
	p.node.removed = true
	p.node.sig.Nlink = 0
	p.node.sig.Ctime = folder.sig.Ctime
}

// RemoveAll is os.RemoveAll: what is not there is no error.
func (o *Overlay) RemoveAll(name string) error {
	if name == "" {
		return nil
	}
	if endsInDot(name) {
		return pathError("RemoveAll", name, syscall.EINVAL)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	p, err := o.resolve("unlinkat", name, followNever)
	switch {
	case err != nil:
		return ifExists(err)
	case p.dot():
		return pathError("RemoveAll", name, syscall.EINVAL)
	case p.node != nil:
		o.detach(p)
	}
	return nil
}

// Rename is os.Rename: it replaces a file or a link, never a folder.
func (o *Overlay) Rename(from, to string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	err := o.rename(from, to)
	return linkError("rename", from, to, err)
}

func (o *Overlay) rename(from, to string) error {
	if err := o.replaceable(from, to); err != nil {
		return err
	}
	src, err := o.resolve("rename", from, followNever)
	if err != nil {
		return err
	}
	o.pin(src) // so that both ways go through the same nodes
	dst, err := o.resolve("rename", to, followNever)
	if err != nil {
		return err
	}
	if err := renamable(src, dst); err != nil || src.node == dst.node {
		return err
	}
	o.move(src, dst)
	return nil
}

// replaceable is what os.Rename looks at first: whether to is a folder, which is
// not replaced, but may take its own name by another spelling.
func (o *Overlay) replaceable(from, to string) error {
	there, err := o.existing("rename", to, followSlash)
	if err != nil || !there.node.sig.isDir() {
		var refused *RefusedError
		if errors.As(err, &refused) {
			return err
		}
		return nil
	}
	o.pin(there)
	here, err := o.existing("rename", from, followSlash)
	if err != nil {
		return err
	}
	if from == to || here.node != there.node {
		return syscall.EEXIST
	}
	return nil
}

// renamable holds the rules of the system call.
func renamable(src, dst *point) error {
	switch {
	case src.dot() || dst.dot():
		return syscall.EBUSY
	case src.node == nil:
		return syscall.ENOENT
	case !src.node.sig.isDir() && (src.slash || dst.slash):
		return syscall.ENOTDIR
	}
	for _, s := range dst.steps {
		if s.node == src.node {
			return syscall.EINVAL
		}
	}
	if dst.node != nil && dst.node != src.node && src.node.sig.isDir() && !dst.node.sig.isDir() {
		return syscall.ENOTDIR
	}
	return nil
}

func (o *Overlay) move(src, dst *point) {
	o.pin(dst)
	if dst.node != nil {
		o.detach(dst)
	}
	n, links := src.node, src.node.sig.Nlink
	o.detach(src)
	n.removed, n.sig.Nlink = false, links
	dst.folder().set(dst.name, n)
	dst.folder().touch()
}

// Chmod is os.Chmod.
func (o *Overlay) Chmod(name string, mode fs.FileMode) error {
	return o.alter("chmod", name, followAlways, func(n *node) { n.chmod(mode) })
}

// lchmod is Chmod that refuses a link.
func (o *Overlay) lchmod(name string, mode fs.FileMode) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, err := o.existing("chmod", name, followSlash)
	if err != nil {
		return err
	}
	if p.node.sig.isLink() {
		return &RefusedError{Op: "chmod", Path: name, Link: name}
	}
	o.pin(p)
	p.node.chmod(mode)
	return nil
}

func (n *node) chmod(mode fs.FileMode) {
	n.sig.Mode = n.sig.Mode&kindMask | unixMode(mode)&bits12
	n.sig.Ctime = time.Now().UnixNano()
}

// Chown is os.Chown; after NoFollow it is os.Lchown, as of a Root.
func (o *Overlay) Chown(name string, uid, gid int) error {
	if o.noFollow {
		return o.LchownIfPossible(name, uid, gid)
	}
	return o.alter("chown", name, followAlways, func(n *node) { n.chown(uid, gid) })
}

// LchownIfPossible is os.Lchown.
func (o *Overlay) LchownIfPossible(name string, uid, gid int) error {
	return o.alter("lchown", name, followSlash, func(n *node) { n.chown(uid, gid) })
}

// chown clears setuid and setgid of a file, as Linux does.
func (n *node) chown(uid, gid int) {
	if uid >= 0 {
		n.sig.UID = uid
	}
	if gid >= 0 {
		n.sig.GID = gid
	}
	if n.sig.isFile() {
		n.dropSpecial()
	}
	n.sig.Ctime = time.Now().UnixNano()
}

// dropSpecial clears setuid, and setgid where it means that.
func (n *node) dropSpecial() {
	n.sig.Mode &^= bitSetuid
	if n.sig.Mode&0o010 != 0 {
		n.sig.Mode &^= bitSetgid
	}
}

// Chtimes is os.Chtimes: a zero time leaves things as they are. The time of
// access is not kept.
func (o *Overlay) Chtimes(name string, _, mtime time.Time) error {
	return o.alter("chtimes", name, followAlways, func(n *node) {
		if !mtime.IsZero() {
			n.sig.Mtime = mtime.UnixNano()
		}
		n.sig.Ctime = time.Now().UnixNano()
	})
}

// alter changes an existing object in place.
func (o *Overlay) alter(op, name string, follow following, change func(*node)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, err := o.existing(op, name, follow)
	if err != nil {
		return err
	}
	o.pin(p)
	change(p.node)
	return nil
}

// accessMode is the part of an open flag that says reading, writing, or both.
const accessMode = os.O_RDONLY | os.O_WRONLY | os.O_RDWR

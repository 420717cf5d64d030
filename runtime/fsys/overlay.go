package fsys

import (
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/spf13/afero"
)

// An Overlay is a tree in memory over a base that is only read. What is changed
// is kept in memory and Diff tells it; the base is never changed. Without a base
// it is an ordinary file system in memory.
//
// It behaves as a Linux file system does for a privileged user: it checks no
// permissions, applies a umask, keeps modes with setuid, setgid and sticky,
// owners and times, and returns the same errors. Symbolic links are followed
// unless NoFollow was called; an absolute target starts at the top. There are no
// hard links. Pipes, sockets and devices of the base can be seen, renamed and
// removed, but not read or written.
//
// The base should not change meanwhile. What of it was opened or changed through the
// Overlay stays as it was then, the content excepted until it is written to.
//
// An Overlay is safe for concurrent use, once set up.
type Overlay struct {
	mu       sync.Mutex
	base     afero.Fs // nil: none
	top      *node
	noFollow bool
	umask    uint32
	uid, gid int
	lastIno  uint64

	lastFolder string // the folder of the last name, and the way to it; "": none
	lastSteps  []step
}

var (
	_ afero.Fs        = (*Overlay)(nil)
	_ afero.Symlinker = (*Overlay)(nil)
	_ Lchowner        = (*Overlay)(nil)
	_ Syncer          = (*Overlay)(nil)
	_ lchmoder        = (*Overlay)(nil)
)

// overlayDev is the device number of what an Overlay made.
const overlayDev = 0x0e1a

// NewOverlay returns an Overlay over base, which may be nil. New objects get the
// process's user, group and umask.
func NewOverlay(base afero.Fs) *Overlay {
	o := &Overlay{base: base, umask: processUmask(), uid: os.Geteuid(), gid: os.Getegid()}
	o.top = o.newNode(kindDir | 0o755)
	if base != nil {
		o.top.base = "."
		if fi, err := Lstat(base, "."); err == nil && fi.IsDir() {
			o.top.sig = o.signature(fi)
		}
	}
	return o
}

// NoFollow makes the Overlay refuse symbolic links as Root does, and returns it.
func (o *Overlay) NoFollow() *Overlay {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.noFollow = true
	return o
}

// SetUmask sets what is taken from the modes of new objects, and returns o.
func (o *Overlay) SetUmask(umask uint32) *Overlay {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.umask = umask & 0o777
	return o
}

// SetOwner sets whom new objects belong to, and returns o.
func (o *Overlay) SetOwner(uid, gid int) *Overlay {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.uid, o.gid = uid, gid
	return o
}

// Name returns "Overlay".
func (o *Overlay) Name() string { return "Overlay" }

// SyncFS does nothing.
func (o *Overlay) SyncFS() error { return nil }

// A node is one object. Its place in the tree is its parent's map; a node that is
// in no map (removed, or of the base and not yet touched) lives as long as it is used.
type node struct {
	sig    Sig    // but for the size of a file in memory
	target string // of a link
	base   string // where in the base the entries or the content are; "": nowhere

	children map[string]*node // of a folder; nil says that the base's is hidden
	removed  bool

	loaded  bool // a file's content is in data, not in the base
	data    []byte
	lower   afero.File // the base's file, while handles are open
	handles int
}

func (n *node) set(name string, child *node) {
	if n.children == nil {
		n.children = map[string]*node{}
	}
	n.children[name] = child
}

// snapshot is what lstat says now.
func (n *node) snapshot(name string) *info {
	sig := n.sig
	switch {
	case n.loaded:
		sig.Size = int64(len(n.data))
	case sig.isLink():
		sig.Size = int64(len(n.target))
	}
	return &info{name, sig}
}

// touch notes that the content changed.
func (n *node) touch() {
	n.sig.Mtime = time.Now().UnixNano()
	n.sig.Ctime = n.sig.Mtime
}

// newNode makes an object that is in no folder yet. mode is kind and bits.
func (o *Overlay) newNode(mode uint32) *node {
	n := &node{sig: Sig{Mode: mode, UID: o.uid, GID: o.gid, Nlink: 1, Dev: overlayDev}}
	o.lastIno++
	n.sig.Ino = o.lastIno
	n.loaded = n.sig.isFile()
	n.touch()
	return n
}

// adopt makes an object of the base one of ours, in no folder yet.
func (o *Overlay) adopt(path string, fi fs.FileInfo) (*node, error) {
	n := &node{sig: o.signature(fi), base: path}
	if n.sig.isLink() {
		target, err := Readlink(o.base, path)
		if err != nil {
			return nil, err
		}
		n.target = target
	}
	return n, nil
}

// signature is Stat, completed where the base says little.
func (o *Overlay) signature(fi fs.FileInfo) Sig {
	sig, ok := Stat(fi)
	if !ok || sig.UID < 0 {
		sig.UID, sig.GID = o.uid, o.gid
	}
	return sig
}

// Stat describes what a name leads to.
func (o *Overlay) Stat(name string) (fs.FileInfo, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, err := o.existing("stat", name, followAlways)
	if err != nil {
		return nil, err
	}
	return p.node.snapshot(baseName(name)), nil
}

// LstatIfPossible describes the object itself.
func (o *Overlay) LstatIfPossible(name string) (fs.FileInfo, bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, err := o.existing("lstat", name, followSlash)
	if err != nil {
		return nil, true, err
	}
	return p.node.snapshot(baseName(name)), true, nil
}

// ReadlinkIfPossible returns a link's text.
func (o *Overlay) ReadlinkIfPossible(name string) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, err := o.existing("readlink", name, followSlash)
	if err != nil {
		return "", err
	}
	if !p.node.sig.isLink() {
		return "", pathError("readlink", name, errInvalid)
	}
	return p.node.target, nil
}

// untouched returns the base of an Overlay that nothing was changed in, if names
// mean the same there: then that can be asked as well.
func (o *Overlay) untouched() *Root {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.noFollow || len(o.top.children) > 0 || o.top.base != "." {
		return nil
	}
	base, ok := o.base.(*Root)
	if !ok {
		return nil
	}
	if top, err := base.disk.lstat("."); err != nil || top != o.top.sig {
		return nil
	}
	return base
}

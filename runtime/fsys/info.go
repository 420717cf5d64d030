package fsys

import (
	"io/fs"
	"time"
)

// The file kinds of Sig.Mode, and its 12 permission bits: the numbers of Linux,
// on every platform.
const (
	kindMask   = 0o170000
	kindSocket = 0o140000
	kindLink   = 0o120000
	kindFile   = 0o100000
	kindBlock  = 0o060000
	kindDir    = 0o040000
	kindChar   = 0o020000
	kindPipe   = 0o010000

	bits12    = 0o7777
	bitSetuid = 0o4000
	bitSetgid = 0o2000
	bitSticky = 0o1000

	mkdirBits = 0o1777 // those that mkdir sets
)

// A Sig is what lstat says about an object, comparable with ==. While it stays
// the same, the content does too (but for writes within the clock's grain).
type Sig struct {
	Size  int64  // bytes
	Mtime int64  // of the content, nanoseconds since 1970
	Ctime int64  // of anything, nanoseconds since 1970; 0 on Windows
	Ino   uint64 // 0 where unknown
	Dev   uint64 // 0 where unknown
	Nlink uint64 // names of the object; 0 where unknown
	Mode  uint32 // Unix st_mode: kind and 12 permission bits, numbered as on Linux
	UID   int    // -1 where unknown
	GID   int    // -1 where unknown
}

// Type is what stands there: the type bits of a Go mode.
func (s Sig) Type() fs.FileMode { return fileMode(s.Mode).Type() }

func (s Sig) isDir() bool  { return s.Mode&kindMask == kindDir }
func (s Sig) isLink() bool { return s.Mode&kindMask == kindLink }
func (s Sig) isFile() bool { return s.Mode&kindMask == kindFile }

// shared reports whether s is a file that has further names.
func (s Sig) shared() bool { return !s.isDir() && !s.isLink() && s.Nlink > 1 }

// info is the fs.FileInfo of Root and Overlay: a snapshot, never changed.
type info struct {
	name string
	sig  Sig
}

func (i *info) Name() string       { return i.name }
func (i *info) Size() int64        { return i.sig.Size }
func (i *info) Mode() fs.FileMode  { return fileMode(i.sig.Mode) }
func (i *info) ModTime() time.Time { return time.Unix(0, i.sig.Mtime) }
func (i *info) IsDir() bool        { return i.sig.isDir() }

// Sys returns the *Sig.
func (i *info) Sys() any { return &i.sig }

// Stat returns what fi knows of its object. It understands what Root, Overlay
// and os return; false says that fi came from elsewhere and that what is unknown
// (inode, owner, times but Mtime) is 0 or -1.
func Stat(fi fs.FileInfo) (Sig, bool) {
	if i, ok := fi.(*info); ok {
		return i.sig, true
	}
	if s, ok := fi.Sys().(*Sig); ok {
		return *s, true
	}
	s := Sig{Size: fi.Size(), Mtime: fi.ModTime().UnixNano(), Mode: unixMode(fi.Mode()), UID: -1, GID: -1}
	return s, s.fill(fi.Sys())
}

// Owner returns who owns the object; false where that is unknown.
func Owner(fi fs.FileInfo) (uid, gid int, ok bool) {
	s, ok := Stat(fi)
	return s.UID, s.GID, ok && s.UID >= 0
}

// Unix returns the 12 permission bits: setuid 04000, setgid 02000, sticky
// 01000 and rwxrwxrwx.
func Unix(fi fs.FileInfo) uint32 { return unixMode(fi.Mode()) & bits12 }

var specials = []struct {
	unix uint32
	mode fs.FileMode
}{
	{bitSetuid, fs.ModeSetuid},
	{bitSetgid, fs.ModeSetgid},
	{bitSticky, fs.ModeSticky},
}

var kinds = []struct {
	unix uint32
	mode fs.FileMode
}{
	{kindFile, 0},
	{kindDir, fs.ModeDir},
	{kindLink, fs.ModeSymlink},
	{kindPipe, fs.ModeNamedPipe},
	{kindSocket, fs.ModeSocket},
	{kindBlock, fs.ModeDevice},
	{kindChar, fs.ModeDevice | fs.ModeCharDevice},
}

// unixMode is st_mode for a Go mode.
func unixMode(mode fs.FileMode) uint32 {
	u := uint32(mode.Perm())
	for _, s := range specials {
		if mode&s.mode != 0 {
			u |= s.unix
		}
	}
	for _, k := range kinds {
		if mode.Type() == k.mode {
			u |= k.unix
		}
	}
	return u
}

// fileMode is the Go mode for st_mode.
func fileMode(u uint32) fs.FileMode {
	mode := fs.FileMode(u & 0o777)
	for _, s := range specials {
		if u&s.unix != 0 {
			mode |= s.mode
		}
	}
	for _, k := range kinds {
		if u&kindMask == k.unix {
			return mode | k.mode
		}
	}
	if u&kindMask != 0 {
		mode |= fs.ModeIrregular
	}
	return mode
}

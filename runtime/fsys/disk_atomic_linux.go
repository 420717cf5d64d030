package fsys

import (
	"bytes"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// writeFile does what WriteFile does in as few calls as can be: on a new tree,
// that is most of the time that an apply takes. False says that nothing has
// changed, and that the long way has to be gone: it knows what to do about what
// is in the way, and how to tell.
func (d *fdDisk) writeFile(rel string, data []byte, mode uint32, uid, gid int, see bool) (sig Sig, ok bool) {
	p, err := d.place(rel)
	if err != nil {
		return Sig{}, false
	}
	defer p.close()
	tmp := TempName(p.base)
	const flag = unix.O_RDWR | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(p.fd, tmp, flag, 0o600)
	if err != nil {
		return Sig{}, false
	}
	n, err := 0, error(nil)
	if len(data) > 0 {
		n, err = unix.Write(fd, data)
	}
	if err == nil && n < len(data) {
		err = unix.EINTR // or no room: the long way finds out
	}
	if err == nil && !owned(fd, uid, gid) {
		err = unix.Fchown(fd, uid, gid)
	}
	if err == nil {
		err = unix.Fchmod(fd, mode&bits12)
	}
	if !see { // where closing may fail, nothing vouches
		if closeErr := unix.Close(fd); err == nil {
			err = closeErr
		}
	}
	if err == nil { // a folder at that name is no place for a file: EISDIR
		err = unix.Renameat(p.fd, tmp, p.fd, p.base)
	}
	if see {
		if err == nil {
			sig = seen(fd, data)
		}
		_ = unix.Close(fd)
	}
	if err != nil {
		_ = unix.Unlinkat(p.fd, tmp, 0) // if it stays, the long way removes it
	}
	return sig, err == nil
}

// seen returns what lstat says of an open file that holds data; the zero Sig when it
// does not. It looks first, so that a change while it reads shows in the next look.
func seen(fd int, data []byte) Sig {
	var st unix.Stat_t
	if len(data) > maxStraight || unix.Fstat(fd, &st) != nil || st.Size != int64(len(data)) {
		return Sig{}
	}
	buf := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buf)
	if len(*buf) < len(data) {
		*buf = make([]byte, len(data))
	}
	n, err := unix.Pread(fd, (*buf)[:len(data)], 0)
	if err != nil || !bytes.Equal((*buf)[:max(n, 0)], data) {
		return Sig{}
	}
	return sigOf(&st)
}

var readBuffers = sync.Pool{New: func() any { return &[]byte{} }}

// owned reports whether an open file has this owner already; -1 is any.
func owned(fd, uid, gid int) bool {
	if uid == -1 && gid == -1 {
		return true
	}
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && (uid == -1 || int(st.Uid) == uid) && (gid == -1 || int(st.Gid) == gid)
}

// makeDir does what MakeDir does where one call makes a folder that is at once as
// it must be: no bit is one that mkdir or the umask would drop, and whoever runs
// this is the owner. False says that there is no new folder.
func (d *fdDisk) makeDir(rel string, mode uint32, uid, gid int) bool {
	if mode&^0o777 != 0 || mode&processUmask() != 0 || uid != -1 && uid != os.Geteuid() || gid != -1 && gid != os.Getegid() {
		return false
	}
	p, err := d.place(rel)
	if err != nil {
		return false
	}
	defer p.close()
	if unix.Mkdirat(p.fd, p.base, mode) != nil {
		return false
	}
	sig, err := statAt(p.fd, p.base)
	if err == nil && sig.Mode == kindDir|mode && (uid == -1 || sig.UID == uid) && (gid == -1 || sig.GID == gid) {
		return true
	}
	// The folder that it is in gives its own group, or an access list.
	_ = unix.Unlinkat(p.fd, p.base, unix.AT_REMOVEDIR) // if it stays, the long way says so
	return false
}

// read takes a whole file in as few calls as can be.
func (d *fdDisk) read(rel string, buf []byte, max int64) ([]byte, Sig, bool) {
	fd, err := d.openat2(rel, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, Sig{}, false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return nil, Sig{}, false
	}
	sig := sigOf(&st)
	if !sig.isFile() || sig.Size > min(max, maxStraight) {
		return nil, Sig{}, false
	}
	if int64(cap(buf)) <= sig.Size {
		buf = make([]byte, sig.Size+1)
	}
	n, err := unix.Read(fd, buf[:sig.Size+1]) // one more, to see that it has not grown
	if err != nil || int64(n) != sig.Size {
		return nil, Sig{}, false
	}
	return buf[:n], sig, true
}

// maxStraight is the size of the largest file that is read by one call, in bytes.
const maxStraight = 1 << 20

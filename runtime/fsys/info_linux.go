package fsys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// fill completes s from what an os.FileInfo carries, if it is that.
func (s *Sig) fill(sys any) bool {
	st, ok := sys.(*syscall.Stat_t)
	if !ok {
		return false
	}
	s.Mode = st.Mode
	s.Ctime = st.Ctim.Nano()
	s.Ino, s.Dev, s.Nlink = st.Ino, uint64(st.Dev), uint64(st.Nlink)
	s.UID, s.GID = int(st.Uid), int(st.Gid)
	return true
}

// sigOf is the Sig of a stat buffer.
func sigOf(st *unix.Stat_t) Sig {
	return Sig{
		Size:  st.Size,
		Mtime: st.Mtim.Nano(),
		Ctime: st.Ctim.Nano(),
		Ino:   st.Ino,
		Dev:   uint64(st.Dev),
		Nlink: uint64(st.Nlink),
		Mode:  st.Mode,
		UID:   int(st.Uid),
		GID:   int(st.Gid),
	}
}

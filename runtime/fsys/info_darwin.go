package fsys

import "syscall"

// fill completes s from what an os.FileInfo carries, if it is that.
func (s *Sig) fill(sys any) bool {
	st, ok := sys.(*syscall.Stat_t)
	if !ok {
		return false
	}
	s.Ctime = st.Ctimespec.Nano()
	s.Ino, s.Dev, s.Nlink = st.Ino, uint64(st.Dev), uint64(st.Nlink)
	s.UID, s.GID = int(st.Uid), int(st.Gid)
	return true
}

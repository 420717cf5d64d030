package fsys

import "github.com/spf13/afero"

// Most clocks that stamp files stand still for some milliseconds: of what was changed
// within these, lstat says the same as of what was changed once more. Since Linux 6.13
// many file systems give what is changed after somebody has looked at it a time of its
// own (multigrain timestamps).

// Vouches reports whether what lstat says of a file differs after every change from
// what it said before, however soon the change came: then a content that is read after
// lstat is the one that lstat tells of.
func Vouches(fsys afero.Fs) bool {
	root, ok := fsys.(*Root)
	if !ok {
		return false
	}
	d, ok := root.disk.(interface{ vouches() bool })
	return ok && d.vouches()
}

// WriteFileSeen is WriteFile, and returns what lstat says of the file, where that
// vouches for this content from now on; else the zero Sig.
func WriteFileSeen(fsys afero.Fs, path string, data []byte, mode uint32, uid, gid int) (Sig, error) {
	if d := straight(fsys, path); d != nil {
		if sig, ok := d.writeFile(path, data, mode, uid, gid, Vouches(fsys)); ok {
			return sig, nil
		}
	}
	return Sig{}, writeFile(fsys, path, data, mode, uid, gid)
}

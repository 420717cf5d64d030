package fsys

import (
	"runtime"
	"strings"
	"sync"

	"github.com/spf13/afero"
)

// parallel is from how many paths on a second processor pays.
const parallel = 512

// LstatEach describes many objects, calling fn once for each path in turn with
// what Lstat would have said; it stops at the first error that fn returns, and
// returns that. On a Root it costs half of that many calls of Lstat, and uses
// all processors, if the paths are sorted.
func LstatEach(fsys afero.Fs, paths []string, fn func(i int, sig Sig, err error) error) error {
	if o, ok := fsys.(*Overlay); ok {
		if base := o.untouched(); base != nil {
			fsys = base
		}
	}
	r, ok := fsys.(*Root)
	if !ok {
		for i, path := range paths {
			sig, err := lstatSig(fsys, path)
			if err := fn(i, sig, err); err != nil {
				return err
			}
		}
		return nil
	}
	if len(paths) < parallel {
		return r.lstatSome(paths, fn)
	}
	type answer struct {
		sig Sig
		err error
	}
	answers := make([]answer, len(paths))
	InParts(len(paths), func(from, to int) {
		_ = r.lstatSome(paths[from:to], func(i int, sig Sig, err error) error { // it returns what this does
			answers[from+i] = answer{sig, err}
			return nil
		})
	})
	for i, a := range answers {
		if err := fn(i, a.sig, a.err); err != nil {
			return err
		}
	}
	return nil
}

func lstatSig(fsys afero.Fs, path string) (Sig, error) {
	fi, err := Lstat(fsys, path)
	if err != nil {
		return Sig{}, err
	}
	sig, _ := Stat(fi)
	return sig, nil
}

// InParts calls do for parts of n things, on all processors, and returns when all
// are done.
func InParts(n int, do func(from, to int)) {
	parts := 1
	if n >= parallel {
		parts = runtime.GOMAXPROCS(0)
	}
	var all sync.WaitGroup
	for k := 1; k < parts; k++ {
		all.Go(func() { do(k*n/parts, (k+1)*n/parts) })
	}
	do(0, n/parts)
	all.Wait()
}

// lstatSome is LstatEach on one processor. A folder's handle is kept while the
// paths stay in it, and for no more than a batch of them.
func (r *Root) lstatSome(paths []string, fn func(i int, sig Sig, err error) error) error {
	const batch = 64
	for i := 0; i < len(paths); {
		folder, self := paths[i], true // described, then what is in it
		if i+1 == len(paths) || !childOf(paths[i+1], folder) || !plain(folder) {
			folder, _ = split(folder)
			self = false
		}
		end := i
		if self {
			end++
		}
		for end < len(paths) && end-i < batch && childOf(paths[end], folder) && (end == i || !folderOf(paths, end)) {
			end++
		}
		end = max(end, i+1)
		if err := r.lstatBatch(folder, self, paths[i:end], i, fn); err != nil {
			return err
		}
		i = end
	}
	return nil
}

// folderOf reports whether what comes behind paths[i] is in it.
func folderOf(paths []string, i int) bool {
	return i+1 < len(paths) && childOf(paths[i+1], paths[i])
}

// childOf reports whether path is clean, and directly in folder.
func childOf(path, folder string) bool {
	if folder == "." {
		return strings.IndexByte(path, '/') < 0 && plain(path)
	}
	n := len(folder)
	return len(path) > n+1 && path[n] == '/' && path[:n] == folder && strings.IndexByte(path[n+1:], '/') < 0 && plain(path)
}

// lstatBatch describes paths that are all in one folder; with self, the first is
// that folder.
func (r *Root) lstatBatch(folder string, self bool, paths []string, start int, fn func(int, Sig, error) error) error {
	var at disk
	if len(paths) > 1 {
		if sub, err := r.disk.sub(folder); err == nil {
			at = sub
			defer sub.close()
		}
	}
	for i, path := range paths {
		var sig Sig
		var err error
		switch {
		case at == nil:
			sig, err = lstatSig(r, path)
		case self && i == 0:
			if sig, err = at.lstat("."); err != nil {
				sig, err = lstatSig(r, path)
			}
		default:
			_, base := split(path)
			sig, err = at.lstat(base)
			err = r.fail("lstat", path, path, err)
		}
		if err := fn(start+i, sig, err); err != nil {
			return err
		}
	}
	return nil
}

// ReadEach reads many files as ReadRegular does, on all processors: fn is called
// once for each, from several goroutines at once, with the content, which is not
// its to keep, and what Lstat says of the file that was read.
func ReadEach(fsys afero.Fs, paths []string, max int64, fn func(i int, sig Sig, data []byte, err error)) {
	InParts(len(paths), func(from, to int) {
		buf := make([]byte, 64<<10)
		for i := from; i < to; i++ {
			if d := straight(fsys, paths[i]); d != nil {
				if data, sig, ok := d.read(paths[i], buf, max); ok {
					fn(i, sig, data, nil)
					continue
				}
			}
			sig, err := lstatSig(fsys, paths[i])
			data, readErr := ReadRegular(fsys, paths[i], max)
			if readErr != nil {
				sig, err = Sig{}, readErr
			}
			fn(i, sig, data, err)
		}
	})
}

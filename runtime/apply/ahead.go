package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"maps"
	"slices"
	"sort"

	"instar/runtime/fsys"
	"instar/runtime/plan"
)

// Ahead is what a view knows before it is asked: what lstat said of many paths,
// looked at in one go, and which of their contents need not be read, since they
// were verified when lstat said the same. It counts until something is changed.
type Ahead struct {
	seen map[string]seen
	// hashes holds the hash of a content that was verified.
	hashes map[string]string
}

type seen struct {
	sig     fsys.Sig
	missing bool
}

// Look looks at many paths at once, which costs less than one by one, and has
// LookAhead take what it found. It may run while the view is in use. The paths
// are relative to the root, and sorted. verified, if not nil, returns the hash of
// what stands at paths[i] where its content was verified while lstat said what it
// says now; "" elsewhere. With it, one processor is left to others.
func (v *View) Look(paths []string, verified func(i int, sig fsys.Sig) string) *Ahead {
	a := &Ahead{seen: make(map[string]seen, len(paths)), hashes: map[string]string{}}
	if _, err := fsys.Lstat(v.disk, "."); err != nil && isMissing(err) {
		for _, path := range paths { // nothing is below what is not there
			a.seen[path] = seen{missing: true}
		}
		return a
	}
	if verified != nil {
		a.hashes = make(map[string]string, len(paths))
	}
	see := func(i int, sig fsys.Sig, err error) error {
		switch {
		case err == nil:
			a.seen[paths[i]] = seen{sig: sig}
		case isMissing(err):
			a.seen[paths[i]] = seen{missing: true}
		default:
			return nil // whoever asks is told why
		}
		if verified != nil && err == nil {
			if hash := verified(i, sig); hash != "" {
				a.hashes[paths[i]] = hash
			}
		}
		return nil
	}
	if verified == nil {
		_ = fsys.LstatEach(v.disk, paths, see) // it returns what see does
		return a
	}
	from := 0 // in small parts, one processor does it: another one evaluates
	for part := range slices.Chunk(paths, 256) {
		_ = fsys.LstatEach(v.disk, part, func(i int, sig fsys.Sig, err error) error { return see(from+i, sig, err) })
		from += len(part)
	}
	return a
}

// Stood is what Look would find where everything stands as it did: seen returns what
// lstat said of paths[i], false if nothing stood there.
func Stood(paths []string, seenAt func(i int) (fsys.Sig, bool), verified func(i int, sig fsys.Sig) string) *Ahead {
	a := &Ahead{seen: make(map[string]seen, len(paths)), hashes: make(map[string]string, len(paths))}
	for i, path := range paths {
		sig, stands := seenAt(i)
		if !stands {
			a.seen[path] = seen{missing: true}
			continue
		}
		a.seen[path] = seen{sig: sig}
		if hash := verified(i, sig); hash != "" {
			a.hashes[path] = hash
		}
	}
	return a
}

// LookAhead has the view answer from what Look found, until Forget.
func (v *View) LookAhead(a *Ahead) { v.ahead = a }

// lookAhead looks at those of the parts' paths that were not looked at yet.
func (v *View) lookAhead(expanded [][]plan.PathResource) {
	var more []string
	for _, parts := range expanded {
		for _, part := range parts {
			path := part.Target().Path
			if v.ahead != nil {
				if _, known := v.ahead.seen[path]; known {
					continue
				}
			}
			more = append(more, path)
		}
	}
	if v.ahead == nil {
		sort.Strings(more)
		v.ahead = v.Look(more, nil)
		return
	}
	if len(more) > 0 {
		sort.Strings(more)
		maps.Copy(v.ahead.seen, v.Look(more, nil).seen)
	}
}

// Forget ends what LookAhead began: something is about to be changed. What lstat
// had said it still tells by [View.Seen].
func (v *View) Forget() {
	if v.ahead != nil {
		v.before, v.ahead = v.ahead, nil
	}
}

// Seen returns what lstat said of a path before anything was changed, if that is
// known.
func (v *View) Seen(path string) (fsys.Sig, bool) {
	a := v.ahead
	if a == nil {
		a = v.before
	}
	if a == nil {
		return fsys.Sig{}, false
	}
	s, ok := a.seen[path]
	return s.sig, ok && !s.missing
}

// foreseen answers Lstat from what is known ahead.
func (v *View) foreseen(rel string) (info plan.Info, err error, ok bool) {
	if v.ahead == nil {
		return plan.Info{}, nil, false
	}
	s, ok := v.ahead.seen[rel]
	if !ok {
		return plan.Info{}, nil, false
	}
	if s.missing {
		return plan.Info{}, &fs.PathError{Op: "lstat", Path: rel, Err: fs.ErrNotExist}, true
	}
	return infoOf(s.sig), nil, true
}

// isMissing reports whether it is known ahead that nothing is there.
func (v *View) isMissing(rel string) bool { return v.ahead != nil && v.ahead.seen[rel].missing }

// Holds implements [plan.Knower].
func (v *View) Holds(path string, content []byte) (same, known bool) {
	if v.ahead == nil {
		return false, false
	}
	hash, known := v.ahead.hashes[path]
	if !known {
		return false, false
	}
	var text [2 * sha256.Size]byte
	sum := sha256.Sum256(content)
	hex.Encode(text[:], sum[:])
	return hash == string(text[:]), true
}

// Package drift compares what an instance owns with what stands in its root, and
// what was started with what runs. It reads everything, contents too, whatever
// timestamps say, and changes nothing.
//
// A [Row] is one thing that is not as it was applied.
package drift

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/service"
	"instar/runtime/state"
)

// Row is one difference.
type Row struct {
	Path     string `json:"path,omitempty"` // relative to the root
	Name     string `json:"name,omitempty"` // of a service, run or timer
	What     string `json:"what"`           // "missing", "type", "content", "mode", "owner", "target", "service", "unsettled", "unreadable"
	Expected string `json:"expected"`
	Found    string `json:"found"`
	// Since is when what stands there was last changed; of what is missing, when
	// the names in the folder that is left were. The difference is not younger. nil
	// when nothing is known.
	Since *time.Time `json:"since"`
	At    string     `json:"at,omitempty"` // the line that declares it
}

// Root is how an instance's root is read: no link below it is followed.
type Root interface {
	Lstat(name string) (fs.FileInfo, error)
	// LstatEach calls do for each path, in order, and stops at its first error.
	LstatEach(names []string, do func(i int, sig fsys.Sig, err error) error) error
	ReadFile(name string) ([]byte, error) // regular files only
	Readlink(name string) (string, error)
}

// Expect returns what a link's text or a file's content was, by its hash, where
// that is known.
type Expect func(hash string) ([]byte, bool)

// Files compares what is owned with what stands in the root. Rows come in the
// order of paths. What cannot be read is a row, too. Where the instance has
// secrets, no digest is told of a file that others may not read: a short secret
// could be guessed by it.
func Files(root Root, owned map[string]state.Owned, expect Expect, secrets bool) ([]Row, error) {
	f := &files{root: root, expect: expect, secrets: secrets}
	names := plan.SortedKeys(owned)
	err := root.LstatEach(names, func(i int, sig fsys.Sig, err error) error {
		return f.one(names[i], owned[names[i]], sig, err)
	})
	return f.rows, err
}

type files struct {
	root    Root
	expect  Expect
	secrets bool
	rows    []Row
}

func (f *files) add(r Row, rec state.Owned) {
	r.At = rec.At.String()
	f.rows = append(f.rows, r)
}

// one compares one path.
func (f *files) one(name string, rec state.Owned, sig fsys.Sig, err error) error {
	switch {
	case rec.Claim != nil:
		f.add(Row{Path: name, What: "unsettled", Expected: "as applied", Found: "an apply that has not come to its end was to change it"}, rec)
		return nil
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fsys.ErrRefused):
		f.add(Row{Path: name, What: "missing", Expected: string(rec.Kind), Found: "nothing", Since: f.folderChanged(name)}, rec)
		return nil
	case errors.Is(err, fs.ErrPermission):
		f.add(Row{Path: name, What: "unreadable", Expected: string(rec.Kind), Found: "permission denied"}, rec)
		return nil
	case err != nil:
		return err
	}
	since := changedAt(sig)
	if kind := kindOf(sig.Type()); kind != string(rec.Kind) {
		f.add(Row{Path: name, What: "type", Expected: string(rec.Kind), Found: kind, Since: since}, rec)
		return nil
	}
	if rec.Once || rec.Implicit || rec.By != "" { // there is no more to it
		return nil
	}
	if err := f.content(name, rec, since); err != nil {
		return err
	}
	if rec.Kind != plan.KindLink {
		if got := plan.Mode(sig.Mode & 0o7777); got != rec.Mode && rec.Mode&plan.KeepMode == 0 {
			f.add(Row{Path: name, What: "mode", Expected: fmt.Sprintf("mode %04o", rec.Mode), Found: fmt.Sprintf("mode %04o", got), Since: since}, rec)
		}
	}
	if sig.UID >= 0 && (rec.UID >= 0 && sig.UID != rec.UID || rec.GID >= 0 && sig.GID != rec.GID) {
		f.add(Row{Path: name, What: "owner", Expected: "owner " + owner(rec.UID, rec.GID), Found: fmt.Sprintf("owner %d:%d", sig.UID, sig.GID), Since: since}, rec)
	}
	return nil
}

// owner is a pair of numbers, of which those that are not looked at are "*".
func owner(uid, gid int) string {
	text := func(n int) string {
		if n < 0 {
			return "*"
		}
		return fmt.Sprint(n)
	}
	return text(uid) + ":" + text(gid)
}

func (f *files) content(name string, rec state.Owned, since *time.Time) error {
	var data []byte
	switch rec.Kind {
	case plan.KindLink:
		text, err := f.root.Readlink(name)
		if err != nil {
			return f.unreadable(name, rec, err)
		}
		data = []byte(text)
	case plan.KindFile:
		var err error
		if data, err = f.root.ReadFile(name); err != nil {
			return f.unreadable(name, rec, err)
		}
	default:
		return nil
	}
	sum := sha256.Sum256(data)
	got := hex.EncodeToString(sum[:])
	if rec.Hash == "" || got == rec.Hash {
		return nil
	}
	r := Row{Path: name, What: "content", Expected: "content " + short(rec.Hash), Found: "content " + short(got), Since: since}
	if f.secrets && rec.Mode&0o004 == 0 {
		r.Expected, r.Found = "content as applied", fmt.Sprintf("another one, %d bytes", len(data))
	}
	if rec.Kind == plan.KindLink {
		r.What, r.Expected, r.Found = "target", "link to what has the hash "+short(rec.Hash), "link to "+string(data)
		if text, ok := f.expect(rec.Hash); ok {
			r.Expected = "link to " + string(text)
		}
	}
	f.add(r, rec)
	return nil
}

func short(hash string) string { return "sha256:" + hash[:min(12, len(hash))] }

func (f *files) unreadable(name string, rec state.Owned, err error) error {
	found := err.Error()
	if errors.Is(err, fs.ErrPermission) {
		found = "permission denied"
	}
	f.add(Row{Path: name, What: "unreadable", Expected: string(rec.Kind), Found: found}, rec)
	return nil
}

// folderChanged is when the names in the innermost folder of name that is left
// were last changed.
func (f *files) folderChanged(name string) *time.Time {
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		fi, err := f.root.Lstat(dir)
		if err == nil {
			if !fi.IsDir() {
				sig, _ := fsys.Stat(fi)
				return changedAt(sig)
			}
			at := fi.ModTime().UTC()
			return &at
		}
		if dir == "." || dir == "/" {
			return nil
		}
	}
}

// changedAt is when something was last changed in any way.
func changedAt(sig fsys.Sig) *time.Time {
	at := time.Unix(0, sig.Mtime).UTC()
	if sig.Ctime != 0 {
		at = time.Unix(0, sig.Ctime).UTC()
	}
	return &at
}

func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return string(plan.KindDir)
	case m.IsRegular():
		return string(plan.KindFile)
	case m&fs.ModeSymlink != 0:
		return string(plan.KindLink)
	}
	return string(plan.KindSpecial)
}

// Services compares what runs (have) with what was asked for: specs, as they
// were last applied; nil when these are not remembered, then by the digests in
// the state alone.
func Services(st *state.State, specs []service.Spec, have map[string]service.State) []Row {
	running := st.Requested == state.Started
	if specs == nil {
		have = withoutDefinitions(have)
		for _, name := range plan.SortedKeys(st.Services) {
			s := st.Services[name]
			specs = append(specs, service.Spec{Name: name, Run: s.Run, Schedule: s.Schedule, Digest: s.Digest, ReloadDigest: s.ReloadDigest, At: s.At})
		}
	}
	told := map[string]bool{}
	var rows []Row
	for _, c := range service.Reconcile(specs, have, running) {
		told[c.Name] = true
		rows = append(rows, serviceRow(c.Name, have[c.Name], expected(c, running), c.Why, c.At))
	}
	if !running {
		return rows
	}
	for _, spec := range specs {
		s, ok := have[spec.Name]
		if !ok || told[spec.Name] || spec.Run || spec.Timer() || s.Ended || s.Status == service.Running {
			continue
		}
		rows = append(rows, serviceRow(spec.Name, s, "running", "", spec.At))
	}
	return rows
}

func withoutDefinitions(have map[string]service.State) map[string]service.State {
	all := make(map[string]service.State, len(have))
	for name, s := range have {
		s.Definition = ""
		all[name] = s
	}
	return all
}

// expected is what a change would bring about.
func expected(c service.Change, running bool) string {
	switch {
	case c.Op == service.Unload:
		return "nothing"
	case !running:
		return "stopped"
	case c.Op == service.Start && c.Spec.Schedule != "":
		return "armed"
	case c.Op == service.Start:
		return "running"
	}
	return "as applied"
}

func serviceRow(name string, s service.State, want, why string, at plan.Pos) Row {
	found := string(s.Status)
	if found == "" {
		found = "not there"
	}
	for _, more := range []string{s.Message, why} {
		if more != "" && more != found {
			found += ", " + more
		}
	}
	r := Row{Name: name, What: "service", Expected: want, Found: found, At: at.String()}
	if !s.Since.IsZero() {
		since := s.Since.UTC()
		r.Since = &since
	}
	return r
}

package generation

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"

	"instar/runtime/plan"
	"instar/runtime/state"
)

// Made is what an apply made, when all of it is performed.
type Made struct {
	State *state.State // as it is about to be saved
	Plan  *plan.Plan
	// Content returns the content of a declared file, or the text of a link, with
	// the given hash; false for what nobody declares, and what commands make.
	Content    func(name, hash string) ([]byte, bool, error)
	RollbackOf int
	// Before is what the instance owned before, as far as State, which is a part, has
	// it. Since is the generation that has all that was owned before, 0: none does.
	Before map[string]state.Owned
	Since  int
}

// Keeper keeps generations of one profile.
type Keeper struct {
	Store
	// Profile returns the absolute folder of the profile that is evaluated,
	// without links, and the file in it that evaluation begins with.
	Profile func() (dir, entry string, err error)
	// Skip are folders that are no part of a profile, wherever they lie.
	Skip []string
}

// Keep writes the generation that m.State names, durably, and removes what is
// older than those that are kept.
func (k Keeper) Keep(m *Made) error {
	st := m.State
	g := &Generation{store: k.Store, Head: Head{
		FormatVersion: FormatVersion, Number: st.Generation, At: st.AppliedAt, RollbackOf: m.RollbackOf,
		Settings: st.Settings, Values: st.Values, Services: st.Services, Packs: map[int]int64{},
	}}
	for _, text := range st.Secrets {
		g.Secrets = append(g.Secrets, []byte(text))
	}
	if err := k.make(); err != nil {
		return err
	}
	w := &writer{Generation: g, made: m, last: k.last(st), written: map[hash]bool{}}
	if done, err := w.changes(); err != nil {
		return err
	} else if !done {
		if m.State, err = st.Whole(); err != nil {
			return err
		}
		if err := w.paths(); err != nil {
			return err
		}
	}
	if err := k.sources(w); err != nil {
		return err
	}
	if err := k.forget(st.Generation); err != nil {
		return err
	}
	if err := w.write(); err != nil {
		return fmt.Errorf("cannot keep generation %d: %w", st.Generation, err)
	}
	k.collect(st.Generation, pinned(st))
	return nil
}

// last is what the generation before has: no content of it need be written again.
type last struct {
	number  int
	entries []entry
	sources []Source
	usable  map[int]bool // generations whose files are to stay
	packs   map[hash]int // of all contents, by hash; nil until many are sought
	sought  int
}

// last reads the generation before the one that st names. The file of one that
// is not kept for itself any more, and of which less than half is in use, is on
// its way out.
func (k Keeper) last(st *state.State) *last {
	l := &last{usable: map[int]bool{}}
	numbers, err := k.Store.known(st.Generation-1, 0)
	if err != nil || len(numbers) == 0 {
		return l
	}
	number := numbers[len(numbers)-1]
	before, entries, err := k.entries(number)
	if err != nil {
		return l // all is written anew
	}
	l.number, l.entries, l.sources = number, entries, before.Sources
	for pack, live := range before.Packs {
		info, err := os.Lstat(k.path(pack))
		if err == nil {
			l.usable[pack] = pack > st.Generation-Kept || info.Size() <= 2*live
		}
	}
	return l
}

// few is how many contents are sought one by one.
const few = 16

// pack returns the generation whose file has a content, or 0.
func (l *last) pack(h hash) int {
	l.sought++
	for _, s := range l.sources {
		if known, err := rawHash(s.Hash); err == nil && known == h && l.usable[s.Pack] {
			return s.Pack
		}
	}
	if l.sought > few {
		if l.packs == nil {
			l.packs = make(map[hash]int, len(l.entries))
			for i := range l.entries {
				if e := &l.entries[i]; l.usable[e.pack] {
					l.packs[e.hash] = e.pack
				}
			}
		}
		return l.packs[h]
	}
	for i := range l.entries {
		if e := &l.entries[i]; e.hash == h && l.usable[e.pack] {
			return e.pack
		}
	}
	return 0
}

func rawHash(text string) (h hash, err error) {
	if len(text) != 2*hashLen {
		return h, fmt.Errorf("%q is no SHA-256", text)
	}
	_, err = hex.Decode(h[:], []byte(text))
	return h, err
}

// writer puts the file of a generation together.
type writer struct {
	*Generation
	made    *Made
	last    *last
	entries []entry
	fresh   []fresh // contents that are to be written
	written map[hash]bool
}

// fresh is a content that is not kept yet.
type fresh struct {
	hash hash
	data []byte
}

// content has a content kept, once, and returns where that is.
func (w *writer) content(h hash, data []byte) int {
	if w.written[h] {
		return w.Number
	}
	if pack := w.last.pack(h); pack != 0 {
		return pack
	}
	w.written[h] = true
	w.fresh = append(w.fresh, fresh{h, data})
	return w.Number
}

// paths lists what the instance owns. Most of it is as it was in the generation
// before: then nothing is sorted, and no content looked at.
func (w *writer) paths() error {
	owned := w.made.State.Owned
	w.entries = make([]entry, 0, len(owned))
	for i := range w.last.entries {
		was := &w.last.entries[i]
		if rec, ok := owned[was.name]; ok {
			if err := w.path(was.name, &rec, was); err != nil {
				return err
			}
		}
	}
	if len(w.entries) == len(owned) {
		return nil
	}
	old := make(map[string]*entry, len(w.entries))
	for i := range w.last.entries {
		old[w.last.entries[i].name] = &w.last.entries[i]
	}
	w.restart()
	for _, name := range plan.SortedKeys(owned) {
		rec := owned[name]
		if err := w.path(name, &rec, old[name]); err != nil {
			return err
		}
	}
	return nil
}

// changes lists what the instance owns where the state is a part of it: all else is
// as the generation before has it. It reports false, and has listed nothing, where
// that is not known, or is on its way out.
func (w *writer) changes() (bool, error) {
	m := w.made
	if !m.State.IsPart() || m.Since == 0 || m.Since != w.last.number {
		return false, nil
	}
	touched := maps.Clone(m.Before)
	maps.Copy(touched, m.State.Owned)
	names := plan.SortedKeys(touched)
	w.entries = make([]entry, 0, len(w.last.entries)+len(names))
	old := w.last.entries
	for _, name := range append(names, "") {
		for len(old) > 0 && (name == "" || old[0].name < name) {
			if old[0].pack != 0 && !w.last.usable[old[0].pack] {
				w.restart()
				return false, nil
			}
			w.Packs[old[0].pack] += old[0].size
			w.entries, old = append(w.entries, old[0]), old[1:]
		}
		var was *entry
		if len(old) > 0 && old[0].name == name {
			was, old = &old[0], old[1:]
		}
		if rec, ok := m.State.Owned[name]; ok {
			if err := w.path(name, &rec, was); err != nil {
				return false, err
			}
		}
	}
	delete(w.Packs, 0)
	return true, nil
}

// restart forgets what was listed.
func (w *writer) restart() {
	w.entries, w.fresh, w.Packs = w.entries[:0], nil, map[int]int64{}
	w.written = map[hash]bool{}
}

// path enters one path; was is what the generation before had there, or nil.
func (w *writer) path(name string, rec *state.Owned, was *entry) (err error) {
	e := entry{name: name, bits: bitsOf(rec), mode: rec.Mode, uid: rec.UID, gid: rec.GID}
	if rec.Hash != "" {
		if e.hash, err = rawHash(rec.Hash); err != nil {
			return fmt.Errorf("cannot keep %q: %w", name, err)
		}
	}
	switch {
	case e.bits&bitHash == 0 || e.bits&(bitMade|bitOnce) != 0:
	case was != nil && was.hash == e.hash && w.last.usable[was.pack]:
		e.size, e.pack = was.size, was.pack
	default:
		data, ok, err := w.made.Content(name, rec.Hash)
		if err != nil {
			return fmt.Errorf("cannot keep %q: %w", name, err)
		}
		if ok && len(data) <= MaxContent {
			e.size, e.pack = int64(len(data)), w.content(e.hash, data)
		}
	}
	if e.pack != 0 {
		w.Packs[e.pack] += e.size // one that is there many times counts as often
	}
	w.entries = append(w.entries, e)
	return nil
}

func bitsOf(rec *state.Owned) byte {
	bits := kindBits(rec.Kind)
	if rec.Once {
		bits |= bitOnce
	}
	if rec.Implicit {
		bits |= bitImplicit
	}
	if rec.By != "" {
		bits |= bitMade
	}
	if rec.Hash != "" {
		bits |= bitHash
	}
	return bits
}

// write writes the file beside its place, and moves it there.
func (w *writer) write() (err error) {
	front, err := encode(&w.Head, w.entries)
	if err != nil {
		return err
	}
	final := w.store.path(w.Number)
	file, err := os.OpenFile(final+tmpSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(final + tmpSuffix)
		}
	}()
	if err = errors.Join(w.contents(file, front), file.Close()); err != nil {
		return err
	}
	// A power cut may lose the name, but never leave half a file: the generation is
	// there whole or not at all.
	return os.Rename(final+tmpSuffix, final)
}

func (w *writer) contents(file *os.File, front []byte) error {
	size := len(front)
	for _, c := range w.fresh {
		size += len(c.hash) + binary.MaxVarintLen64 + len(c.data)
	}
	out := bufio.NewWriterSize(file, min(size, 256<<10))
	_, _ = out.Write(front) // Flush tells
	var buf []byte
	for _, c := range w.fresh {
		buf = append(buf[:0], c.hash[:]...)
		buf = binary.AppendUvarint(buf, uint64(len(c.data)))
		_, _ = out.Write(buf)
		_, _ = out.Write(c.data)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return file.Sync()
}

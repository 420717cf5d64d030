package generation

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
	w := &writer{Generation: g, made: m, known: k.known(st), used: map[string]bool{}}
	if err := w.paths(); err != nil {
		return err
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

// known returns which contents need not be written again: for each hash, the
// generation whose file has it. A file that is not kept for itself any more, and
// of which less than half is in use, is on its way out.
func (k Keeper) known(st *state.State) map[string]int {
	numbers, err := k.Store.known(st.Generation-1, 0)
	if err != nil || len(numbers) == 0 {
		return nil
	}
	last, err := k.read(numbers[len(numbers)-1])
	if err != nil {
		return nil // all is written anew
	}
	usable := map[int]bool{}
	for pack, live := range last.Packs {
		info, err := os.Lstat(k.path(pack))
		if err != nil {
			continue
		}
		usable[pack] = pack > st.Generation-Kept || info.Size() <= 2*live
	}
	known := make(map[string]int, len(last.Paths))
	for _, p := range last.Paths {
		if p.Pack != 0 && usable[p.Pack] {
			known[p.Hash] = p.Pack
		}
	}
	for _, s := range last.Sources {
		if s.Pack != 0 && usable[s.Pack] {
			known[s.Hash] = s.Pack
		}
	}
	return known
}

// writer puts the file of a generation together.
type writer struct {
	*Generation
	made  *Made
	known map[string]int
	fresh []fresh         // contents that are to be written
	used  map[string]bool // contents that are counted in Packs
}

// fresh is a content that is not kept yet.
type fresh struct {
	hash string
	data []byte
}

// content has a content kept, once, and returns where that is.
func (w *writer) content(hash string, data []byte) (pack int) {
	defer func() {
		if !w.used[hash] {
			w.used[hash] = true
			w.Packs[pack] += int64(len(data))
		}
	}()
	pack, ok := w.known[hash]
	if !ok {
		if w.known == nil {
			w.known = map[string]int{}
		}
		pack = w.Number
		w.known[hash] = pack
		w.fresh = append(w.fresh, fresh{hash, data})
	}
	return pack
}

// paths lists what the instance owns.
func (w *writer) paths() error {
	owned := w.made.State.Owned
	w.Paths = make([]Path, 0, len(owned))
	for _, name := range plan.SortedKeys(owned) {
		rec := owned[name]
		p := Path{Name: name, Kind: rec.Kind, Mode: rec.Mode, UID: rec.UID, GID: rec.GID,
			Once: rec.Once, Implicit: rec.Implicit, Made: rec.By != "", Hash: rec.Hash}
		if p.Hash != "" && !p.Made && !p.Once {
			data, ok, err := w.made.Content(name, p.Hash)
			if err != nil {
				return fmt.Errorf("cannot keep %q: %w", name, err)
			}
			if ok && len(data) <= MaxContent {
				p.Size, p.Pack = int64(len(data)), w.content(p.Hash, data)
			}
		}
		w.Paths = append(w.Paths, p)
	}
	return nil
}

// write writes the file beside its place, and moves it there.
func (w *writer) write() (err error) {
	front, err := encode(&w.Head, w.Paths)
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
	if err = os.Rename(final+tmpSuffix, final); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(final))
}

func (w *writer) contents(file *os.File, front []byte) error {
	out := bufio.NewWriterSize(file, 256<<10)
	_, _ = out.Write(front) // Flush tells
	var buf []byte
	for _, c := range w.fresh {
		var err error
		if buf, err = hex.AppendDecode(buf[:0], []byte(c.hash)); err != nil {
			return err
		}
		buf = binary.AppendUvarint(buf, uint64(len(c.data)))
		_, _ = out.Write(buf)
		_, _ = out.Write(c.data)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return file.Sync()
}

// syncFolder makes a rename durable, where the system can.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync() // not every system can sync a folder; the rename stands
	return d.Close()
}

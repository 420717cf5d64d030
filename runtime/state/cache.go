package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"

	"instar/runtime/fsys"
)

// Cache is what lets a run that changes nothing find that out without
// evaluating anything: for every path that matters, what lstat said when its
// content was last verified. It is kept as stat.cache beside state.json, is not
// made durable, and may be deleted at any time.
type Cache struct {
	// Key covers all inputs that are no files: the program, settings, facts.
	Key   string
	State fsys.Sig // of state.json: with another one the cache says nothing
	ID    uint64   // of this cache, by which plan.cache knows it
	// Brief is the state without what it owns, so that state.json need not be
	// read.
	Brief *State
	OK    int    // resources that were found as declared
	Specs []byte // JSON of the services and runs

	Inside  []Entry   // below the root, sorted
	Outside []Entry   // by absolute path, sorted
	Folders []Listing // below the root
}

// How closely an [Entry] is compared.
const (
	Exact  = byte('=') // all that lstat says
	Meta   = byte('m') // a folder: kind, mode and owner
	Exists = byte('e') // kind alone: what is made once
	Absent = byte('-') // nothing stands there
	Stat   = byte('s') // as Exact, of what a link leads to
	Kind   = byte('k') // kind and mode alone, of what a link leads to
)

// Entry is one path and what lstat said of it.
type Entry struct {
	Path string
	How  byte
	Sig  fsys.Sig
}

// Matches reports whether what stands at the path now is what it was.
func (e Entry) Matches(now fsys.Sig, exists bool) bool {
	const kind = 0o170000
	switch {
	case e.How == Absent || !exists:
		return e.How == Absent && !exists
	case e.How == Exists:
		return e.Sig.Mode&kind == now.Mode&kind
	case e.How == Kind:
		return e.Sig.Mode == now.Mode
	case e.How == Meta:
		return e.Sig.Mode == now.Mode && e.Sig.UID == now.UID && e.Sig.GID == now.GID
	}
	return e.Sig == now
}

// Listing is what stands in a folder: its names, sorted; Absent when the folder
// does not exist.
type Listing struct {
	Path   string
	Absent bool
	Names  []string
}

// Paths returns those of Inside.
func (c *Cache) Paths() []string {
	paths := make([]string, len(c.Inside))
	for i := range c.Inside {
		paths[i] = c.Inside[i].Path
	}
	return paths
}

// cacheMagic begins the file, with the version of its format.
const cacheMagic = "instar stat.cache 1\n"

// LoadCache reads the cache, nil when there is none, when it cannot be
// understood, or when state.json is not the one it was made beside.
func (f Folder) LoadCache() *Cache {
	data, err := os.ReadFile(f.Path("stat.cache"))
	if err != nil {
		return nil
	}
	c, err := decodeCache(data)
	if err != nil {
		return nil
	}
	if !f.Current(c) {
		return nil
	}
	return c
}

// Current reports whether state.json is still the one that c was made beside.
func (f Folder) Current(c *Cache) bool {
	sig, err := f.stateSig()
	return err == nil && sig == c.State
}

func (f Folder) stateSig() (fsys.Sig, error) {
	fi, err := os.Lstat(f.Path("state.json"))
	if err != nil {
		return fsys.Sig{}, err
	}
	sig, _ := fsys.Stat(fi)
	return sig, nil
}

// SaveCache writes the cache beside the state that was saved last.
func (f Folder) SaveCache(c *Cache) error {
	sig, err := f.stateSig()
	if err != nil {
		return err
	}
	c.State, c.ID = sig, rand.Uint64()
	data, err := encodeCache(c)
	if err != nil {
		return err
	}
	return f.replace("stat.cache", data)
}

// replace writes a file that may get lost.
func (f Folder) replace(name string, data []byte) error {
	tmp := f.Path(name + ".tmp")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, f.Path(name))
}

// DropCache removes the cache.
func (f Folder) DropCache() {
	_ = os.Remove(f.Path("stat.cache"))
	_ = os.Remove(f.Path("plan.cache"))
}

// Brief returns the state without what it owns, from the cache where that is
// possible.
func (f Folder) Brief() (*State, error) {
	for _, most := range []int64{headSize, math.MaxInt64} {
		data, err := readFront(f.Path("stat.cache"), most)
		if err != nil {
			break
		}
		if c, _, err := decodeHead(data); err == nil && f.Current(c) {
			return c.Brief, nil
		}
		if int64(len(data)) < most {
			break // that was all
		}
	}
	return f.Load()
}

// headSize is in most caches more than what comes before the entries, in bytes.
const headSize = 32 << 10

// readFront reads at most so many bytes of a file.
func readFront(name string, most int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, most))
}

func encodeCache(c *Cache) ([]byte, error) {
	brief := *c.Brief
	brief.Owned = nil
	head, err := json.Marshal(struct {
		Key     string
		State   fsys.Sig
		ID      uint64
		Brief   *State
		OK      int
		Specs   []byte
		Folders []Listing
	}{c.Key, c.State, c.ID, &brief, c.OK, c.Specs, c.Folders})
	if err != nil {
		return nil, err
	}
	out := []byte(cacheMagic)
	out = binary.AppendUvarint(out, uint64(len(head)))
	out = append(out, head...)
	for _, list := range [][]Entry{c.Inside, c.Outside} {
		out = binary.AppendUvarint(out, uint64(len(list)))
		var last Entry
		for _, e := range list {
			out = appendEntry(out, last, e)
			last = e
		}
	}
	return out, nil
}

// appendEntry writes an entry as its difference from the one before.
func appendEntry(out []byte, last, e Entry) []byte {
	common := 0
	for common < len(e.Path) && common < len(last.Path) && e.Path[common] == last.Path[common] {
		common++
	}
	out = append(out, e.How)
	out = binary.AppendUvarint(out, uint64(common))
	out = binary.AppendUvarint(out, uint64(len(e.Path)-common))
	out = append(out, e.Path[common:]...)
	for _, pair := range pairs(&last.Sig, &e.Sig) {
		out = binary.AppendVarint(out, pair[1]-pair[0])
	}
	return out
}

// pairs lists the fields of two signatures, as numbers.
func pairs(a, b *fsys.Sig) [9][2]int64 {
	return [9][2]int64{
		{a.Size, b.Size}, {a.Mtime, b.Mtime}, {a.Ctime, b.Ctime},
		{int64(a.Ino), int64(b.Ino)}, {int64(a.Dev), int64(b.Dev)}, {int64(a.Nlink), int64(b.Nlink)},
		{int64(a.Mode), int64(b.Mode)}, {int64(a.UID), int64(b.UID)}, {int64(a.GID), int64(b.GID)},
	}
}

var errCache = errors.New("not a stat.cache")

// decodeHead decodes all but the entries, which are left in the reader.
func decodeHead(data []byte) (*Cache, *reader, error) {
	rest, ok := bytes.CutPrefix(data, []byte(cacheMagic))
	if !ok {
		return nil, nil, errCache
	}
	r := &reader{rest: rest}
	head := r.bytes(r.uint())
	if r.bad {
		return nil, nil, errCache
	}
	c := &Cache{}
	dec := json.NewDecoder(bytes.NewReader(head))
	dec.UseNumber()
	if err := dec.Decode(c); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errCache, err)
	}
	if c.Brief == nil {
		return nil, nil, errCache
	}
	if c.Brief.Owned == nil {
		c.Brief.Owned = map[string]Owned{}
	}
	return c, r, nil
}

func decodeCache(data []byte) (*Cache, error) {
	c, r, err := decodeHead(data)
	if err != nil {
		return nil, err
	}
	c.Inside, c.Outside = r.entries(), r.entries()
	if r.bad || len(r.rest) > 0 {
		return nil, errCache
	}
	return c, nil
}

// reader takes values from the front of a text; bad says that it ended too soon.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// minEntry is the least number of bytes that an entry takes.
const minEntry = 12

func (r *reader) entries() []Entry {
	n := r.uint()
	if r.bad || n > uint64(len(r.rest)/minEntry) {
		r.bad = r.bad || n > 0
		return nil
	}
	list := make([]Entry, 0, n)
	var last Entry
	for range n {
		e, ok := r.entry(last)
		if !ok {
			return nil
		}
		list = append(list, e)
		last = e
	}
	return list
}

func (r *reader) entry(last Entry) (Entry, bool) {
	how := r.bytes(1)
	common := r.uint()
	tail := r.bytes(r.uint())
	if r.bad || common > uint64(len(last.Path)) {
		r.bad = true
		return Entry{}, false
	}
	var v [9]int64
	for i, pair := range pairs(&last.Sig, &last.Sig) {
		v[i] = pair[0] + r.int()
	}
	e := Entry{How: how[0], Path: last.Path[:common] + string(tail), Sig: fsys.Sig{
		Size: v[0], Mtime: v[1], Ctime: v[2], Ino: uint64(v[3]), Dev: uint64(v[4]), Nlink: uint64(v[5]),
		Mode: uint32(v[6]), UID: int(v[7]), GID: int(v[8]),
	}}
	return e, !r.bad
}

// SortEntries orders entries by path, as the file has them.
func SortEntries(list []Entry) {
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
}

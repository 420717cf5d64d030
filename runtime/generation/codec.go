package generation

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"instar/runtime/plan"
)

// The file of a generation:
//
//	magic
//	length and JSON of the Head, length and bytes of the paths; numbers are varints
//	SHA-256 of all that stands before it
//	contents, to the end: the SHA-256, length and bytes of each
//
// Paths are sorted, and each shares the beginning of the one before.
const magic = "instar generation\n"

const hashLen = sha256.Size

// Bits of the byte that begins a path.
const (
	bitKind     = 0b11
	bitOnce     = 1 << 2
	bitImplicit = 1 << 3
	bitMade     = 1 << 4
	bitHash     = 1 << 5
)

var kinds = [...]plan.Kind{"", plan.KindDir, plan.KindFile, plan.KindLink}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func kindBits(k plan.Kind) byte {
	for i, known := range kinds {
		if k == known {
			return byte(i)
		}
	}
	return 0
}

// hash is a SHA-256.
type hash [hashLen]byte

// entry is a [Path] as the file has it.
type entry struct {
	name     string
	bits     byte
	mode     plan.Mode
	uid, gid int
	hash     hash
	size     int64
	pack     int
}

// path returns the form for those who read.
func (e *entry) path() Path {
	p := Path{Name: e.name, Kind: kinds[e.bits&bitKind], Mode: e.mode, UID: e.uid, GID: e.gid,
		Once: e.bits&bitOnce != 0, Implicit: e.bits&bitImplicit != 0, Made: e.bits&bitMade != 0}
	if e.bits&bitHash != 0 {
		p.Hash, p.Size, p.Pack = hex.EncodeToString(e.hash[:]), e.size, e.pack
	}
	return p
}

// encode returns all that stands before the contents.
func encode(h *Head, entries []entry) ([]byte, error) {
	head, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the generation: %w", err)
	}
	list := make([]byte, 0, 48*len(entries))
	last := ""
	for i := range entries {
		list = entries[i].append(list, last)
		last = entries[i].name
	}
	out := make([]byte, 0, len(magic)+len(head)+len(list)+64)
	out = append(out, magic...)
	out = binary.AppendUvarint(out, uint64(len(head)))
	out = append(out, head...)
	out = binary.AppendUvarint(out, uint64(len(list)))
	out = append(out, list...)
	sum := sha256.Sum256(out)
	return append(out, sum[:]...), nil
}

func (e *entry) append(out []byte, last string) []byte {
	common := 0
	for common < len(e.name) && common < len(last) && e.name[common] == last[common] {
		common++
	}
	out = append(out, e.bits)
	out = binary.AppendUvarint(out, uint64(common))
	out = binary.AppendUvarint(out, uint64(len(e.name)-common))
	out = append(out, e.name[common:]...)
	out = binary.AppendUvarint(out, uint64(e.mode))
	out = binary.AppendVarint(out, int64(e.uid))
	out = binary.AppendVarint(out, int64(e.gid))
	if e.bits&bitHash == 0 {
		return out
	}
	out = append(out, e.hash[:]...)
	out = binary.AppendUvarint(out, uint64(e.size))
	return binary.AppendUvarint(out, uint64(e.pack))
}

var errShort = errors.New("it ends too soon")

// counted reads a file's front and knows how far it came.
type counted struct {
	*bufio.Reader
	sum interface{ io.Writer }
	at  int64
}

func (c *counted) ReadByte() (byte, error) {
	b, err := c.Reader.ReadByte()
	if err == nil {
		c.at++
		_, _ = c.sum.Write([]byte{b})
	}
	return b, err
}

// maxPart is how much is read at once, in bytes.
const maxPart = 4 << 20

// maxFront bounds the head and the paths, in bytes.
const maxFront = 1 << 30

func (c *counted) bytes(n uint64) ([]byte, error) {
	if n > maxFront {
		return nil, errShort
	}
	var b []byte
	for left := int(n); left > 0; { // in parts: the length may be damaged
		part := min(left, maxPart)
		at := len(b)
		b = slices.Grow(b, part)[:at+part]
		read, err := io.ReadFull(c.Reader, b[at:])
		c.at += int64(read)
		if err != nil {
			return nil, errShort
		}
		left -= part
	}
	_, _ = c.sum.Write(b)
	return b, nil
}

func (c *counted) text() ([]byte, error) {
	n, err := binary.ReadUvarint(c)
	if err != nil {
		return nil, errShort
	}
	return c.bytes(n)
}

// head reads the head of a generation alone.
func (s Store) head(number int) (*Head, error) {
	f, err := s.front(number, false)
	if err != nil {
		return nil, err
	}
	return &f.Head, nil
}

// read reads a generation, but for its contents.
func (s Store) read(number int) (*Generation, error) {
	g, entries, err := s.entries(number)
	if err != nil {
		return nil, err
	}
	g.Paths = make([]Path, len(entries))
	for i := range entries {
		g.Paths[i] = entries[i].path()
	}
	return g, nil
}

// entries reads a generation, with its paths as the file has them.
func (s Store) entries(number int) (*Generation, []entry, error) {
	f, err := s.front(number, true)
	if err != nil {
		return nil, nil, err
	}
	entries, err := decodeEntries(f.list)
	if err != nil {
		return nil, nil, &DamagedError{s.path(number), err}
	}
	return f.Generation, entries, nil
}

// front is what stands before the contents, whose place is at.
type front struct {
	*Generation
	list []byte
	at   int64
}

// front reads what stands before the contents. Without whole it reads no more
// than the head, and checks nothing.
func (s Store) front(number int, whole bool) (*front, error) {
	f, err := os.Open(s.path(number))
	if err != nil {
		return nil, s.unreadable(number, err)
	}
	defer f.Close()
	sum := sha256.New()
	c := &counted{bufio.NewReaderSize(f, 64<<10), sum, 0}
	g, err := s.decode(c, number)
	if err != nil || !whole {
		return &front{Generation: g}, err
	}
	list, err := c.text()
	if err == nil {
		want := sum.Sum(nil)
		var got []byte
		if got, err = c.bytes(hashLen); err == nil && !bytes.Equal(got, want) {
			err = errors.New("its checksum is another one")
		}
	}
	if err != nil {
		return nil, &DamagedError{s.path(number), err}
	}
	return &front{g, list, c.at}, nil
}

func (s Store) unreadable(number int, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &DamagedError{s.path(number), errors.New("the file is missing")}
	}
	return err
}

func (s Store) decode(c *counted, number int) (*Generation, error) {
	damaged := func(err error) error { return &DamagedError{s.path(number), err} }
	got, err := c.bytes(uint64(len(magic)))
	if err != nil || string(got) != magic {
		return nil, damaged(errors.New("it does not begin as one"))
	}
	head, err := c.text()
	if err != nil {
		return nil, damaged(err)
	}
	g := &Generation{store: s}
	dec := json.NewDecoder(bytes.NewReader(head))
	dec.UseNumber()
	if err := dec.Decode(&g.Head); err != nil {
		return nil, damaged(err)
	}
	switch {
	case g.FormatVersion > FormatVersion:
		return nil, &NewerError{s.path(number), g.FormatVersion}
	case g.Number != number:
		return nil, damaged(fmt.Errorf("it is generation %d", g.Number))
	}
	return g, nil
}

// minEntry is about how many bytes an entry takes.
const minEntry = 24

func decodeEntries(list []byte) ([]entry, error) {
	entries := make([]entry, 0, len(list)/minEntry)
	names := make([]byte, 0, 2*len(list)) // of all, one after the other
	ends := make([]int, 0, len(list)/minEntry)
	start := 0 // of the last name
	r := reader{rest: list}
	for len(r.rest) > 0 {
		bits := r.take(1)
		common := r.uint()
		tail := r.take(r.uint())
		if r.bad || common > uint64(len(names)-start) {
			return nil, errShort
		}
		from := start
		start = len(names)
		names = append(names, names[from:from+int(common)]...)
		names = append(names, tail...)
		ends = append(ends, len(names))
		e := entry{bits: bits[0], mode: plan.Mode(r.uint()), uid: int(r.int()), gid: int(r.int())}
		if e.bits&bitHash != 0 {
			copy(e.hash[:], r.take(hashLen))
			e.size, e.pack = int64(r.uint()), int(r.uint())
		}
		if r.bad {
			return nil, errShort
		}
		entries = append(entries, e)
	}
	all, from := string(names), 0
	for i, end := range ends {
		entries[i].name = all[from:end]
		from = end
	}
	return entries, nil
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

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

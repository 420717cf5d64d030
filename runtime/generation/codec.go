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

// encode returns all that stands before the contents.
func encode(h *Head, paths []Path) ([]byte, error) {
	head, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the generation: %w", err)
	}
	list := make([]byte, 0, 64*len(paths))
	last := ""
	for _, p := range paths {
		if list, err = appendPath(list, last, p); err != nil {
			return nil, err
		}
		last = p.Name
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

func appendPath(out []byte, last string, p Path) ([]byte, error) {
	bits := kindBits(p.Kind)
	for _, b := range []struct {
		set bool
		bit byte
	}{{p.Once, bitOnce}, {p.Implicit, bitImplicit}, {p.Made, bitMade}, {p.Hash != "", bitHash}} {
		if b.set {
			bits |= b.bit
		}
	}
	common := 0
	for common < len(p.Name) && common < len(last) && p.Name[common] == last[common] {
		common++
	}
	out = append(out, bits)
	out = binary.AppendUvarint(out, uint64(common))
	out = binary.AppendUvarint(out, uint64(len(p.Name)-common))
	out = append(out, p.Name[common:]...)
	out = binary.AppendUvarint(out, uint64(p.Mode))
	out = binary.AppendVarint(out, int64(p.UID))
	out = binary.AppendVarint(out, int64(p.GID))
	if p.Hash == "" {
		return out, nil
	}
	out, err := hex.AppendDecode(out, []byte(p.Hash))
	out = binary.AppendUvarint(out, uint64(p.Size))
	return binary.AppendUvarint(out, uint64(p.Pack)), err
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

// maxFront bounds the head and the paths, in bytes.
const maxFront = 1 << 30

func (c *counted) bytes(n uint64) ([]byte, error) {
	if n > maxFront {
		return nil, errShort
	}
	var b bytes.Buffer
	read, err := io.CopyN(&b, c.Reader, int64(n))
	c.at += read
	if err != nil {
		return nil, errShort
	}
	_, _ = c.sum.Write(b.Bytes())
	return b.Bytes(), nil
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
	g, _, err := s.front(number, false)
	if err != nil {
		return nil, err
	}
	return &g.Head, nil
}

// read reads a generation, but for its contents.
func (s Store) read(number int) (*Generation, error) {
	g, _, err := s.front(number, true)
	return g, err
}

// front reads what stands before the contents, whose place it returns. Without
// whole it reads no more than the head, and checks nothing.
func (s Store) front(number int, whole bool) (*Generation, int64, error) {
	f, err := os.Open(s.path(number))
	if err != nil {
		return nil, 0, s.unreadable(number, err)
	}
	defer f.Close()
	sum := sha256.New()
	c := &counted{bufio.NewReaderSize(f, 64<<10), sum, 0}
	g, err := s.decode(c, number)
	if err != nil || !whole {
		return g, 0, err
	}
	list, err := c.text()
	if err == nil {
		want := sum.Sum(nil)
		var got []byte
		if got, err = c.bytes(hashLen); err == nil && !bytes.Equal(got, want) {
			err = errors.New("its checksum is another one")
		}
	}
	if err == nil {
		g.Paths, err = decodePaths(list)
	}
	if err != nil {
		return nil, 0, &DamagedError{s.path(number), err}
	}
	return g, c.at, nil
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

func decodePaths(list []byte) ([]Path, error) {
	var paths []Path
	last := ""
	r := reader{rest: list}
	for len(r.rest) > 0 {
		bits := r.take(1)
		common := r.uint()
		tail := r.take(r.uint())
		if r.bad || common > uint64(len(last)) {
			return nil, errShort
		}
		p := Path{Name: last[:common] + string(tail), Kind: kinds[bits[0]&bitKind],
			Once: bits[0]&bitOnce != 0, Implicit: bits[0]&bitImplicit != 0, Made: bits[0]&bitMade != 0}
		p.Mode, p.UID, p.GID = plan.Mode(r.uint()), int(r.int()), int(r.int())
		if bits[0]&bitHash != 0 {
			p.Hash = hex.EncodeToString(r.take(hashLen))
			p.Size, p.Pack = int64(r.uint()), int(r.uint())
		}
		if r.bad {
			return nil, errShort
		}
		last = p.Name
		paths = append(paths, p)
	}
	return paths, nil
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

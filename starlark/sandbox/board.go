package sandbox

import (
	"encoding/binary"

	"instar/starlark/interp"
)

// The page of a child's position: eight bytes that are stored at once, so
// that whoever reads them after its death finds a whole one, then the names
// of files in the order in which they were first met. The eight bytes are,
// from the top, the number of the file's name from 1 (12 bits), line (28
// bits) and column (24 bits).
const (
	pageSize = 64 << 10
	fileBits = 12
	lineBits = 28
	colBits  = 24
)

// A store is the memory or file below a board.
type store interface {
	setWord(word uint64)         // at offset 0, in one piece
	setName(at int, name []byte) // elsewhere
}

// A board is the child's end of the page.
type board struct {
	store   store
	numbers map[string]uint64
	end     int    // of the names
	file    string // the last one
	number  uint64 // of file; 0 when there was no room for its name
}

func newBoard(s store) *board {
	return &board{store: s, numbers: map[string]uint64{}, end: 8}
}

func (b *board) set(file string, line, col int32) {
	if file != b.file {
		b.file, b.number = file, b.numberOf(file)
	}
	l := min(uint64(uint32(line)), 1<<lineBits-1)
	c := min(uint64(uint32(col)), 1<<colBits-1)
	b.store.setWord(b.number<<(lineBits+colBits) | l<<colBits | c)
}

// numberOf returns the number of a name, and adds it if it is new.
func (b *board) numberOf(file string) uint64 {
	if n, ok := b.numbers[file]; ok {
		return n
	}
	n := uint64(len(b.numbers) + 1)
	if b.end+2+len(file) > pageSize || n >= 1<<fileBits {
		return 0
	}
	entry := binary.LittleEndian.AppendUint16(nil, uint16(len(file)))
	entry = append(entry, file...)
	b.store.setName(b.end, entry)
	b.end += len(entry)
	b.numbers[file] = n
	return n
}

// readBoard returns the position in a page, and false if it holds none.
func readBoard(page []byte) (interp.Position, bool) {
	if len(page) < 8 {
		return interp.Position{}, false
	}
	word := binary.NativeEndian.Uint64(page)
	number := word >> (lineBits + colBits)
	pos := interp.Position{
		Line: int32(word >> colBits & (1<<lineBits - 1)),
		Col:  int32(word & (1<<colBits - 1)),
	}
	for at, n := 8, uint64(1); at+2 <= len(page); n++ {
		length := int(binary.LittleEndian.Uint16(page[at:]))
		if at += 2; at+length > len(page) || length == 0 {
			break
		}
		if n == number {
			pos.File = string(page[at : at+length])
			return pos, true
		}
		at += length
	}
	return interp.Position{}, false
}

package sandbox

import (
	"io"
	"os"
	"sync/atomic"
	"unsafe"

	"instar/starlark/interp"
)

// A page is the parent's end of the page: a file without a name, or a
// temporary one where the system has no such thing.
type page struct {
	file *os.File
	path string // to remove, or ""
}

// read returns the position that the child has reached.
func (p *page) read() (interp.Position, bool) {
	data := make([]byte, pageSize)
	n, err := p.file.ReadAt(data, 0)
	if err != nil && err != io.EOF {
		return interp.Position{}, false
	}
	return readBoard(data[:n])
}

func (p *page) close() {
	p.file.Close()
	if p.path != "" {
		_ = os.Remove(p.path) // a leftover in the temporary folder harms nobody
	}
}

// memory is a store in memory, perhaps shared with the parent.
type memory []byte

func (m memory) setWord(word uint64) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(unsafe.SliceData(m))), word)
}

func (m memory) setName(at int, name []byte) { copy(m[at:], name) }

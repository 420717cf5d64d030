package sandbox

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Types of frames. Every frame is a type, a kind that means something to the
// handler only, four bytes of length (little endian), and that many bytes.
const (
	frameRequest byte = 0xa1 + iota // parent to child, the first one
	frameReply                      // parent to child, answers a call
	frameRefusal                    // parent to child, answers a call with an error
	frameSend                       // child to parent
	frameCall                       // child to parent, expects an answer
	frameDone                       // child to parent, the last one
	frameFailed                     // child to parent, the last one: an interp.Error
)

const (
	headerSize = 6
	bufferSize = 64 << 10
)

// errGarbage is what a reader returns for bytes that are no frame.
var errGarbage = errors.New("not a frame")

// A frameWriter writes frames, buffered.
type frameWriter struct{ w *bufio.Writer }

func newFrameWriter(w io.Writer) *frameWriter {
	return &frameWriter{bufio.NewWriterSize(w, bufferSize)}
}

func (f *frameWriter) write(typ, kind byte, data []byte) error {
	if len(data) > MaxFrame {
		return fmt.Errorf("cannot send %d bytes at once (at most %d)", len(data), MaxFrame)
	}
	var header [headerSize]byte
	header[0], header[1] = typ, kind
	binary.LittleEndian.PutUint32(header[2:], uint32(len(data)))
	if _, err := f.w.Write(header[:]); err != nil {
		return err
	}
	_, err := f.w.Write(data)
	return err
}

func (f *frameWriter) flush() error { return f.w.Flush() }

// A frameReader reads frames. The data of each is the receiver's own.
type frameReader struct {
	r    *bufio.Reader
	slab []byte // memory for coming frames
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, bufferSize)}
}

// read returns the next frame. The error is errGarbage, or io.EOF or
// io.ErrUnexpectedEOF when the other side has ended.
func (f *frameReader) read() (typ, kind byte, data []byte, err error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(f.r, header[:]); err != nil {
		if header[0] != 0 && (header[0] < frameRequest || header[0] > frameFailed) {
			err = errGarbage
		}
		return 0, 0, nil, err
	}
	typ, kind = header[0], header[1]
	length := binary.LittleEndian.Uint32(header[2:])
	if typ < frameRequest || typ > frameFailed || length > MaxFrame {
		return 0, 0, nil, errGarbage
	}
	data, err = f.body(int(length))
	return typ, kind, data, err
}

// body reads n bytes into memory that is not used for anything else. It
// takes no more memory than twice what has really arrived.
func (f *frameReader) body(n int) ([]byte, error) {
	if n > bufferSize/4 {
		return readLarge(f.r, n)
	}
	if n > len(f.slab) {
		f.slab = make([]byte, bufferSize)
	}
	data := f.slab[:n:n]
	f.slab = f.slab[n:]
	_, err := io.ReadFull(f.r, data)
	return data, unexpected(err)
}

func readLarge(r io.Reader, n int) ([]byte, error) {
	data := make([]byte, 0, min(n, 1<<20))
	for len(data) < n {
		if len(data) == cap(data) {
			grown := make([]byte, len(data), min(n, 2*cap(data)))
			copy(grown, data)
			data = grown
		}
		k, err := io.ReadFull(r, data[len(data):cap(data)])
		data = data[:len(data)+k]
		if err != nil {
			return nil, unexpected(err)
		}
	}
	return data, nil
}

// unexpected turns an end within a frame into what it is.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

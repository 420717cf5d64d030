package secret

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// maxLine is how many bytes of an unfinished line a Writer holds back at most,
// beside the length of the longest secret.
const maxLine = 64 << 10

// Writer returns a writer that passes on to w what is written to it, masked.
// It passes on whole lines; a line longer than 64 KiB in pieces, cut where no
// secret is cut. A line that may be the beginning of a secret of several lines
// is held back until that is decided. Close passes on what is left; it does
// not close w. The writer is for one goroutine. Secrets added to the masker
// later are masked in what is not yet passed on.
func (m *Masker) Writer(w io.Writer) io.WriteCloser {
	return &writer{masker: m, to: w}
}

type writer struct {
	masker  *Masker
	to      io.Writer
	held    []byte
	context context
	err     error
}

var errClosed = errors.New("write to a closed masking writer")

// Write implements io.Writer. It reports len(p) unless w failed before.
func (w *writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	for rest := p; len(rest) > 0; {
		chunk := rest[:min(len(rest), maxLine)]
		rest = rest[len(chunk):]
		w.held = append(w.held, chunk...)
		if ends := bytes.IndexByte(chunk, '\n') >= 0; ends || len(w.held) > maxLine {
			w.pass(w.cut())
		}
	}
	return len(p), w.err
}

// Close passes on what is held back.
func (w *writer) Close() error {
	if errors.Is(w.err, errClosed) {
		return nil
	}
	if w.err == nil {
		w.pass(len(w.held))
	}
	err := w.err
	w.err = errClosed
	return err
}

// cut returns how many of the held bytes may be passed on: no occurrence that
// is not wholly held begins among them.
func (w *writer) cut() int {
	lines := bytes.LastIndexByte(w.held, '\n') + 1
	longest := 0
	if x := w.masker.index(); x != nil {
		lines -= x.unfinished(w.held[:lines])
		longest = x.longest
	}
	if len(w.held)-lines > maxLine+longest {
		return len(w.held) - longest
	}
	return lines
}

// unfinished returns the length of the longest end of s, which ends with a
// newline, that is the beginning of a pattern.
func (x *index) unfinished(s []byte) int {
	longest := 0
	for _, i := range x.multiline {
		text := x.list[i].text
		for n := strings.LastIndexByte(text[:len(text)-1], '\n') + 1; n > longest; n = strings.LastIndexByte(text[:n-1], '\n') + 1 {
			if n <= len(s) && string(s[len(s)-n:]) == text[:n] {
				longest = n
			}
		}
	}
	return longest
}

// pass writes the first cut bytes that are held. An occurrence that goes on
// behind them is replaced here, and remembered as begun.
func (w *writer) pass(cut int) {
	if cut <= 0 || w.err != nil {
		return
	}
	out, spill := w.mask(cut)
	w.context = context{prev: w.held[cut-1], covered: spill}
	w.held = append(w.held[:0], w.held[cut:]...)
	if len(out) > 0 {
		_, w.err = io.WriteString(w.to, out)
	}
}

// mask returns the first cut bytes masked, and how far the last occurrence
// among them reaches behind them.
func (w *writer) mask(cut int) (out string, spill int) {
	held := string(w.held)
	x := w.masker.index()
	if x == nil {
		return held[:cut], 0
	}
	var b strings.Builder
	done := 0
	for _, sp := range x.find(held, w.context) {
		if sp.start >= cut {
			break
		}
		b.WriteString(held[done:sp.start])
		b.WriteString(sp.shown)
		done = sp.end
	}
	if done >= cut {
		return b.String(), done - cut
	}
	b.WriteString(held[done:cut])
	return b.String(), 0
}

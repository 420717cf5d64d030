package secret

import (
	"bytes"
	"io"
	"strings"
)

// Tail is a writer that keeps the end of what is written to it, masked. It is
// for one goroutine.
type Tail struct {
	masked io.WriteCloser
	kept   keeper
}

// Tail returns a writer that keeps about the last limit bytes, in whole lines
// where lines are shorter than that.
func (m *Masker) Tail(limit int) *Tail {
	t := &Tail{kept: keeper{limit: limit}}
	t.masked = m.Writer(&t.kept)
	return t
}

// Write implements io.Writer; it never fails before Close.
func (t *Tail) Write(p []byte) (int, error) { return t.masked.Write(p) }

// Close takes in an unfinished last line.
func (t *Tail) Close() error { return t.masked.Close() }

// Lines returns the last n lines that were kept, without white space around
// all of them. Call it after Close.
func (t *Tail) Lines(n int) string {
	text := t.kept.text
	if t.kept.dropped {
		if _, rest, ok := bytes.Cut(text, []byte("\n")); ok {
			text = rest
		}
	}
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(text), "\uFFFD")), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}

// keeper keeps the last limit bytes, in a buffer of twice the size.
type keeper struct {
	text    []byte
	limit   int
	dropped bool
}

func (k *keeper) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > k.limit {
		p, k.dropped, k.text = p[len(p)-k.limit:], true, k.text[:0]
	}
	k.text = append(k.text, p...)
	if over := len(k.text) - k.limit; over > k.limit {
		k.text = append(k.text[:0], k.text[over:]...)
		k.dropped = true
	}
	return n, nil
}

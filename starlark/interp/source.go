package interp

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// Bounds of the source text in an Error, in characters.
const (
	maxSourceLine = 160
	maxFrameLine  = 100
)

// addSource sets the source line of e from its position.
func (in *Interp) addSource(e *Error) {
	if e.Source != "" || e.Pos.Line == 0 {
		return
	}
	text, ok := in.line(e.Pos)
	if !ok {
		return
	}
	e.Source, e.Caret = window(text, int(e.Pos.Col)-1)
}

// AddSource sets the source line of an error that has a position but was
// not made by an Interp: one for which package sandbox knows the line that a
// dead process had reached. The text is that of the file e.Pos.File.
func (e *Error) AddSource(text []byte) {
	if line, ok := nthLine(text, int(e.Pos.Line)); ok {
		e.Source, e.Caret = window(line, int(e.Pos.Col)-1)
	}
}

// line returns the text of the line at pos. A file that is not a module,
// such as a template, is read for it.
func (in *Interp) line(pos Position) (string, bool) {
	text, ok := in.sources[pos.File]
	if !ok {
		var err error
		if text, err = in.opts.Read(pos.File); err != nil {
			return "", false
		}
		in.sources[pos.File] = text
	}
	return nthLine(text, int(pos.Line))
}

// shortLine returns the line at pos for a stack, or "".
func (in *Interp) shortLine(pos Position) string {
	text, ok := in.line(pos)
	text = strings.TrimSpace(text)
	if !ok || utf8.RuneCountInString(text) > maxFrameLine {
		return ""
	}
	return text
}

// nthLine returns a line of text, counted from 1, without its end. Lines end
// as for the scanner: with \n, \r\n or \r.
func nthLine(text []byte, n int) (string, bool) {
	for ; n > 0; n-- {
		i := bytes.IndexAny(text, "\r\n")
		if n == 1 {
			if i >= 0 {
				text = text[:i]
			}
			return strings.ToValidUTF8(string(text), "\uFFFD"), true
		}
		if i < 0 {
			break
		}
		if text[i] == '\r' && i+1 < len(text) && text[i+1] == '\n' {
			i++
		}
		text = text[i+1:]
	}
	return "", false
}

// window returns the part of a long line around the character with index
// at, and that character's index in it. A negative index means none.
func window(line string, at int) (string, int) {
	runes := []rune(line)
	if at < 0 {
		at = -1
	}
	at = min(at, len(runes))
	if len(runes) <= maxSourceLine {
		return line, at
	}
	begin := min(max(0, at-maxSourceLine/2), len(runes)-maxSourceLine)
	part := runes[begin : begin+maxSourceLine]
	text := string(part)
	if begin > 0 {
		text = "…" + text
		at++
	}
	if begin+maxSourceLine < len(runes) {
		text += "…"
	}
	return text, max(at-begin, -1)
}

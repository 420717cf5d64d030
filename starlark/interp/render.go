package interp

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Colours of Render.
const (
	bold  = "\x1b[1m"
	red   = "\x1b[31m"
	cyan  = "\x1b[36m"
	faint = "\x1b[2m"
	plain = "\x1b[0m"
)

// Render writes the error for a person: position and message, the source
// line with a caret, the stack unless it is the entry file alone, and the
// hint. Each line ends with a newline. Control characters that came from
// source or values are replaced.
func (e *Error) Render(w io.Writer, color bool) error {
	paint := func(code, text string) string {
		if !color || text == "" {
			return text
		}
		return code + text + plain
	}
	var out strings.Builder
	if e.Pos.File != "" {
		out.WriteString(paint(bold, clean(e.Pos.String())) + ": ")
	}
	out.WriteString(clean(e.Msg) + "\n")
	if e.Source != "" {
		number := fmt.Sprintf("%5d | ", e.Pos.Line)
		out.WriteString(paint(faint, number) + clean(e.Source) + "\n")
		if e.Caret >= 0 {
			gap := strings.Repeat(" ", len(number)-2) + "| "
			out.WriteString(paint(faint, gap) + indent(e.Source, e.Caret) + paint(red, "^") + "\n")
		}
	}
	e.renderStack(&out, paint)
	for line := range strings.Lines(e.Hint) {
		out.WriteString(paint(cyan, "hint:") + " " + clean(strings.TrimRight(line, "\n")) + "\n")
	}
	for line := range strings.Lines(e.Detail) {
		out.WriteString("  " + clean(strings.TrimRight(line, "\n")) + "\n")
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// renderStack writes the stack if it says more than the position.
func (e *Error) renderStack(out *strings.Builder, paint func(code, text string) string) {
	if len(e.Stack) == 0 || len(e.Stack) == 1 && e.Stack[0].Pos == e.Pos {
		return
	}
	out.WriteString("called from (most recent call last):\n")
	for i, frame := range e.Stack {
		fmt.Fprintf(out, "  %s: in %s\n", clean(frame.Pos.String()), clean(frame.Name))
		last := i == len(e.Stack)-1 && frame.Pos == e.Pos
		if frame.Source != "" && !last {
			out.WriteString("    " + paint(faint, clean(frame.Source)) + "\n")
		}
	}
}

// indent returns blanks as wide as the first n characters of line. Tabs stay
// tabs, so that they are as wide as those above them.
func indent(line string, n int) string {
	var out strings.Builder
	for _, r := range line {
		if n == 0 {
			break
		}
		n--
		if r == '\t' {
			out.WriteByte('\t')
			continue
		}
		out.WriteString("  "[:width(r)])
	}
	return out.String()
}

// clean replaces the characters that would move the cursor or hide text.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' {
			return r
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// width returns the columns that a terminal gives a character: 0, 1 or 2.
func width(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) && !unicode.Is(unicode.Bidi_Control, r):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}

// wide holds the characters of two columns: East Asian wide and full width
// ones, and emoji (Unicode 15, EastAsianWidth.txt, rounded to blocks).
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x1100, 0x115f, 1}, {0x231a, 0x231b, 1}, {0x23e9, 0x23ec, 1}, {0x25fd, 0x25fe, 1},
		{0x2614, 0x2615, 1}, {0x26a1, 0x26a1, 1}, {0x2705, 0x2705, 1}, {0x2728, 0x2728, 1},
		{0x274c, 0x274c, 1}, {0x2753, 0x2755, 1}, {0x2757, 0x2757, 1}, {0x2e80, 0x303e, 1},
		{0x3041, 0x33ff, 1}, {0x3400, 0x4dbf, 1}, {0x4e00, 0xa4cf, 1}, {0xa960, 0xa97f, 1},
		{0xac00, 0xd7a3, 1}, {0xf900, 0xfaff, 1}, {0xfe30, 0xfe6f, 1}, {0xff01, 0xff60, 1},
		{0xffe0, 0xffe6, 1},
	},
	R32: []unicode.Range32{
		{0x16fe0, 0x18aff, 1}, {0x1b000, 0x1b2ff, 1}, {0x1f004, 0x1f004, 1}, {0x1f0cf, 0x1f0cf, 1},
		{0x1f18e, 0x1f19a, 1}, {0x1f200, 0x1f265, 1}, {0x1f300, 0x1f64f, 1}, {0x1f680, 0x1f6fc, 1},
		{0x1f7e0, 0x1f7f0, 1}, {0x1f90c, 0x1f9ff, 1}, {0x1fa70, 0x1faff, 1}, {0x20000, 0x3fffd, 1},
	},
}

package native

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// How systemd reads back what is written into a unit: in an ExecStart word `%`
// begins a specifier, `$` a variable, `\` an escape; in the program's path and
// in Environment= a `$` is itself.

// execWord quotes an argument of a command line.
func execWord(text string) string { return quoteUnit(text, true) }

// plainWord quotes a program's path, or an assignment of Environment=.
func plainWord(text string) string { return quoteUnit(text, false) }

func quoteUnit(text string, variables bool) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '%':
			b.WriteString("%%")
		case c == '$' && variables:
			b.WriteString("$$")
		case c < 0x20 || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// rawPath writes a path for a directive that takes the rest of its line.
func rawPath(path string) string { return strings.ReplaceAll(path, "%", "%%") }

// rawPathOK reports whether a line can hold the path as its rest: systemd
// trims white space, and takes a backslash at the end for a continuation.
func rawPathOK(path string) bool {
	return !hasControl(path) && !strings.HasSuffix(path, `\`) && strings.TrimSpace(path) == path && !strings.ContainsRune(path, '\u0085')
}

// programOK reports whether systemd can execute the path as it is. Since 257 or
// so it trims white space.
func programOK(path string) bool {
	return !hasControl(path) && !strings.ContainsAny(path, `"'\`) && strings.TrimSpace(path) == path
}

func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// checkText refuses what no unit can hold.
func checkText(what, text string) error {
	switch {
	case !utf8.ValidString(text):
		return fmt.Errorf("%s %q is not UTF-8, which systemd demands", what, text)
	case strings.ContainsRune(text, 0):
		return fmt.Errorf("%s %q has a NUL", what, text)
	default:
		return nil
	}
}

package native

import (
	"strings"
	"unicode/utf8"
)

// winService is what the service control manager of Windows knows of a service:
// a shim that is started with the machine, and again when it is killed. It is
// written as text, so that it is compared and shown as scripts are.
type winService struct {
	command     string // the program and its arguments, quoted
	display     string // unique as the name is, in either case
	description string // with the mark
}

// winMark begins the description of a service that instar made.
const winMark = "Made by instar: changes are undone. "

func (w winService) text() string {
	return "command=" + w.command + "\ndisplay=" + w.display + "\ndescription=" + w.description + "\n"
}

// winServiceOf undoes text.
func winServiceOf(text string) (w winService, ok bool) {
	var found [3]bool
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch key {
		case "command":
			w.command, found[0] = value, true
		case "display":
			w.display, found[1] = value, true
		case "description":
			w.description, found[2] = value, true
		}
	}
	return w, found == [3]bool{true, true, true}
}

func winServiceFor(s initScript) winService {
	return winService{
		command:     winQuote(s.binary) + " supervise --service " + winQuote(s.spec),
		display:     label(s.name),
		description: winMark + s.description,
	}
}

// winQuote returns text as one argument of a command line, as programs of
// Windows take it apart: backslashes are ordinary but before a quotation mark.
func winQuote(text string) string {
	if text != "" && !strings.ContainsAny(text, " \t\"") && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	b.WriteByte('"')
	slashes := 0
	for i := range len(text) {
		switch c := text[i]; c {
		case '\\':
			slashes++
			continue
		case '"':
			b.WriteString(strings.Repeat(`\`, 2*slashes+1))
		default:
			b.WriteString(strings.Repeat(`\`, slashes))
		}
		b.WriteByte(text[i])
		slashes = 0
	}
	b.WriteString(strings.Repeat(`\`, 2*slashes))
	b.WriteByte('"')
	return b.String()
}

// winSplit takes a command line apart that winQuote made; that of others, nearly.
func winSplit(line string) []string {
	var args []string
	var arg strings.Builder
	quoted, begun, slashes := false, false, 0
	flush := func(n int) {
		arg.WriteString(strings.Repeat(`\`, n))
		slashes = 0
	}
	for i := range len(line) {
		switch c := line[i]; {
		case c == '\\':
			slashes++
			begun = true
			continue
		case c == '"' && slashes%2 == 1:
			flush(slashes / 2)
			arg.WriteByte(c)
		case c == '"':
			flush(slashes / 2)
			quoted, begun = !quoted, true
		case (c == ' ' || c == '\t') && !quoted:
			flush(slashes)
			if begun {
				args = append(args, arg.String())
				arg.Reset()
				begun = false
			}
		default:
			flush(slashes)
			arg.WriteByte(c)
			begun = true
		}
	}
	flush(slashes)
	if begun {
		args = append(args, arg.String())
	}
	return args
}

package secret

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// minForm is the least length in bytes of a line or a derived form. What
	// is shorter would mask innocent text. The secret itself is masked
	// whatever its length.
	minForm = 4
	// minLineRefused is the least length in bytes of a single line of a
	// secret for [Masker.Contains].
	minLineRefused = 8
	// wrapWindow is the length of the pieces by which base64 is recognised
	// that is broken into lines; wrapLimit is the longest text in bytes for
	// which that is done.
	wrapWindow = 8
	wrapLimit  = 8 << 10
)

// forms returns what one secret is recognised by: the text, the text without
// surrounding white space, and, when it has several, each of its lines of at
// least minForm bytes (but not the "-----BEGIN X-----" lines of PEM); each of
// them also
//
//   - escaped as in JSON, in the ways that differ between encoders, as in Go,
//     and as JSON within JSON;
//   - percent-encoded as in a query, a path, user information or strictly;
//   - quoted for a shell, and for XML and HTML;
//   - in hexadecimal;
//   - in base64, standard and URL alphabet, padded or not, at any offset
//     within a longer encoded text; for the whole secret also when the encoded
//     text is broken into lines at a multiple of four characters, but for
//     fewer than 8 characters at either side of a break.
func forms(text string) []pattern {
	set := formSet{}
	trimmed := strings.TrimSpace(text)
	set.derive(text, false)
	set.derive(trimmed, false)
	set.wrapped(trimmed)
	for _, line := range strings.Split(trimmed, "\n") {
		line = strings.TrimSpace(line)
		if len(line) >= minForm && line != trimmed && !armour.MatchString(line) {
			set.derive(line, len(line) < minLineRefused)
		}
	}
	list := make([]pattern, 0, len(set))
	for _, p := range set {
		list = append(list, p)
	}
	return list
}

// armour is a line of PEM that says nothing but what follows.
var armour = regexp.MustCompile(`^-----(BEGIN|END) [A-Z0-9 ]+-----$`)

type formSet map[string]pattern

func (set formSet) put(p pattern) {
	if old, ok := set[p.text]; ok {
		p = p.join(old)
	}
	set[p.text] = p
}

// derive adds text and all that it may be encoded as.
func (set formSet) derive(text string, weak bool) {
	set.put(pattern{text: text, weak: weak})
	for _, encode := range escapes {
		set.put(pattern{text: encode(text), weak: weak})
	}
	if len(text) < minForm {
		return
	}
	digits := hex.EncodeToString([]byte(text))
	set.put(pattern{text: digits, weak: weak})
	set.put(pattern{text: strings.ToUpper(digits), weak: weak})
	for offset := range 3 {
		c := base64Core(text, offset)
		c.weak = weak
		set.put(c)
		c.text = urlAlphabet.Replace(c.text)
		set.put(c)
	}
}

// wrapped adds the pieces by which text is found in base64 of several lines.
func (set formSet) wrapped(text string) {
	if len(text) < minForm || len(text) > wrapLimit {
		return
	}
	for offset := range 3 {
		core := base64Core(text, offset).text
		first := (4 - base64Skip[offset]) % 4 // the first whole group of four
		for i := first; i+wrapWindow <= len(core); i += 4 {
			piece := core[i : i+wrapWindow]
			set.put(pattern{text: piece})
			set.put(pattern{text: urlAlphabet.Replace(piece)})
		}
	}
}

// base64Skip is how many leading characters of an encoded text hold bits of
// the 0, 1 or 2 bytes that precede the secret in its first group.
var base64Skip = [3]int{0, 2, 3}

var urlAlphabet = strings.NewReplacer("+", "-", "/", "_")

// base64Core returns the characters that text alone decides when it is
// encoded behind offset other bytes, and whether the neighbours hold some of
// its bits as well.
func base64Core(text string, offset int) pattern {
	encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", offset) + text))
	bits := 8 * (offset + len(text))
	core := encoded[base64Skip[offset] : bits/6]
	return pattern{text: core, base64: true, before: offset != 0, after: bits%6 != 0}
}

// escapes are the textual encodings; all return a text unchanged that has
// nothing to escape.
var escapes = []func(string) string{
	jsonGo,
	jsonPlain,
	func(s string) string { return strings.ReplaceAll(jsonPlain(s), "/", `\/`) },
	func(s string) string { return jsonASCII(s, `\u%04x`) },
	func(s string) string { return jsonASCII(s, `\u%04X`) },
	func(s string) string { return strings.ReplaceAll(jsonASCII(s, `\u%04x`), "/", `\/`) },
	func(s string) string { return jsonGo(jsonGo(s)) },
	func(s string) string { return jsonPlain(jsonPlain(s)) },
	func(s string) string { return unquote(strconv.Quote(s)) },
	func(s string) string { return unquote(strconv.QuoteToASCII(s)) },

	url.QueryEscape,
	url.PathEscape,
	func(s string) string { return strings.TrimPrefix(url.UserPassword("", s).String(), ":") },
	func(s string) string { return (&url.URL{Path: "/" + s}).EscapedPath()[1:] },
	func(s string) string { return percent(s, "-._~", "%%%02X") },
	func(s string) string { return percent(s, "-._~", "%%%02x") },
	func(s string) string { return percent(s, "-._~/", "%%%02X") },
	func(s string) string { return percent(s, "-._~!'()*", "%%%02X") },
	func(s string) string { return percent(s, "-._~!'()*;/?:@&=+$,#", "%%%02X") },
	func(s string) string { return strings.ReplaceAll(percent(s, "-._~ ", "%%%02x"), " ", "+") },

	strings.NewReplacer(`'`, `'\''`).Replace,
	strings.NewReplacer(`'`, `'"'"'`).Replace,
	strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace,
	strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace,
	strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace,
	shellWord,

	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace,
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;").Replace,
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#x27;").Replace,
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace,
}

func unquote(s string) string { return s[1 : len(s)-1] }

// jsonGo escapes as encoding/json does by default: also <, > and &.
func jsonGo(s string) string {
	b, err := json.Marshal(s)
	if err != nil { // a string can always be encoded
		return s
	}
	return unquote(string(b))
}

// jsonPlain escapes as most encoders do.
func jsonPlain(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil { // a string can always be encoded
		return s
	}
	return unquote(strings.TrimSuffix(b.String(), "\n"))
}

// jsonASCII escapes like jsonPlain and, by format, whatever is not ASCII.
func jsonASCII(s, format string) string {
	var b strings.Builder
	for _, r := range jsonPlain(s) {
		switch {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, format+format, hi, lo)
		default:
			fmt.Fprintf(&b, format, r)
		}
	}
	return b.String()
}

// percent encodes, by format, all bytes but letters, digits and those in keep.
func percent(s, keep, format string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; wordByte(c) || strings.IndexByte(keep, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, format, c)
		}
	}
	return b.String()
}

// shellWord escapes as `printf %q` of bash does with printable text.
func shellWord(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf && !wordByte(byte(r)) && !strings.ContainsRune("-./:=%@+\n", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func wordByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

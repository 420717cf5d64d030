package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"instar/runtime/plan"
)

func decode(data []byte) (*State, error) {
	if rest, owned, ok := cutOwned(string(data)); ok {
		if s, err := decodeAll([]byte(rest)); err == nil {
			s.Owned = owned
			return s, nil
		}
	}
	return decodeAll(data)
}

// decodeAll reads the whole of a state by encoding/json.
func decodeAll(data []byte) (*State, error) {
	var version struct {
		FormatVersion int `json:"format_version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, err
	}
	if version.FormatVersion > FormatVersion {
		return nil, &NewerError{Got: version.FormatVersion}
	}
	if version.FormatVersion < 1 {
		return nil, fmt.Errorf("format_version is %d", version.FormatVersion)
	}
	s := New("")
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(s); err != nil {
		return nil, err
	}
	return s, nil
}

// cutOwned reads what a state owns, and returns the state without it. Without ok
// there was something that only encoding/json understands, or nobody.
func cutOwned(data string) (rest string, owned map[string]Owned, ok bool) {
	p := parser{text: data}
	start, end := -1, -1
	p.object(func(key string) {
		if key != "owned" {
			p.skip()
			return
		}
		if start >= 0 {
			p.bad = true
			return
		}
		p.space()
		start = p.at
		owned = p.owned()
		end = p.at
	})
	if p.bad || start < 0 {
		return "", nil, false
	}
	return data[:start] + "{}" + data[end:], owned, true
}

// parser reads JSON from the front of a text, as far as state.json needs it; bad
// says that something else was there.
type parser struct {
	text string
	at   int
	bad  bool
}

func (p *parser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// next reports whether c comes next, and takes it.
func (p *parser) next(c byte) bool {
	p.space()
	if p.bad || p.at >= len(p.text) || p.text[p.at] != c {
		return false
	}
	p.at++
	return true
}

// want takes c, which must come next.
func (p *parser) want(c byte) {
	if !p.next(c) {
		p.bad = true
	}
}

// object calls value for each key; it takes the value.
func (p *parser) object(value func(key string)) {
	p.want('{')
	if p.next('}') {
		return
	}
	for !p.bad {
		key := p.string()
		p.want(':')
		if p.bad {
			return
		}
		value(key)
		if p.next('}') {
			return
		}
		p.want(',')
	}
}

// string takes a text; it shares the memory of the whole.
func (p *parser) string() string {
	p.want('"')
	if p.bad {
		return ""
	}
	start := p.at
	for i := start; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '"':
			p.at = i + 1
			return p.text[start:i]
		case c == '\\' || c < ' ' || c > '~':
			return p.quoted(start)
		}
	}
	p.bad = true
	return ""
}

// quoted takes the rest of a text with escapes or letters beyond ASCII.
func (p *parser) quoted(start int) (text string) {
	p.at = start
	p.closing()
	if !p.bad {
		p.bad = json.Unmarshal([]byte(p.text[start-1:p.at]), &text) != nil
	}
	return text
}

// closing goes behind the quote that ends a text.
func (p *parser) closing() {
	for {
		i := strings.IndexByte(p.text[p.at:], '"')
		if i < 0 {
			p.bad = true
			return
		}
		p.at += i + 1
		escapes := 0
		for k := p.at - 2; k >= 0 && p.text[k] == '\\'; k-- {
			escapes++
		}
		if escapes%2 == 0 {
			return
		}
	}
}

// skip takes any value, without a close look: encoding/json has that.
func (p *parser) skip() {
	p.space()
	for depth := 0; p.at < len(p.text); {
		switch c := p.text[p.at]; c {
		case '"':
			p.at++
			if p.closing(); p.bad {
				return
			}
			if depth == 0 {
				return
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 { // behind a number or a word
				return
			}
			if depth--; depth == 0 {
				p.at++
				return
			}
		case ',':
			if depth == 0 {
				return
			}
		}
		p.at++
	}
	p.bad = true
}

// int takes a whole number from least to most.
func (p *parser) int(least, most int64) int64 {
	p.space()
	start, n := p.at, int64(0)
	negative := p.next('-')
	digits := p.at
	for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
		n = n*10 + int64(p.text[p.at]-'0')
		p.at++
	}
	many := p.at - digits
	if many == 0 || many > 18 || many > 1 && p.text[digits] == '0' {
		p.bad = true
	}
	if p.at < len(p.text) && strings.IndexByte(".eE", p.text[p.at]) >= 0 {
		p.bad = true
	}
	if negative {
		n = -n
	}
	if n < least || n > most || p.at == start {
		p.bad = true
	}
	return n
}

func (p *parser) bool() bool {
	p.space()
	for text, value := range map[string]bool{"true": true, "false": false} {
		if strings.HasPrefix(p.text[p.at:], text) {
			p.at += len(text)
			return value
		}
	}
	p.bad = true
	return false
}

// owned takes all that is owned.
func (p *parser) owned() map[string]Owned {
	owned := make(map[string]Owned, strings.Count(p.text[p.at:], `"kind":`))
	p.object(func(name string) {
		owned[name] = p.entry()
	})
	return owned
}

func (p *parser) entry() (o Owned) {
	p.object(func(key string) {
		switch key {
		case "kind":
			o.Kind = kindOf(p.string())
		case "hash":
			o.Hash = p.string()
		case "mode":
			o.Mode = plan.Mode(p.int(0, math.MaxUint32))
		case "uid":
			o.UID = int(p.int(math.MinInt32, math.MaxUint32))
		case "gid":
			o.GID = int(p.int(math.MinInt32, math.MaxUint32))
		case "once":
			o.Once = p.bool()
		case "implicit":
			o.Implicit = p.bool()
		case "foreign":
			o.Foreign = p.bool()
		case "at":
			o.At = p.pos()
		case "source":
			o.Source = p.string()
		case "generation":
			o.Generation = int(p.int(math.MinInt32, math.MaxInt32))
		case "by":
			o.By = p.string()
		case "claim":
			o.Claim = p.claim()
		default:
			p.bad = true
		}
	})
	return o
}

// kindOf spares the memory of a text that is always one of a few.
func kindOf(text string) plan.Kind {
	for _, kind := range []plan.Kind{plan.KindFile, plan.KindDir, plan.KindLink} {
		if text == string(kind) {
			return kind
		}
	}
	return plan.Kind(text)
}

func (p *parser) pos() (at plan.Pos) {
	p.object(func(key string) {
		switch key {
		case "file":
			at.File = p.string()
		case "line":
			at.Line = int32(p.int(math.MinInt32, math.MaxInt32))
		case "col":
			at.Col = int32(p.int(math.MinInt32, math.MaxInt32))
		default:
			p.bad = true
		}
	})
	return at
}

func (p *parser) claim() *Claim {
	c := &Claim{}
	p.object(func(key string) {
		switch key {
		case "was":
			c.Was = p.string()
		case "hash":
			c.Hash = p.string()
		default:
			p.bad = true
		}
	})
	return c
}

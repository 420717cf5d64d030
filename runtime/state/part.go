package state

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
)

// Where little has changed, little of what an instance owns is looked at: then all
// else is carried from one state.json to the next as the bytes that it is. The
// bytes that come of it are those that [Encode] makes of the whole.

// Rest is what a state owns beyond its Owned, as state.json has it.
type Rest struct {
	text  []byte   // the entries, without the braces around them
	taken []string // what of text counts no more, sorted: what is there now is in Owned
}

// IsPart reports whether Owned has only a part of what is owned.
func (s *State) IsPart() bool { return s.Rest != nil }

// Whole returns s with all that is owned.
func (s *State) Whole() (*State, error) {
	if s.Rest == nil {
		return s, nil
	}
	data, err := Encode(s)
	if err != nil {
		return nil, err
	}
	return decode(data)
}

var errNotBeside = errors.New("it is not the state that the cache was made beside")

// LoadPart reads of what is owned only paths, which are sorted; brief is all of
// the state but that. What is changed of a part, and saved, is changed in the
// whole.
func (f Folder) LoadPart(brief *State, paths []string) (*State, error) {
	data, err := os.ReadFile(f.Path("state.json"))
	if err != nil {
		return nil, err
	}
	return partOf(data, brief, paths)
}

func partOf(data []byte, brief *State, paths []string) (*State, error) {
	head, tail, err := ends(brief)
	if err != nil {
		return nil, err
	}
	text, before := bytes.CutPrefix(data, append(head, '{'))
	text, after := bytes.CutSuffix(text, append([]byte{'}'}, tail...))
	if !before || !after {
		return nil, errNotBeside
	}
	s := *brief
	s.Owned, s.Rest = make(map[string]Owned, len(paths)), &Rest{text, paths}
	for _, path := range paths {
		from, to := s.Rest.find(path)
		if from == to {
			continue
		}
		p := parser{text: string(text[from:to])}
		p.string()
		p.want(':')
		s.Owned[path] = p.entry()
		if p.bad || p.at != len(p.text) {
			return nil, fmt.Errorf("cannot read the entry of %q", path)
		}
	}
	return &s, nil
}

// append writes all that is owned, as entries.
func (r *Rest) append(out []byte, owned map[string]Owned) []byte {
	names := slices.Clone(r.taken)
	for name := range owned {
		names = append(names, name)
	}
	slices.Sort(names)
	start := len(out)
	put := func(entries []byte) {
		entries = bytes.Trim(entries, ",")
		if len(entries) > 0 && len(out) > start {
			out = append(out, ',')
		}
		out = append(out, entries...)
	}
	at := 0
	var entry []byte
	for _, name := range slices.Compact(names) {
		from, to := r.find(name)
		put(r.text[at:from])
		at = to
		if _, ok := owned[name]; ok {
			entry = appendEntries(entry[:0], owned, []string{name})
			put(entry)
		}
	}
	put(r.text[at:])
	return out
}

// find returns where the entry of name is, or, as an empty place, where it would be.
func (r *Rest) find(name string) (from, to int) {
	from, end := 0, len(r.text)
	for from < end { // the entry is at from or later, and before end
		at := r.entryAt((from + end) / 2)
		next := r.next(at)
		p := parser{text: string(r.text[at:min(next, at+2*len(name)+64)])}
		switch found := p.string(); {
		case p.bad: // it is longer
			p = parser{text: string(r.text[at:next])}
			if found = p.string(); found < name {
				from = next
			} else {
				end = at
			}
		case found == name:
			return at, min(next, len(bytes.TrimRight(r.text[:next], ",")))
		case found < name:
			from = next
		default:
			end = at
		}
	}
	return from, from
}

// behindName follows the name of every entry, and stands nowhere else: quotes in
// texts are escaped.
var behindName = []byte(`":{"kind":`)

// entryAt returns where the entry begins that holds the byte at i, or the comma
// behind which it is.
func (r *Rest) entryAt(i int) int {
	// The byte may be part of the name, or of what follows it.
	if k := bytes.LastIndex(r.text[:min(len(r.text), i+len(behindName))], behindName); k >= 0 {
		at := r.nameBefore(k)
		next := r.next(at)
		if i < next {
			return at
		}
		return next
	}
	return 0
}

// next returns where the entry behind the one at i begins.
func (r *Rest) next(i int) int {
	own := bytes.Index(r.text[i:], behindName)
	if own < 0 {
		return len(r.text)
	}
	from := i + own + len(behindName)
	k := bytes.Index(r.text[from:], behindName)
	if k < 0 {
		return len(r.text)
	}
	return r.nameBefore(from + k)
}

// nameBefore returns where the name begins that ends at i, a quote. A quote within
// it has a backslash before it.
func (r *Rest) nameBefore(i int) int {
	for i--; i > 0 && (r.text[i] != '"' || r.text[i-1] == '\\'); i-- {
	}
	return i
}

package secret

import (
	"math/bits"
	"strings"
)

// pattern is one text to look for.
type pattern struct {
	text  string
	shown string

	secret bool // counts for contains
	chosen bool // shown was given by Replace: stronger than the mask
	word   bool // only where no word character stands on either side
	weak   bool // does not count for contains, though secret

	// base64 marks the inner part of an encoded text. The character before or
	// after it then holds bits of the secret too, and padding may follow.
	base64        bool
	before, after bool
}

// join returns the one pattern that stands for two with the same text.
func (p pattern) join(old pattern) pattern {
	if old.chosen && !p.chosen {
		p.shown = old.shown
	}
	p.weak = p.weak && old.weak
	p.secret = p.secret || old.secret
	p.chosen = p.chosen || old.chosen
	p.word = p.word && old.word
	p.base64 = p.base64 || old.base64
	p.before = p.before || old.before
	p.after = p.after || old.after
	return p
}

// span is a part of a text and what is shown instead.
type span struct {
	start, end int
	shown      string
}

// context says what preceded a text that is only a part of a stream.
type context struct {
	prev    byte // the byte before it; 0 at the beginning
	covered int  // so many leading bytes belong to an occurrence that began before
}

// index finds patterns: a hash table by their first four bytes behind a sparse
// bitmap of the same, and lists by first byte of the few that are shorter.
type index struct {
	list   []pattern
	next   []int32 // chains of patterns in one bucket; -1 ends
	head   []int32 // by the upper bits of the hash; -1: none
	filter []uint64
	shift  uint // 32 minus the bits of a hash that index the filter

	short    [256][]int32
	anyShort bool

	longest   int   // length in bytes of the longest pattern, neighbours included
	multiline []int // patterns that contain a newline
}

const (
	prefixLen  = 4
	filterBits = 6 // the filter has 1<<filterBits bits for each bucket
)

func compile(patterns map[string]pattern) *index {
	size := min(bits.Len(uint(max(len(patterns), 1<<9)))+filterBits, 28)
	x := &index{
		list:   make([]pattern, 0, len(patterns)),
		next:   make([]int32, len(patterns)),
		head:   make([]int32, 1<<(size-filterBits)),
		filter: make([]uint64, 1<<(size-6)),
		shift:  uint(32 - size),
	}
	for i := range x.head {
		x.head[i] = -1
	}
	for _, p := range patterns {
		x.insert(p)
	}
	return x
}

func (x *index) insert(p pattern) {
	i := int32(len(x.list))
	x.list = append(x.list, p)
	x.longest = max(x.longest, len(p.text)+4)
	if strings.Contains(p.text, "\n") {
		x.multiline = append(x.multiline, int(i))
	}
	if len(p.text) < prefixLen {
		c := p.text[0]
		x.short[c] = append(x.short[c], i)
		x.anyShort = true
		return
	}
	h := x.hash(key(p.text))
	x.filter[h/64] |= 1 << (h % 64)
	h >>= filterBits
	x.next[i], x.head[h] = x.head[h], i
}

// key returns the first four bytes of s as a number.
func key(s string) uint32 {
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

func (x *index) hash(k uint32) uint32 { return (k * 0x9E3779B1) >> x.shift }

// each calls f with every occurrence of every pattern, by where it starts,
// until f returns false.
func (x *index) each(s string, f func(p *pattern, at int) bool) {
	if x.anyShort {
		x.eachWithShort(s, f)
		return
	}
	if len(s) < prefixLen {
		return
	}
	k := key(s) << 8
	for i := 0; i+prefixLen <= len(s); i++ {
		k = k>>8 | uint32(s[i+prefixLen-1])<<24
		h := x.hash(k)
		if x.filter[h/64]&(1<<(h%64)) != 0 && !x.at(s, i, x.head[h>>filterBits], f) {
			return
		}
	}
}

// at calls f with the patterns of the chain from j on that occur at s[i].
func (x *index) at(s string, i int, j int32, f func(p *pattern, at int) bool) bool {
	for ; j >= 0; j = x.next[j] {
		if p := &x.list[j]; strings.HasPrefix(s[i:], p.text) && !f(p, i) {
			return false
		}
	}
	return true
}

// eachWithShort is each when there are patterns shorter than a prefix.
func (x *index) eachWithShort(s string, f func(p *pattern, at int) bool) {
	for i := range len(s) {
		for _, j := range x.short[s[i]] {
			if p := &x.list[j]; strings.HasPrefix(s[i:], p.text) && !f(p, i) {
				return
			}
		}
		if i+prefixLen <= len(s) && !x.at(s, i, x.head[x.hash(key(s[i:]))>>filterBits], f) {
			return
		}
	}
}

func (x *index) contains(s string) bool {
	found := false
	x.each(s, func(p *pattern, _ int) bool {
		found = p.secret && !p.weak
		return !found
	})
	return found
}

// find returns the parts of s to be replaced, in order and apart. Occurrences
// that overlap become one part, shown as the mask unless all agree.
func (x *index) find(s string, c context) []span {
	var spans []span
	if c.covered > 0 {
		spans = append(spans, span{start: 0, end: min(c.covered, len(s))})
	}
	x.each(s, func(p *pattern, at int) bool {
		sp := span{start: at, end: at + len(p.text), shown: p.shown}
		if p.word && !standsAlone(s, c.prev, sp.start, sp.end) {
			return true
		}
		if p.base64 {
			sp.widen(p, s)
		}
		for n := len(spans); n > 0 && sp.start < spans[n-1].end; n-- {
			spans[n-1].unite(sp)
			sp, spans = spans[n-1], spans[:n-1]
		}
		spans = append(spans, sp)
		return true
	})
	return spans
}

// unite makes sp cover other too. What one of them covers wholly keeps the
// covering one's text.
func (sp *span) unite(other span) {
	inside := other.start >= sp.start && other.end <= sp.end
	around := other.start <= sp.start && other.end >= sp.end
	switch {
	case sp.shown == other.shown || inside || sp.shown == "":
	case around:
		sp.shown = other.shown
	default:
		sp.shown = Mask
	}
	sp.start = min(sp.start, other.start)
	sp.end = max(sp.end, other.end)
}

// widen takes in the neighbours that hold bits of p, and the padding.
func (sp *span) widen(p *pattern, s string) {
	if p.before && sp.start > 0 && base64Byte(s[sp.start-1]) {
		sp.start--
	}
	if p.after && sp.end < len(s) && base64Byte(s[sp.end]) {
		sp.end++
	}
	for range 2 {
		if sp.end < len(s) && s[sp.end] == '=' {
			sp.end++
		}
	}
}

func base64Byte(c byte) bool {
	return wordByte(c) || c == '+' || c == '/' || c == '-'
}

// standsAlone reports whether s[start:end] has no word character beside it;
// prev precedes s.
func standsAlone(s string, prev byte, start, end int) bool {
	if start > 0 {
		prev = s[start-1]
	}
	return !wordByte(prev) && (end == len(s) || !wordByte(s[end]))
}

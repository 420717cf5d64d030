// Package secret keeps secret values out of whatever is shown: plans, diffs,
// logs, errors and reports.
//
// A [Masker] knows secrets by value, not by place: it replaces a secret
// wherever it turns up, in any of the forms that programs commonly write a
// text in (see forms.go). Beside secrets it knows values that are shown as
// something else, such as those that an apply will choose.
//
// The invariant: what String, Bytes, Walk and a Writer let through contains
// no form of any secret. Occurrences that overlap are masked together, so no
// part of one remains beside the other.
package secret

import (
	"strings"
	"sync"
	"sync/atomic"
)

// Mask is shown in place of a secret.
const Mask = "********"

// ChosenAtApply is shown in place of a value that the next apply will choose.
const ChosenAtApply = "(chosen at apply)"

// Masker replaces secrets in text. It is safe for concurrent use. A nil Masker
// masks nothing, and costs nothing.
type Masker struct {
	mu       sync.Mutex
	patterns map[string]pattern
	compiled atomic.Pointer[index] // nil when patterns changed since
}

// New returns a Masker of the given secrets; none is fine.
func New(secrets []string) *Masker {
	m := &Masker{}
	m.Add(secrets...)
	return m
}

// Add makes the masker know more secrets. A secret of nothing but white space
// is ignored. A short one is masked wherever its characters occur: callers
// refuse secrets too short to be told from other text.
func (m *Masker) Add(secrets ...string) {
	for _, s := range secrets {
		if strings.TrimSpace(s) == "" {
			continue
		}
		fs := forms(s)
		for i := range fs {
			fs[i].shown, fs[i].secret = Mask, true
		}
		m.merge(fs)
	}
}

// Replace has shown printed in place of value, in all its forms. For a value
// that is also a secret, shown is printed instead of the mask.
func (m *Masker) Replace(value, shown string) {
	if strings.TrimSpace(value) == "" {
		return
	}
	fs := forms(value)
	for i := range fs {
		fs[i].shown, fs[i].chosen, fs[i].weak = shown, true, true
	}
	m.merge(fs)
}

// ReplaceWord is like Replace, but only for value itself, and only where no
// letter, digit or underscore stands on either side: for values as short as a
// port number.
func (m *Masker) ReplaceWord(value, shown string) {
	if strings.TrimSpace(value) == "" {
		return
	}
	m.merge([]pattern{{text: value, shown: shown, chosen: true, word: true, weak: true}})
}

// merge adds patterns. Of two with one text, the one that matches more wins,
// and a chosen text to show wins over the mask.
func (m *Masker) merge(ps []pattern) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.patterns == nil {
		m.patterns = make(map[string]pattern)
	}
	for _, p := range ps {
		old, ok := m.patterns[p.text]
		if ok {
			p = p.join(old)
		}
		m.patterns[p.text] = p
	}
	m.compiled.Store(nil)
}

// index returns the compiled patterns, or nil if there are none.
func (m *Masker) index() *index {
	if m == nil {
		return nil
	}
	if x := m.compiled.Load(); x != nil {
		return x
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.patterns) == 0 {
		return nil
	}
	x := compile(m.patterns)
	m.compiled.Store(x)
	return x
}

// String returns s with every secret masked.
func (m *Masker) String(s string) string {
	x := m.index()
	if x == nil {
		return s
	}
	spans := x.find(s, context{})
	if len(spans) == 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	done := 0
	for _, sp := range spans {
		b.WriteString(s[done:sp.start])
		b.WriteString(sp.shown)
		done = sp.end
	}
	b.WriteString(s[done:])
	return b.String()
}

// Bytes is String for bytes. It returns b itself when nothing is masked, and
// never changes it.
func (m *Masker) Bytes(b []byte) []byte {
	if m.index() == nil {
		return b
	}
	s := string(b)
	if masked := m.String(s); masked != s {
		return []byte(masked)
	}
	return b
}

// Contains reports whether b contains a secret in any form. It is meant for
// refusing such text, so it overlooks single lines of fewer than
// [minLineRefused] bytes of a secret with several lines, which may well be
// no secret ("user: root"). Values known by Replace alone don't count.
func (m *Masker) Contains(b []byte) bool {
	x := m.index()
	return x != nil && x.contains(string(b))
}

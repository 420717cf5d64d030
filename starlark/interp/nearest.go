package interp

import (
	"slices"
	"strings"
	"unicode"
)

// Nearest returns the candidate that name is most likely a misspelling of.
// It counts inserted, removed, replaced and swapped characters and allows
// one in three, ignoring case and underscores. Of equals, the first in
// alphabetical order wins. The name itself is never returned.
func Nearest(name string, candidates []string) (string, bool) {
	x := fold(name)
	limit := (len(x) + 2) / 3
	best, bestCost := "", min(limit, max(len(x)-1, 0))*2+2
	for _, candidate := range slices.Sorted(slices.Values(candidates)) {
		if candidate == name || candidate == "" {
			continue
		}
		y := fold(candidate)
		if diff := len(x) - len(y); diff > limit || -diff > limit {
			continue
		}
		cost := 2 * distance(x, y)
		if cost == 0 && candidate != name {
			cost = 1 // differs in case or underscores only
		}
		if cost < bestCost {
			best, bestCost = candidate, cost
		}
	}
	return best, best != ""
}

// fold drops what Nearest ignores.
func fold(s string) []rune {
	return []rune(strings.Map(func(r rune) rune {
		if r == '_' || r == '-' {
			return -1
		}
		return unicode.ToLower(r)
	}, s))
}

// distance is the optimal string alignment distance of x and y: the
// Damerau-Levenshtein distance in which nothing is edited twice.
func distance(x, y []rune) int {
	before, previous, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(x); i++ {
		before, previous, row = previous, row, before
		row[0] = i
		for j := 1; j <= len(y); j++ {
			replaced := previous[j-1]
			if x[i-1] != y[j-1] {
				replaced++
			}
			row[j] = min(replaced, row[j-1]+1, previous[j]+1)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(y)]
}

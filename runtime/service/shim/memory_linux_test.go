package shim

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// resident returns what the kernel says of this process's memory, in kB.
func resident(t *testing.T, key string) int {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), key+":")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestGiveBack(t *testing.T) {
	before := resident(t, "RssFile")
	giveBack()
	after := resident(t, "RssFile")
	t.Logf("pages of files: %d kB, then %d kB", before, after)
	if after >= before {
		t.Error("nothing was given back")
	}
}

func TestMapping(t *testing.T) {
	for _, c := range []struct {
		lines string
		want  bool
	}{
		{"00400000-00ab0000 r-xp 00000000 fe:00 10216259   /usr/bin/in star\nSize: 8 kB\nAnonymous: 0 kB", true},
		{"00ab0000-01184000 r--p 006b0000 fe:00 10216259   /usr/bin/instar\nAnonymous: 4 kB", false}, // relocated
		{"01184000-011eb000 rw-p 00d84000 fe:00 10216259   /usr/bin/instar\nAnonymous: 0 kB", false},
		{"c6332800000-c6333000000 r--p 00000000 00:00 0\nAnonymous: 0 kB", false},
		{"7fff0000-7fff1000 r-xp 00000000 00:00 0   [vdso]\nAnonymous: 0 kB", false},
		{"7f00-7f10 r--s 00000000 fe:00 3   /x\nAnonymous: 0 kB", false},
	} {
		var m mapping
		got := false
		for line := range strings.Lines(c.lines) {
			got = m.add(strings.TrimSuffix(line, "\n"))
		}
		if got != c.want {
			t.Errorf("%q: %v", c.lines, got)
		}
	}
}

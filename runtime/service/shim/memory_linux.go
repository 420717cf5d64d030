package shim

import (
	"bufio"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// frugal has the garbage collector prefer little memory: a shim does little.
func frugal() { debug.SetGCPercent(25) }

// giveBack returns the memory that is not needed while the service just runs:
// what the collector finds, and the pages of programs and libraries, which are
// read again from their files when they are.
func giveBack() {
	debug.FreeOSMemory()
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer maps.Close()
	var m mapping
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		if !m.add(lines.Text()) {
			continue
		}
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.from, m.size, unix.MADV_DONTNEED) // at worst it stays
	}
}

// mapping is one part of the memory, as far as /proc/self/smaps was read.
type mapping struct {
	from, size uintptr
	readOnly   bool // it is of a file, and can't be written to
}

// add takes the next line, and reports whether what the mapping holds can be
// dropped: it is all as it stands in its file. What is not writable any more
// may have been, while the program was loaded: that shows as anonymous.
func (m *mapping) add(line string) bool {
	f := strings.Fields(line)
	switch {
	case len(f) == 3 && f[0] == "Anonymous:":
		return m.readOnly && f[1] == "0"
	case len(f) < 5 || len(f[1]) != 4 || f[1][3] != 'p':
		return false
	}
	begin, end, _ := strings.Cut(f[0], "-")
	a, err := strconv.ParseUint(begin, 16, 64)
	b, errEnd := strconv.ParseUint(end, 16, 64)
	*m = mapping{from: uintptr(a), size: uintptr(b - a)}
	m.readOnly = err == nil && errEnd == nil && b > a && f[1][:2] == "r-" && len(f) > 5 && strings.HasPrefix(f[5], "/")
	return false
}

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
// what the collector finds, and the pages of the program, which are read again
// from its file when they are.
func giveBack() {
	debug.FreeOSMemory()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		if from, size, ok := dispensable(lines.Text(), exe); ok {
			// The mapping is the program's own, and only ever read.
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, size, unix.MADV_DONTNEED)
		}
	}
}

// dispensable parses a line of /proc/self/maps: a part of the program that
// nobody can have written to. It is of the form
// "00400000-00b5e000 r-xp 00000000 08:01 131 /usr/bin/instar".
func dispensable(line, exe string) (from, size uintptr, ok bool) {
	f := strings.Fields(line)
	if len(f) < 6 || !strings.HasSuffix(line, " "+exe) || len(f[1]) != 4 || f[1][0] != 'r' || f[1][1] != '-' {
		return 0, 0, false
	}
	begin, end, _ := strings.Cut(f[0], "-")
	a, err := strconv.ParseUint(begin, 16, 64)
	b, errEnd := strconv.ParseUint(end, 16, 64)
	if err != nil || errEnd != nil || b <= a {
		return 0, 0, false
	}
	return uintptr(a), uintptr(b - a), true
}

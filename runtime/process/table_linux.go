package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// entry is one process as /proc showed it.
type entry struct {
	pid, ppid, pgid, sid int
	start                uint64 // ticks since boot; with pid and boot it names the process for good
	rss                  int64  // bytes
	dead                 bool   // a zombie without living threads
	kernel               bool

	read sync.Once
	mk   string
}

// table is all processes at one moment, more or less: it is read one process
// after the other.
type table map[int]*entry

// kernelThread is PF_KTHREAD of the kernel.
const kernelThread = 0x00200000

var pageSize = int64(os.Getpagesize())

// readEntry reads one process.
func readEntry(pid int) (*entry, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil, err
	}
	return parseStat(pid, string(data))
}

// parseStat parses /proc/PID/stat; see proc_pid_stat(5). The program's name
// stands in parentheses and may contain anything.
func parseStat(pid int, text string) (*entry, error) {
	_, rest, ok := cutLast(text, ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 22 {
		return nil, fmt.Errorf("cannot read the state of process %d: %q", pid, text)
	}
	var bad error
	number := func(field int) int64 { // counted as the manual does, from 1
		n, err := strconv.ParseInt(f[field-3], 10, 64)
		if err != nil {
			bad = err
		}
		return n
	}
	e := &entry{
		pid: pid, ppid: int(number(4)), pgid: int(number(5)), sid: int(number(6)),
		start: uint64(number(22)), rss: number(24) * pageSize,
		kernel: number(9)&kernelThread != 0,
	}
	switch f[0] {
	case "Z":
		e.dead = number(20) <= 1 // a leader that ended before its threads lives on in them
	case "X", "x":
		e.dead = true
	}
	return e, bad
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// mark returns the mark in the environment that the process was started with,
// "" when there is none, it can't be read, or the program wrote over it.
func (e *entry) mark() string {
	e.read.Do(func() {
		if e.kernel || e.dead {
			return
		}
		data, err := os.ReadFile("/proc/" + strconv.Itoa(e.pid) + "/environ")
		if err != nil {
			return
		}
		for len(data) > 0 {
			var word []byte
			word, data, _ = bytes.Cut(data, []byte{0})
			if value, ok := strings.CutPrefix(string(word), MarkVariable+"="); ok {
				e.mk = value // the last one counts: it is ours
			}
		}
	})
	return e.mk
}

// readTable reads all processes.
func readTable() (table, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	t := make(table, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if e, err := readEntry(pid); err == nil { // else it has just gone
			t[pid] = e
		}
	}
	return t, nil
}

// scan is one reading of the table that several callers share.
type scan struct {
	done  chan struct{}
	table table
	err   error
}

var scans struct {
	mu      sync.Mutex
	waiting *scan // its reading has not begun
	reading sync.Mutex
}

// freshTable returns a table whose reading began after the call. Callers that
// come while another reading is under way share the next one, so that ending
// many trees at once costs few readings.
func freshTable() (table, error) {
	scans.mu.Lock()
	s := scans.waiting
	mine := s == nil
	if mine {
		s = &scan{done: make(chan struct{})}
		scans.waiting = s
	}
	scans.mu.Unlock()
	if !mine {
		<-s.done
		return s.table, s.err
	}
	scans.reading.Lock()
	defer scans.reading.Unlock()
	scans.mu.Lock()
	scans.waiting = nil
	scans.mu.Unlock()
	s.table, s.err = readTable()
	close(s.done)
	return s.table, s.err
}

// self returns this process and its ancestors, which belong to no tree.
func (t table) self() map[int]bool {
	mine := map[int]bool{}
	for pid := os.Getpid(); pid > 0 && !mine[pid]; {
		mine[pid] = true
		e := t[pid]
		if e == nil {
			break
		}
		pid = e.ppid
	}
	return mine
}

var bootID = sync.OnceValue(func() string {
	data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // "" compares equal to itself
	return strings.TrimSpace(string(data))
})

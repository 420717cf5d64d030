package metrics

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// usage is what the system knows of this process.
func usage() []Family {
	var families []Family
	add := func(name, help string, kind Kind, value float64) {
		f := Family{Name: name, Help: help, Kind: kind}
		f.Add(value)
		families = append(families, f)
	}
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) == nil {
		add("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", Counter, seconds(u.Utime)+seconds(u.Stime))
	}
	var size, resident int64
	if data, err := os.ReadFile("/proc/self/statm"); err == nil {
		if _, err := fmt.Fscan(strings.NewReader(string(data)), &size, &resident); err == nil {
			add("process_resident_memory_bytes", "Resident memory size in bytes.", Gauge, float64(resident)*float64(os.Getpagesize()))
		}
	}
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
		add("process_open_fds", "Number of open file descriptors.", Gauge, float64(len(entries)-1)) // less the one that reads
	}
	return families
}

func seconds(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

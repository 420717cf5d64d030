//go:build unix

package process

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ParseSignal returns the signal that a person calls name: "TERM", "SIGTERM",
// "term", "15", and on Linux "RTMIN+3" and "RTMAX-1".
func ParseSignal(name string) (syscall.Signal, error) {
	upper := strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(name)), "SIG")
	if n, err := strconv.Atoi(upper); err == nil && n >= 1 && n <= lastSignal {
		return syscall.Signal(n), nil
	}
	if sig := unix.SignalNum("SIG" + upper); sig != 0 {
		return sig, nil
	}
	if sig, ok := realTime(upper); ok {
		return sig, nil
	}
	return 0, fmt.Errorf("unknown signal %q", name)
}

// SignalName returns the name of sig without "SIG": "TERM".
func SignalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	if n := int(sig); firstRealTime > 0 && n >= firstRealTime && n <= lastSignal {
		return fmt.Sprintf("RTMIN+%d", n-firstRealTime)
	}
	return strconv.Itoa(int(sig))
}

// realTime parses "RTMIN", "RTMIN+n" and "RTMAX-n", as glibc counts.
func realTime(name string) (syscall.Signal, bool) {
	if firstRealTime == 0 {
		return 0, false
	}
	base, sign := firstRealTime, "+"
	rest, ok := strings.CutPrefix(name, "RTMIN")
	if !ok {
		base, sign = lastSignal, "-"
		if rest, ok = strings.CutPrefix(name, "RTMAX"); !ok {
			return 0, false
		}
	}
	if rest == "" {
		return syscall.Signal(base), true
	}
	n, err := strconv.Atoi(strings.TrimPrefix(rest, sign))
	if err != nil || !strings.HasPrefix(rest, sign) || n < 0 || n > lastSignal-firstRealTime {
		return 0, false
	}
	if sign == "-" {
		n = -n
	}
	return syscall.Signal(base + n), true
}

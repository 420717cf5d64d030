//go:build linux && !race

package sandbox

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// hardMemory says that the kernel enforces the memory limit.
const hardMemory = true

// confine limits this process for good: its memory, and its processor time
// as a second net below the parent's clock.
//
// RLIMIT_DATA alone is not enough. The kernel does not count what is mapped
// over an existing reservation, which is how Go's heap grows, so that any
// one allocation passes while the sum was below the limit before. So the
// address space is limited too, to what it is now with the data grown to the
// limit: Go reserves a lot of it, but all at its start.
func confine(memory, seconds int64) error {
	size, data, err := addressSpace()
	if err != nil {
		return err
	}
	limits := []struct {
		resource int
		value    uint64
	}{
		{unix.RLIMIT_AS, uint64(size - data + memory)},
		{unix.RLIMIT_DATA, uint64(memory)},
		{unix.RLIMIT_CPU, uint64(2*seconds + 5)}, // two threads may run at once
		{unix.RLIMIT_CORE, 0},
	}
	for _, limit := range limits {
		var now unix.Rlimit
		if err := unix.Getrlimit(limit.resource, &now); err != nil {
			return os.NewSyscallError("getrlimit", err)
		}
		value := min(limit.value, now.Max)
		if err := unix.Setrlimit(limit.resource, &unix.Rlimit{Cur: value, Max: value}); err != nil {
			return os.NewSyscallError("setrlimit", err)
		}
	}
	return nil
}

// addressSpace returns how many bytes this process has mapped, and how many
// of them are private and writable.
func addressSpace() (size, data int64, err error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0, err
	}
	var resident, shared, code, libraries int64
	_, err = fmt.Sscan(string(text), &size, &resident, &shared, &code, &libraries, &data)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot read /proc/self/statm: %w", err)
	}
	page := int64(os.Getpagesize())
	return size * page, data * page, nil
}

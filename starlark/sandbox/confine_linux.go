//go:build linux && !race

package sandbox

import (
	"os"

	"golang.org/x/sys/unix"
)

// hardMemory says that the kernel enforces the memory limit.
const hardMemory = true

// confine limits this process for good: bytes of private writable memory,
// and processor time as a second net below the parent's clock.
func confine(memory, seconds int64) error {
	limits := []struct {
		resource int
		value    uint64
	}{
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

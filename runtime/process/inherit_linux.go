package process

import (
	"math"

	"golang.org/x/sys/unix"
)

// closeRange has all descriptors but the standard ones closed on execution;
// Linux before 5.11 can't.
func closeRange() error {
	return unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
}

package native

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// syncAll makes all that was written to dir's file system durable: once for
// many files.
func syncAll(dir string, _ []string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// clockMonotonic is the clock by which systemd tells times since boot.
func clockMonotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

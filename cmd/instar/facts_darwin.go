package main

import "golang.org/x/sys/unix"

// memory returns the bytes of memory that the machine has, 0 when unknown.
func memory() int64 {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0
	}
	return int64(n)
}

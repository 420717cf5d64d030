package main

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// memory returns the bytes of memory that the machine has, 0 when unknown.
func memory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// firstProcess returns the name of process 1.
func firstProcess() string {
	name, err := os.ReadFile("/proc/1/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}

//go:build unix

package fsys

import "syscall"

// nonblock keeps an open from waiting for the other end of a pipe; nofollow
// keeps it from following a link at the end of the path.
const (
	nonblock = syscall.O_NONBLOCK
	nofollow = syscall.O_NOFOLLOW
)

// syncAll writes out what the system holds back.
func syncAll() { syscall.Sync() }

//go:build !unix

package fsys

// nonblock and nofollow are of Unix.
const (
	nonblock = 0
	nofollow = 0
)

// syncAll has no system call to make.
func syncAll() {}

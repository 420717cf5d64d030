//go:build unix

package process

import (
	"os"
	"syscall"
)

// readThere reads what a pipe holds now, whatever its deadline, and waits for
// nothing.
func readThere(pipe *os.File, buf []byte) (n int) {
	conn, err := pipe.SyscallConn()
	if err != nil {
		return 0
	}
	_ = conn.Control(func(fd uintptr) { // it fails when the pipe was closed
		for n < len(buf) {
			m, err := syscall.Read(int(fd), buf[n:])
			if err == syscall.EINTR {
				continue
			}
			if err != nil || m <= 0 {
				return
			}
			n += m
		}
	})
	return n
}

//go:build unix

package supervise

import "syscall"

const noFollow = syscall.O_NOFOLLOW

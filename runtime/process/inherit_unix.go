//go:build unix

package process

import (
	"os"
	"strconv"
	"sync"
	"syscall"
)

// closeInherited keeps from programs the descriptors that we were started with
// and that nobody meant for them: a terminal's, a lock's, a pipe's that then
// would never end. All that Go opens itself is closed on execution anyway.
var closeInherited = sync.OnceFunc(func() {
	if closeRange() == nil {
		return
	}
	names, err := os.ReadDir("/dev/fd")
	if err != nil {
		return // then they are inherited
	}
	for _, name := range names {
		if fd, err := strconv.Atoi(name.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
})

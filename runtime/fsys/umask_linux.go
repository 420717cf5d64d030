package fsys

import (
	"bytes"
	"os"
	"strconv"
	"sync"
)

// processUmask is the umask of the process when it was first asked for. It is read
// from /proc, since the system call can't but change it for all threads.
var processUmask = sync.OnceValue(func() uint32 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return defaultUmask
	}
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte("Umask:")); ok {
			if umask, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 8, 32); err == nil {
				return uint32(umask)
			}
		}
	}
	return defaultUmask
})

// defaultUmask is for when the system does not tell.
const defaultUmask = 0o022

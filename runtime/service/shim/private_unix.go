//go:build unix

package shim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// private says why a file is not one that only we and root could have written,
// and can read.
func private(info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return errors.New("it is not a file")
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("others have access to it: mode %04o", info.Mode().Perm())
	case ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to user %d", stat.Uid)
	}
	return nil
}

// setUmask sets the umask, which what is started inherits.
func setUmask(mask int) { syscall.Umask(mask) }

// detached is a process that outlives us, in a session of its own.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// takeSignals are what a shim is told by.
var takeSignals = map[Take]syscall.Signal{Adopt: syscall.SIGUSR1, Reload: syscall.SIGHUP}

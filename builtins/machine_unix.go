//go:build unix

package builtins

import (
	"errors"
	"io/fs"
	"syscall"
)

func executable(info fs.FileInfo) bool { return info.Mode().Perm()&0o111 != 0 }

func notFolder(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

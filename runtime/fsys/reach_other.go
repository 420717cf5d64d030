//go:build !linux

package fsys

import "os"

// OpenOS is os.OpenRoot, reached as [OpenRoot] reaches its folder.
func OpenOS(dir string) (*os.Root, error) { return os.OpenRoot(dir) }

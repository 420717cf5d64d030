//go:build !windows

package native

import "os"

// Elevated reports whether the machine's services are ours to change.
func Elevated() bool { return os.Geteuid() == 0 }

//go:build !windows

package native

import "os"

// isAdmin reports whether the machine's services are ours to change.
func isAdmin() bool { return os.Geteuid() == 0 }

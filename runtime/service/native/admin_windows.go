package native

import "golang.org/x/sys/windows"

// isAdmin reports whether the machine's services are ours to change.
func isAdmin() bool { return windows.GetCurrentProcessToken().IsElevated() }

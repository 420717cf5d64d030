package native

import "golang.org/x/sys/windows"

// Elevated reports whether the machine's services are ours to change.
func Elevated() bool { return windows.GetCurrentProcessToken().IsElevated() }

//go:build !linux

package fsys

// processUmask is the usual umask: here it can't be read without changing it.
func processUmask() uint32 { return 0o022 }

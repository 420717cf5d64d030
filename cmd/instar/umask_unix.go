//go:build unix

package main

import "syscall"

// setUmask makes what instar creates, and what it starts creates, inaccessible
// to others unless a mode says otherwise.
func setUmask() { syscall.Umask(0o027) }

//go:build !linux

package shim

import "runtime/debug"

// frugal has the garbage collector prefer little memory: a shim does little.
func frugal() { debug.SetGCPercent(25) }

// giveBack returns the memory that is not needed while the service just runs.
func giveBack() { debug.FreeOSMemory() }

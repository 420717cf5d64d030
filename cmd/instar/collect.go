package main

import (
	"os"
	"runtime/debug"
)

// lateCollect is the GOGC of a command that ends soon: memory is collected less
// often, since most of it is needed to the end.
const lateCollect = 400

// endsSoon has memory collected as it suits a process that converges one instance
// and ends.
func endsSoon() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(lateCollect)
	}
}

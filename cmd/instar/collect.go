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

// longCollect is the GOGC of a node: what it keeps of thousands of instances
// counts more than the time in which it works.
const longCollect = 50

// servesLong has memory collected as it suits a process that rests most of the
// time.
func servesLong() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(longCollect)
	}
}

//go:build !(linux && amd64)

package main

// becomeWatched has nothing to do where no program can be watched.
func becomeWatched() {}

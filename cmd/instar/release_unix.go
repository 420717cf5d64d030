//go:build unix

package main

// defaultRelease is where the system's own software is.
const defaultRelease = "/usr"

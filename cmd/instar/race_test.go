//go:build race

package main

// raced is set under the race detector, which needs memory of its own: there
// memory is not limited hard.
const raced = true

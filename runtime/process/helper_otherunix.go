//go:build unix && !linux

package process

import "os"

// selfProgram is our own binary.
var selfProgram, _ = os.Executable() // an empty path makes the start fail

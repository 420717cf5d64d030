package process

import "os"

// selfProgram is our own binary, also when it was replaced or removed since.
const selfProgram = "/proc/self/exe"

// ownPath is where our own binary was when we started. It is executed as
// selfProgram, so that other users can where they could not find it.
var ownPath, _ = os.Executable()

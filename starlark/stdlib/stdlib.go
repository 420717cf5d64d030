// Package stdlib holds the library of Starlark files that is shipped in the
// binary: `load("@std//text.star", "pad")`. They may call builtins, and
// declare nothing by themselves.
package stdlib

import "embed"

// Files are the library's files by their path after "@std//".
//
//go:embed *.star
var Files embed.FS

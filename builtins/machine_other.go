//go:build !unix

package builtins

import "io/fs"

// executable takes every file for a program: there is no such mode.
func executable(fs.FileInfo) bool { return true }

func notFolder(error) bool { return false }

//go:build !linux

package main

import "github.com/rogpeppe/go-internal/testscript"

// upCommands are for scripts that run on Linux alone.
var upCommands map[string]func(*testscript.TestScript, bool, []string)

func canMount() bool { return false }

type job struct{}

package main

// setUmask does nothing: Windows has no umask.
func setUmask() {}

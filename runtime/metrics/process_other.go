//go:build !linux

package metrics

func usage() []Family { return nil }

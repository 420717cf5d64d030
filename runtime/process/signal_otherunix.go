//go:build unix && !linux

package process

const (
	firstRealTime = 0
	lastSignal    = 31
)

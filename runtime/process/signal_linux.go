package process

// The real-time signals that programs may use: glibc keeps 32 and 33.
const (
	firstRealTime = 34
	lastSignal    = 64
)

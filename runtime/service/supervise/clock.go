package supervise

import (
	"math/rand/v2"
	"time"
)

// Clock tells and passes time.
type Clock interface {
	Now() time.Time
	// Timer returns a channel that receives once, after d, unless stop is
	// called before.
	Timer(d time.Duration) (expired <-chan time.Time, stop func())
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Timer(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

const (
	firstDelay = time.Second
	maxDelay   = 30 * time.Second
	// stableTime is how long a process must have run for its end to count as
	// the first one.
	stableTime = time.Minute
)

// backoff paces the attempts of one service: the first restart comes at once,
// later ones after 1, 2, 4… up to 30 seconds, less up to a quarter of it by
// chance so that many services do not start in step. A run is never tried again
// within a second.
type backoff struct {
	failures int // in a row
}

// next returns how long to wait after a process that ran for ran has ended.
func (b *backoff) next(ran time.Duration, run bool) time.Duration {
	if ran >= stableTime {
		b.failures = 0
	}
	b.failures++
	doublings := b.failures - 1
	if !run {
		if b.failures == 1 {
			return 0
		}
		doublings--
	}
	delay := maxDelay
	if doublings < 5 { // 2⁵ s is more than the most
		delay = min(firstDelay<<doublings, maxDelay)
	}
	delay -= time.Duration(rand.Int64N(int64(delay / 4)))
	if run {
		delay = max(delay, firstDelay)
	}
	return delay
}

// nextAfterFailedStart is next for a program that could not be started at all:
// trying again at once is pointless.
func (b *backoff) nextAfterFailedStart(run bool) time.Duration {
	b.failures = max(b.failures, 1)
	return b.next(0, run)
}

func (b *backoff) reset() { b.failures = 0 }

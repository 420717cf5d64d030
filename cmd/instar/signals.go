package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// signalled is why a context ended: somebody asked instar to stop.
type signalled struct{ signal os.Signal }

func (s signalled) Error() string {
	switch s.signal {
	case syscall.SIGTERM:
		return "terminated"
	case syscall.SIGHUP:
		return "hung up"
	}
	return "interrupted"
}

// code is the exit code by which shells know the signal.
func (s signalled) code() int {
	switch s.signal {
	case syscall.SIGTERM:
		return exitTerminated
	case syscall.SIGHUP:
		return exitHungUp
	}
	return exitInterrupted
}

// patient is set by commands that tidy up at the first signal, however long
// that takes: a second signal then does not end them at once.
var patient atomic.Bool

// sameSignal is the time within which a second signal is part of the first:
// timeout(1) sends one to the process and one to its group.
const sameSignal = 300 * time.Millisecond

// withSignals returns a context that the first SIGINT or SIGTERM ends, with a
// [signalled] cause. A second one ends the process on the spot: what an apply
// leaves then, the next one continues.
func withSignals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		var first time.Time
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				why := signalled{s}
				switch {
				case first.IsZero():
					first = time.Now()
					cancel(why)
				case time.Since(first) > sameSignal && !patient.Load():
					os.Exit(why.code())
				}
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}

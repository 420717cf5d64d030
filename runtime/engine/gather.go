package engine

import (
	"context"
	"errors"
	"sync"
)

// ErrStillAtWork is the outcome of a child that was not waited for any longer.
var ErrStillAtWork = errors.New("it is still being processed")

// Gather has n children processed at once, each in a goroutine that spawn starts,
// and returns their outcomes. When ctx or patience (which may be nil) ends, what
// is still at work is not waited for any longer.
func Gather(ctx, patience context.Context, n int, spawn func(func()), do func(int) Outcome) []Outcome {
	var mu sync.Mutex
	outcomes := make([]Outcome, n)
	var all sync.WaitGroup
	for i := range n {
		outcomes[i].Err = ErrStillAtWork
		all.Add(1)
		spawn(func() {
			defer all.Done()
			out := do(i)
			mu.Lock()
			defer mu.Unlock()
			outcomes[i] = out
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	var impatient <-chan struct{}
	if patience != nil {
		impatient = patience.Done()
	}
	select {
	case <-done:
	case <-ctx.Done():
	case <-impatient:
	}
	mu.Lock()
	defer mu.Unlock()
	return append([]Outcome(nil), outcomes...)
}

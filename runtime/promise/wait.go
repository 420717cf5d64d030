package promise

import (
	"context"
	"sync"
	"time"

	"instar/runtime/plan"
)

const (
	// atOnce is how many checks run at the same time.
	atOnce = 16

	firstPause = 100 * time.Millisecond
	maxPause   = 2 * time.Second
)

// WaitAll checks all promises, those that fail again and again, with pauses
// that grow from 0.1 to 2 seconds, until all have held or wait is over. Each is
// checked once at least, with its whole timeout. The results are in the order
// of promises. One that fails does not keep the others from being checked.
//
// progress, if not nil, is told every result as it comes, by one goroutine at
// a time.
func (c *Checker) WaitAll(ctx context.Context, promises []plan.Promise, wait time.Duration, progress func(name string, r Result)) []Result {
	late, over := context.WithCancel(ctx)
	defer over()
	w := waiter{checker: c, late: late, slots: make(chan struct{}, atOnce), progress: progress}
	limit := c.after(wait)
	results := make([]Result, len(promises))
	var all sync.WaitGroup
	for i, p := range promises {
		all.Go(func() { results[i] = w.wait(ctx, p) })
	}
	held := make(chan struct{})
	go func() {
		all.Wait()
		close(held)
	}()
	select {
	case <-held:
	case <-limit:
		over()
		<-held
	}
	return results
}

type waiter struct {
	checker *Checker
	late    context.Context // of all checks but the first; ends when the time is over
	slots   chan struct{}

	mu       sync.Mutex
	progress func(name string, r Result)
}

// wait checks one promise until it holds or the time is over.
func (w *waiter) wait(ctx context.Context, p plan.Promise) Result {
	result := w.check(ctx, p)
	for pause := firstPause; !result.OK; pause = min(pause*3/2, maxPause) {
		select {
		case <-w.late.Done():
			return result
		case <-w.checker.after(pause):
		}
		next := w.check(w.late, p)
		if !next.OK && w.late.Err() != nil {
			return result // it was cut short: what the one before said says more
		}
		result = next
	}
	return result
}

// check checks once, when its turn has come.
func (w *waiter) check(ctx context.Context, p plan.Promise) Result {
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
	}
	r := w.checker.Check(ctx, p)
	if w.progress != nil && ctx.Err() == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.progress(p.Name, r)
	}
	return r
}

package supervise

import (
	"context"
	"sync"

	"instar/runtime/service"
)

// exitsKept is how many exits are kept for a reader that does not read.
const exitsKept = 1000

// exits hands every exit to every subscriber without ever waiting for one.
type exits struct {
	mu          sync.Mutex
	subscribers map[*subscriber]struct{}
}

type subscriber struct {
	queue []service.Exit // guarded by exits.mu
	wake  chan struct{}  // holds one token when the queue may not be empty
}

func (e *exits) publish(x service.Exit) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for s := range e.subscribers {
		if len(s.queue) == exitsKept {
			s.queue = s.queue[1:]
		}
		s.queue = append(s.queue, x)
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// subscribe returns a channel that is closed when ctx ends or quit is closed.
func (e *exits) subscribe(ctx context.Context, quit <-chan struct{}, work *sync.WaitGroup) <-chan service.Exit {
	s := &subscriber{wake: make(chan struct{}, 1)}
	e.mu.Lock()
	if e.subscribers == nil {
		e.subscribers = map[*subscriber]struct{}{}
	}
	e.subscribers[s] = struct{}{}
	e.mu.Unlock()
	out := make(chan service.Exit)
	work.Go(func() {
		defer close(out)
		defer e.forget(s)
		for {
			x, ok := e.take(s)
			to := out
			if !ok {
				to = nil
			}
			select {
			case to <- x:
				e.took(s, x)
			case <-s.wake:
			case <-ctx.Done():
				return
			case <-quit:
				return
			}
		}
	})
	return out
}

// take returns the oldest exit that s did not get.
func (e *exits) take(s *subscriber) (service.Exit, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(s.queue) == 0 {
		return service.Exit{}, false
	}
	return s.queue[0], true
}

// took removes x, unless it was forgotten meanwhile.
func (e *exits) took(s *subscriber, x service.Exit) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(s.queue) > 0 && s.queue[0] == x {
		s.queue = s.queue[1:]
	}
}

func (e *exits) forget(s *subscriber) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.subscribers, s)
}

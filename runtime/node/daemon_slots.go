package node

import (
	"context"
	"sync"
	"time"
)

// slots bounds how many instances are processed at once. Those of which somebody
// wants something come before those that the node processes by itself, and among
// themselves in order.
type slots struct {
	all  int
	calm func() // nil: nothing is to be done then

	mu    sync.Mutex
	free  int
	asked []*waiter
	rest  []*waiter
	used  int         // since calm was last awaited
	quiet *time.Timer // until calm is called
}

// waiter waits for a slot.
type waiter struct {
	ready chan struct{} // closed when it has one
	done  bool          // it has one, or waits no more
}

const (
	// calmTime is how long nothing is at work before it counts as calm.
	calmTime = 2 * time.Second
	// calmUses is how many slots were used before that is worth something.
	calmUses = 20
)

func newSlots(n int, calm func()) *slots { return &slots{all: n, free: n, calm: calm} }

// wait returns when the caller has a slot. It tells waiting whom to hurry, and
// that there is nobody any more.
func (s *slots) wait(ctx context.Context, waiting func(*waiter)) error {
	w := &waiter{ready: make(chan struct{})}
	s.mu.Lock()
	s.rest = append(s.rest, w)
	s.grant()
	s.mu.Unlock()
	waiting(w)
	defer waiting(nil)
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.done { // at the last moment
		s.free++
		s.grant()
	}
	w.done = true
	return ErrGone
}

// hurry has one that waits come before those that nobody asked for.
func (s *slots) hurry(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !w.done {
		s.asked = append(s.asked, w) // what is left of it in rest is passed over
	}
}

// give gives a slot back.
func (s *slots) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	s.grant()
	if s.free == s.all && s.used >= calmUses && s.calm != nil {
		s.used = 0
		s.quiet = time.AfterFunc(calmTime, s.calm)
	}
}

// grant hands out what is free. The caller holds mu.
func (s *slots) grant() {
	granted := false
	for s.free > 0 {
		w := next(&s.asked)
		if w == nil {
			w = next(&s.rest)
		}
		if w == nil {
			break
		}
		w.done = true
		s.free--
		s.used++
		granted = true
		close(w.ready)
	}
	if granted && s.quiet != nil && s.quiet.Stop() {
		s.used += calmUses // it is still to come
	}
}

// next takes the first one that still waits from a queue.
func next(queue *[]*waiter) *waiter {
	for len(*queue) > 0 {
		w := (*queue)[0]
		(*queue)[0] = nil
		if *queue = (*queue)[1:]; len(*queue) == 0 {
			*queue = nil
		}
		if !w.done {
			return w
		}
	}
	return nil
}

package node

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Who is hurried comes before those that came first; nobody is lost or served
// twice, and what gives up leaves its slot to others.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calm atomic.Int32
		s := newSlots(2, func() { calm.Add(1) })
		var mu sync.Mutex
		var order []string
		waiters := map[string]*waiter{}
		begin := func(ctx context.Context, name string) {
			go func() {
				err := s.wait(ctx, func(w *waiter) {
					mu.Lock()
					defer mu.Unlock()
					if w != nil {
						waiters[name] = w
					}
				})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					name += " gone"
				}
				order = append(order, name)
			}()
			synctest.Wait()
		}
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(order, want) {
				t.Errorf("%q, want %q", order, want)
			}
			order = nil
		}
		ctx, leave := context.WithCancel(t.Context())
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			begin(t.Context(), name)
		}
		begin(ctx, "left")
		begin(t.Context(), "f")
		expect("a", "b")
		s.hurry(waiters["e"])
		s.hurry(waiters["a"])
		s.hurry(waiters["d"])
		s.hurry(waiters["d"])
		for _, next := range []string{"e", "d", "c"} {
			s.give()
			expect(next)
		}
		leave()
		expect("left gone")
		s.give()
		expect("f")
		s.give()
		s.give()
		for range calmUses {
			begin(t.Context(), "one")
			s.give()
			time.Sleep(calmTime / 2)
		}
		if n := calm.Load(); n != 0 {
			t.Errorf("called %d times while something went on", n)
		}
		time.Sleep(calmTime)
		synctest.Wait()
		if n := calm.Load(); n != 1 || s.free != 2 {
			t.Errorf("called %d times, %d slots are free", n, s.free)
		}
	})
}

package supervise

import (
	"fmt"
	"time"

	"instar/runtime/process"
)

// watchMemory ends, once a period, what uses more memory than it may. It sleeps
// until something is started that has a limit.
func (s *Supervisor) watchMemory() {
	select {
	case <-s.quit:
		return
	case <-s.watch:
	}
	ticker := time.NewTicker(s.options.MemoryPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-ticker.C:
		}
		units, trees := s.limited()
		if len(units) == 0 {
			continue
		}
		used, err := process.Memory(trees)
		if err != nil {
			continue // the next look may succeed
		}
		for i, u := range units {
			if used[i] > u.limit {
				u.unit.overuse(excess{trees[i], fmt.Sprintf("used %s of memory, may use %s", mebi(used[i]), mebi(u.limit))})
			}
		}
	}
}

// watchFor has memory be watched from now on when a process is limited.
func (s *Supervisor) watchFor(limit int64) {
	if limit > 0 {
		select {
		case s.watch <- struct{}{}:
		default:
		}
	}
}

// limitedUnit is a unit whose memory is limited, in bytes.
type limitedUnit struct {
	unit  *unit
	limit int64
}

// excess is the using of too much by one process of a unit.
type excess struct {
	tree   process.Tree
	reason string
}

// limited returns the units with limited memory that run, and their trees.
func (s *Supervisor) limited() ([]limitedUnit, []process.Tree) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var units []limitedUnit
	var trees []process.Tree
	for _, in := range s.instances {
		in.mu.Lock()
		for _, u := range in.units {
			if u.watched.limit > 0 {
				units = append(units, limitedUnit{u, u.watched.limit})
				trees = append(trees, u.watched.tree)
			}
		}
		in.mu.Unlock()
	}
	return units, trees
}

// overuse tells the unit, unless it was told already.
func (u *unit) overuse(x excess) {
	select {
	case u.excess <- x:
	default:
	}
}

// mebi renders bytes as "12.3 MiB".
func mebi(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

package process

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// sweepPeriod is the least time between two looks at our children.
	sweepPeriod = 300 * time.Millisecond
	// zombieTime is how long a zombie must have been one to be reaped: whoever
	// started it by other means than [Start] has had time to wait for it.
	zombieTime = 2 * time.Second
)

// adoption counts who asked for it.
var adoption struct {
	mu    sync.Mutex
	users int
	stop  func()
}

// Adopt makes this process the parent of what its descendants leave behind, so
// that nothing escapes by the death of its parent, and reaps what it adopts:
// processes of another session than ours that were not started by [Start] and
// that nobody has waited for seconds after their end. The returned function, to be
// called once, takes it back and waits for the reaping to end.
func Adopt() (release func(), err error) {
	adoption.mu.Lock()
	defer adoption.mu.Unlock()
	if adoption.users == 0 {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("cannot adopt processes: %w", err)
		}
		adoption.stop = startReaping()
	}
	adoption.users++
	return sync.OnceFunc(func() {
		adoption.mu.Lock()
		defer adoption.mu.Unlock()
		if adoption.users--; adoption.users == 0 {
			adoption.stop()
			unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) // can't fail once it has succeeded
		}
	}), nil
}

// adopting reports whether Adopt is in force.
func adopting() bool {
	adoption.mu.Lock()
	defer adoption.mu.Unlock()
	return adoption.users > 0
}

// startReaping sweeps soon after children have ended, and again while zombies
// are left that may be somebody's.
func startReaping() (stop func()) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		var zombies map[int]time.Time
		for {
			var again <-chan time.Time
			if len(zombies) > 0 {
				again = time.After(zombieTime)
			}
			select {
			case <-quit:
				return
			case <-again:
			case <-ended:
			}
			select {
			case <-quit:
				return
			case <-time.After(sweepPeriod):
			}
			zombies = sweep(zombies)
		}
	}()
	return func() {
		signal.Stop(ended)
		close(quit)
		<-gone
	}
}

// sweep reaps adopted zombies that have been so since a while, and returns
// those that it saw and left, with the time when they were first seen.
func sweep(seen map[int]time.Time) map[int]time.Time {
	left := map[int]time.Time{}
	now := time.Now()
	for _, e := range others() {
		if !e.dead {
			continue
		}
		since, ok := seen[e.pid]
		if ok && now.Sub(since) >= zombieTime {
			syscall.Wait4(e.pid, nil, syscall.WNOHANG, nil)
			continue
		}
		if !ok {
			since = now
		}
		left[e.pid] = since
	}
	return left
}

// Strays kills adopted processes that belong to no tree, those that left
// session, parent and environment behind, and what they leave in turn. It
// returns how many there were, when none lives. A process that runs this very
// binary is no stray.
func Strays() int {
	own, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 0
	}
	killed := map[int]uint64{}
	for n, begin := 0, time.Now(); time.Since(begin) < killTime; n++ {
		found := strays(own)
		if len(found) == 0 {
			break
		}
		for _, e := range found {
			killed[e.pid] = e.start
			e.signal(kill)
		}
		time.Sleep(pause(n))
	}
	return len(killed)
}

func strays(own string) []*entry {
	found, _ := strangers()
	return slices.DeleteFunc(found, func(e *entry) bool {
		exe, _ := os.Readlink("/proc/" + strconv.Itoa(e.pid) + "/exe") // "" is another one
		return exe == own || e.mark() != ""
	})
}

// strangers returns the living children of ours that were adopted; ok is false
// when nothing is adopted, or it can't be known.
func strangers() (found []*entry, ok bool) {
	if !adopting() {
		return nil, false
	}
	return living(others)
}

// living returns those of look that live, and looks again when there is none
// but one has died since: what it leaves is adopted after the list was read, and
// before its death shows. ok is false when nothing can be known.
func living(look func() []*entry) (found []*entry, ok bool) {
	for dead := map[int]uint64{}; ; {
		entries, news := look(), false
		for _, e := range entries {
			switch since, known := dead[e.pid]; {
			case !e.dead:
				found = append(found, e)
			case !known || since != e.start:
				dead[e.pid], news = e.start, true
			}
		}
		if len(found) > 0 || !news {
			return found, entries != nil
		}
	}
}

// others returns our children, living and dead, that were not started here and
// are not of our session; nil, never empty, when it can't be known.
func others() []*entry {
	session, err := unix.Getsid(0)
	if err != nil {
		return nil
	}
	owned.forking.Lock()
	defer owned.forking.Unlock()
	pids := childPIDs()
	if pids == nil {
		return nil
	}
	found := []*entry{}
	for _, pid := range pids {
		if owned.has(pid) {
			continue
		}
		if e, err := readEntry(pid); err == nil && e.sid != session {
			found = append(found, e)
		}
	}
	return found
}

// childPIDs returns our children; nil, never empty, when the kernel does not
// tell (CONFIG_PROC_CHILDREN).
func childPIDs() []int {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil
	}
	var pids []int
	told := false
	for _, task := range tasks {
		data, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err != nil {
			continue
		}
		told = true
		for _, word := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	if told && pids == nil {
		pids = []int{}
	}
	return pids
}

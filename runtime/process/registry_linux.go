package process

import "sync"

// registry knows which children of ours were started here and are not reaped
// yet. A child that it does not know was adopted, or belongs to os/exec.
type registry struct {
	// forking is held for reading from before a fork until the child is known,
	// so that whoever holds it for writing sees every child as known.
	forking sync.RWMutex
	mu      sync.Mutex
	pids    map[int]struct{}
}

var owned = registry{pids: map[int]struct{}{}}

func (r *registry) add(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pids[pid] = struct{}{}
}

func (r *registry) remove(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pids, pid)
}

func (r *registry) has(pid int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.pids[pid]
	return ok
}

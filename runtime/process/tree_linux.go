package process

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// End ends the tree as [Process.End] does, from any process. A tree of an
// earlier run of the machine is gone already.
func (t Tree) End(ctx context.Context, sig syscall.Signal, timeout time.Duration) error {
	h := hunt{tree: t, told: map[int]uint64{}, known: map[int]uint64{}}
	return h.end(ctx, sig, timeout)
}

// Leftovers ends all processes whose mark begins with prefix, which an earlier
// process left: sig first, KILL after timeout. It returns how many there were.
// This process and its ancestors are spared.
func Leftovers(ctx context.Context, prefix string, sig syscall.Signal, timeout time.Duration) (int, error) {
	if prefix == "" {
		return 0, fmt.Errorf("cannot end leftovers: no mark is given")
	}
	h := hunt{tree: Tree{Mark: prefix, Boot: bootID()}, prefix: true, told: map[int]uint64{}, known: map[int]uint64{}}
	err := h.end(ctx, sig, timeout)
	return len(h.told), err
}

// Marked returns the instances of which processes carry a mark of a kind: those
// that [Leftovers] would find something of.
func Marked(base, kind string) (map[string]bool, error) {
	t, err := freshTable()
	if err != nil {
		return nil, err
	}
	prefix := MarkPrefix(base, kind, "")
	prefix = prefix[:len(prefix)-1] // before the instance
	found := map[string]bool{}
	for _, e := range t {
		if rest, ok := strings.CutPrefix(e.mark(), prefix); ok {
			instance, _, _ := strings.Cut(rest, ":")
			found[instance] = true
		}
	}
	return found, nil
}

// Memory returns the resident memory of each of trees, in bytes; pages that
// several processes share count for each.
func Memory(trees []Tree) ([]int64, error) {
	t, err := freshTable()
	if err != nil {
		return nil, err
	}
	sums := make([]int64, len(trees))
	for i, tree := range trees {
		h := hunt{tree: tree, known: map[int]uint64{}}
		for _, e := range h.membersIn(t) {
			sums[i] += e.rss
		}
	}
	return sums, nil
}

func (p *Process) end(ctx context.Context, sig syscall.Signal, timeout time.Duration) error {
	h := hunt{tree: p.tree, process: p, told: map[int]uint64{}, known: map[int]uint64{}}
	return h.end(ctx, sig, timeout)
}

// Alone reports, at little cost, that nothing of p's tree can be left now that
// the program itself has ended: false means that there may be something. It
// is never true unless [Adopt] has been in force since before p was started.
func (p *Process) Alone() bool {
	select {
	case <-p.exited:
	default:
		return false
	}
	if !p.child.adopted {
		return false
	}
	found, ok := strangers()
	return ok && len(found) == 0
}

// hunt is the ending of one tree.
type hunt struct {
	tree    Tree
	prefix  bool     // the tree's mark is what the marks begin with
	process *Process // the tree's program when it is our child, else nil

	known map[int]uint64 // members seen so far, by start: they may lose their parent meanwhile
	told  map[int]uint64 // members that got the first signal
}

func (h *hunt) end(ctx context.Context, sig syscall.Signal, timeout time.Duration) error {
	if h.tree.Boot != bootID() {
		return nil
	}
	deadline := time.Now().Add(timeout)
	var killed time.Time
	for n := 0; ; n++ {
		if h.process != nil && h.process.Alone() {
			return nil
		}
		members, err := h.members()
		if err != nil {
			return err
		}
		if len(members) == 0 && !h.programLives() {
			return nil
		}
		now := time.Now()
		switch {
		case !killed.IsZero() && now.Sub(killed) > killTime:
			return fmt.Errorf("cannot end %s: KILL does not help", describe(members))
		case now.Before(deadline) && ctx.Err() == nil && sig != kill:
			h.tell(members, sig)
		default:
			if killed.IsZero() {
				killed, n = now, 0
			}
			h.kill(members)
		}
		h.wait(ctx, n, killed.IsZero(), deadline)
	}
}

// wait lets some time pass: less when the program itself ends.
func (h *hunt) wait(ctx context.Context, n int, heedContext bool, deadline time.Time) {
	d := pause(n)
	var ended <-chan struct{}
	if h.process != nil && h.programLives() {
		ended = h.process.exited
		if heedContext && len(h.told) == 1 { // nothing but the program to wait for
			d = min(max(d, time.Until(deadline)), 250*time.Millisecond)
		}
	}
	var cancelled <-chan struct{}
	if heedContext {
		cancelled = ctx.Done()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ended:
	case <-cancelled:
	}
}

func (h *hunt) programLives() bool {
	if h.process == nil {
		return false
	}
	select {
	case <-h.process.exited:
		return false
	default:
		return true
	}
}

// members returns what lives of the tree.
func (h *hunt) members() ([]*entry, error) {
	t, err := freshTable()
	if err != nil {
		return nil, err
	}
	return h.membersIn(t), nil
}

func (h *hunt) membersIn(t table) []*entry {
	spared := t.self()
	leader := t[h.tree.PID]
	session := h.tree.PID != 0 && h.tree.Start != 0 && (leader == nil || leader.start == h.tree.Start)
	children := make(map[int][]*entry, len(t))
	var queue []*entry
	in := map[int]bool{}
	add := func(e *entry) {
		if !in[e.pid] && !spared[e.pid] && !e.kernel {
			in[e.pid] = true
			queue = append(queue, e)
		}
	}
	for _, e := range t {
		children[e.ppid] = append(children[e.ppid], e)
		switch {
		case session && e.sid == h.tree.PID, h.known[e.pid] == e.start && e.start != 0, h.marked(e):
			add(e)
		}
	}
	var living []*entry
	for len(queue) > 0 {
		e := queue[0]
		queue = queue[1:]
		for _, c := range children[e.pid] {
			add(c)
		}
		if !e.dead {
			h.known[e.pid] = e.start
			living = append(living, e)
		}
	}
	return living
}

// marked reports whether the process carries the tree's mark. Nothing of a
// tree is older than its program, which saves most of the reading.
func (h *hunt) marked(e *entry) bool {
	switch {
	case h.tree.Mark == "" || e.start < h.tree.Start:
		return false
	case h.prefix:
		return strings.HasPrefix(e.mark(), h.tree.Mark)
	default:
		return e.mark() == h.tree.Mark
	}
}

// tell sends the first signal to those that did not get it yet, and makes them
// go on if they were stopped. The program's group gets it as one.
func (h *hunt) tell(members []*entry, sig syscall.Signal) {
	grouped := len(h.told) == 0 && h.group(sig)
	for _, e := range members {
		if start, ok := h.told[e.pid]; ok && start == e.start {
			continue
		}
		h.told[e.pid] = e.start
		if grouped && e.pgid == h.tree.PID {
			continue
		}
		e.signal(sig)
		e.signal(syscall.SIGCONT)
	}
}

func (h *hunt) kill(members []*entry) {
	h.group(kill)
	for _, e := range members {
		if h.told != nil {
			h.told[e.pid] = e.start
		}
		e.signal(kill)
	}
}

// group signals the program's process group while the group is known to be its
// own: as long as the program was not reaped.
func (h *hunt) group(sig syscall.Signal) bool {
	p := h.process
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return false
	}
	err := p.child.signalGroup(sig)
	p.child.signalGroup(syscall.SIGCONT)
	return err == nil
}

// signal signals the process if it still is the one that was seen. What can't
// be signalled shows by not going.
func (e *entry) signal(sig syscall.Signal) {
	fd, err := unix.PidfdOpen(e.pid, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	now, rerr := readEntry(e.pid)
	if rerr != nil || now.start != e.start {
		return
	}
	switch err {
	case nil:
		unix.PidfdSendSignal(fd, sig, nil, 0)
	case unix.ENOSYS, unix.EPERM, unix.EINVAL:
		syscall.Kill(e.pid, sig)
	}
}

// describe names processes for an error: `process 12 ("sleep", state D)`.
func describe(members []*entry) string {
	var texts []string
	for _, e := range members {
		data, _ := os.ReadFile("/proc/" + strconv.Itoa(e.pid) + "/stat") // "" when it has just gone
		name, state := "?", "?"
		if before, after, ok := cutLast(string(data), ") "); ok && len(after) > 0 {
			_, name, _ = strings.Cut(before, "(")
			state = after[:1]
		}
		texts = append(texts, fmt.Sprintf("process %d (%q, state %s)", e.pid, name, state))
	}
	if len(texts) == 0 {
		return "processes"
	}
	return strings.Join(texts, ", ")
}

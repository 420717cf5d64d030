package process

import (
	"fmt"
	"syscall"
)

// Of returns what identifies a process that is not ours, without a mark. An
// error means that there is none of that number.
func Of(pid int) (Tree, error) {
	e, err := readEntry(pid)
	if err != nil {
		return Tree{}, err
	}
	return Tree{PID: pid, Start: e.start, Boot: bootID()}, nil
}

// Alive reports whether the program itself lives, whoever is its parent. A
// zombie does not live.
func (t Tree) Alive() bool { return t.program() != nil }

// Signal sends sig to the program itself, whoever is its parent. It is an error
// when the program has ended.
func (t Tree) Signal(sig syscall.Signal) error {
	e := t.program()
	if e == nil {
		return fmt.Errorf("cannot signal process %d: it has ended", t.PID)
	}
	e.signal(sig)
	return nil
}

// Left reports whether anything of the tree lives.
func (t Tree) Left() (bool, error) {
	if t.Boot != bootID() {
		return false, nil
	}
	h := hunt{tree: t, known: map[int]uint64{}}
	members, err := h.members()
	return len(members) > 0, err
}

// program returns the program itself, nil when it does not live.
func (t Tree) program() *entry {
	if t.PID <= 0 || t.Start == 0 || t.Boot != bootID() {
		return nil
	}
	e, err := readEntry(t.PID)
	if err != nil || e.start != t.Start || e.dead {
		return nil
	}
	return e
}

// ThisBoot reports whether the tree is of this run of the machine.
func (t Tree) ThisBoot() bool { return t.Boot == bootID() }

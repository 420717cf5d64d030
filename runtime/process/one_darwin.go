package process

import (
	"fmt"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// zombie is the state of a process that nobody has waited for yet.
const zombie = 5

// bootID names this run of the machine.
var bootID = sync.OnceValue(func() string {
	id, _ := unix.Sysctl("kern.bootsessionuuid") // "" on a system without: starts tell runs apart
	return id
})

// Of returns what identifies a process that is not ours, without a mark. An
// error means that there is none of that number.
func Of(pid int) (Tree, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return Tree{}, fmt.Errorf("cannot look at process %d: %w", pid, err)
	}
	began := info.Proc.P_starttime
	return Tree{PID: pid, Start: uint64(began.Sec)*1e6 + uint64(began.Usec), Boot: bootID()}, nil
}

// Alive reports whether the program itself lives, whoever is its parent. A
// zombie does not live.
func (t Tree) Alive() bool {
	if t.PID <= 0 || t.Start == 0 || !t.ThisBoot() {
		return false
	}
	info, err := unix.SysctlKinfoProc("kern.proc.pid", t.PID)
	if err != nil || info.Proc.P_stat == zombie {
		return false
	}
	now, err := Of(t.PID)
	return err == nil && now.Start == t.Start
}

// Signal sends sig to the program itself, whoever is its parent. It is an error
// when the program has ended.
func (t Tree) Signal(sig syscall.Signal) error {
	if !t.Alive() {
		return fmt.Errorf("cannot signal process %d: it has ended", t.PID)
	}
	return syscall.Kill(t.PID, sig)
}

// Left reports whether anything of the program's process group lives: no later
// group gets the number before that has ended.
func (t Tree) Left() (bool, error) {
	if t.PID <= 0 || !t.ThisBoot() {
		return false, nil
	}
	return syscall.Kill(-t.PID, 0) != syscall.ESRCH, nil
}

// ThisBoot reports whether the tree is of this run of the machine.
func (t Tree) ThisBoot() bool { return t.Boot == bootID() }

package process

import (
	"fmt"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// bootID names this run of the machine: Windows counts them.
var bootID = sync.OnceValue(func() string {
	const path = `SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters`
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, path, registry.QUERY_VALUE)
	if err != nil {
		return "" // starts tell runs apart
	}
	defer key.Close()
	n, _, err := key.GetIntegerValue("BootId")
	if err != nil {
		return ""
	}
	return strconv.FormatUint(n, 10)
})

// stillActive is the exit code of a process that has none yet.
const stillActive = 259

// Of returns what identifies a process that is not ours, without a mark. An
// error means that there is none of that number.
func Of(pid int) (Tree, error) {
	start, _, err := look(pid)
	if err != nil {
		return Tree{}, fmt.Errorf("cannot look at process %d: %w", pid, err)
	}
	return Tree{PID: pid, Start: start, Boot: bootID()}, nil
}

// look returns when a process began, in units of 100 ns, and whether it has not
// ended.
func look(pid int) (start uint64, lives bool, err error) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return 0, false, err
	}
	defer windows.CloseHandle(h)
	var began, ended, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(h, &began, &ended, &kernel, &user); err != nil {
		return 0, false, err
	}
	var code uint32
	err = windows.GetExitCodeProcess(h, &code)
	return uint64(began.HighDateTime)<<32 | uint64(began.LowDateTime), code == stillActive, err
}

// Alive reports whether the program itself lives, whoever is its parent.
func (t Tree) Alive() bool {
	if t.PID <= 0 || t.Start == 0 || !t.ThisBoot() {
		return false
	}
	start, lives, err := look(t.PID)
	return err == nil && lives && start == t.Start
}

// Signal ends the program itself, whoever is its parent: KILL is the only signal
// that another process can send here.
func (t Tree) Signal(sig syscall.Signal) error {
	switch {
	case !t.Alive():
		return fmt.Errorf("cannot signal process %d: it has ended", t.PID)
	case sig != kill:
		return fmt.Errorf("cannot signal process %d: Windows has no %s for others", t.PID, SignalName(sig))
	}
	h, err := windows.OpenProcess(windows.PROCESS_TERMINATE, false, uint32(t.PID))
	if err != nil {
		return err
	}
	defer windows.CloseHandle(h)
	return windows.TerminateProcess(h, 1)
}

// Left reports whether the program lives: the rest of its job ends with the
// process that made it.
func (t Tree) Left() (bool, error) { return t.Alive(), nil }

// ThisBoot reports whether the tree is of this run of the machine.
func (t Tree) ThisBoot() bool { return t.Boot == bootID() }

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A watched program tells every system call that changes a file before it is
// made, and waits until it may go on: it, and all processes that it starts. The
// kernel does that (seccomp, SECCOMP_RET_USER_NOTIF), so the program has no part in
// it, and no call escapes.

// call is a system call about to be made.
type call struct {
	pid  int    // of the process, not of its thread
	name string // "renameat", "fsync"
	path string // of what it changes, or syncs
}

// sync reports whether the call makes something durable, and changes nothing.
func (c call) sync() bool {
	return strings.HasPrefix(c.name, "f") && strings.HasSuffix(c.name, "sync") || c.name == "syncfs"
}

// judgement is what becomes of the process that makes a call.
type judgement int

const (
	goOn        judgement = iota
	killIt                // the process dies before the call
	killThemAll           // all watched processes do
)

// argument says where a system call names what it changes.
type argument struct {
	name    string
	fd      int  // which argument is the descriptor, or the folder's; -1: the current folder
	path    int  // which one is the path; -1: none
	flags   int  // which one has flags for opening; -1: none
	flagsAt bool // they are in memory
}

var watchedCalls = map[int32]argument{
	unix.SYS_WRITE: {"write", 0, -1, -1, false}, unix.SYS_PWRITE64: {"pwrite", 0, -1, -1, false},
	unix.SYS_WRITEV: {"writev", 0, -1, -1, false}, unix.SYS_PWRITEV: {"pwritev", 0, -1, -1, false},
	unix.SYS_COPY_FILE_RANGE: {"copy_file_range", 2, -1, -1, false}, unix.SYS_SENDFILE: {"sendfile", 0, -1, -1, false},
	unix.SYS_SPLICE: {"splice", 2, -1, -1, false},
	unix.SYS_OPEN:   {"open", -1, 0, 1, false}, unix.SYS_OPENAT: {"openat", 0, 1, 2, false}, unix.SYS_OPENAT2: {"openat2", 0, 1, 2, true},
	unix.SYS_CREAT: {"creat", -1, 0, -1, false},
	unix.SYS_MKDIR: {"mkdir", -1, 0, -1, false}, unix.SYS_MKDIRAT: {"mkdirat", 0, 1, -1, false},
	unix.SYS_UNLINK: {"unlink", -1, 0, -1, false}, unix.SYS_UNLINKAT: {"unlinkat", 0, 1, -1, false}, unix.SYS_RMDIR: {"rmdir", -1, 0, -1, false},
	unix.SYS_RENAME: {"rename", -1, 1, -1, false}, unix.SYS_RENAMEAT: {"renameat", 2, 3, -1, false}, unix.SYS_RENAMEAT2: {"renameat2", 2, 3, -1, false},
	unix.SYS_LINK: {"link", -1, 1, -1, false}, unix.SYS_LINKAT: {"linkat", 2, 3, -1, false},
	unix.SYS_SYMLINK: {"symlink", -1, 1, -1, false}, unix.SYS_SYMLINKAT: {"symlinkat", 1, 2, -1, false},
	unix.SYS_CHMOD: {"chmod", -1, 0, -1, false}, unix.SYS_FCHMOD: {"fchmod", 0, -1, -1, false},
	unix.SYS_FCHMODAT: {"fchmodat", 0, 1, -1, false}, unix.SYS_FCHMODAT2: {"fchmodat2", 0, 1, -1, false},
	unix.SYS_CHOWN: {"chown", -1, 0, -1, false}, unix.SYS_LCHOWN: {"lchown", -1, 0, -1, false},
	unix.SYS_FCHOWN: {"fchown", 0, -1, -1, false}, unix.SYS_FCHOWNAT: {"fchownat", 0, 1, -1, false},
	unix.SYS_TRUNCATE: {"truncate", -1, 0, -1, false}, unix.SYS_FTRUNCATE: {"ftruncate", 0, -1, -1, false},
	unix.SYS_FALLOCATE: {"fallocate", 0, -1, -1, false}, unix.SYS_UTIMENSAT: {"utimensat", 0, 1, -1, false},
	unix.SYS_FSYNC: {"fsync", 0, -1, -1, false}, unix.SYS_FDATASYNC: {"fdatasync", 0, -1, -1, false}, unix.SYS_SYNCFS: {"syncfs", 0, -1, -1, false},
}

// watchSocket is the descriptor over which a watched program hands out what its
// calls are heard on.
const watchSocket = 3

// becomeWatched turns this process into a watched program, where it was started as
// one: it installs the filter, which outlasts the exec, and starts anew.
func becomeWatched() {
	if os.Getenv("INSTAR_WATCHED") == "" {
		return
	}
	runtime.LockOSThread() // a filter is a thread's, and its children's
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	var listener int
	if err == nil {
		listener, err = installFilter()
	}
	if err == nil {
		err = unix.Sendmsg(watchSocket, []byte{1}, unix.UnixRights(listener), nil, 0)
	}
	if err == nil {
		unix.CloseOnExec(watchSocket)
		unix.CloseOnExec(listener)
		os.Unsetenv("INSTAR_WATCHED")
		err = syscall.Exec("/proc/self/exe", append([]string{"instar"}, os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, "cannot be watched:", err)
	os.Exit(125)
}

// installFilter has the calling thread's watched calls wait for a listener.
func installFilter() (int, error) {
	const load, equal, give = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	filter := []unix.SockFilter{{Code: load, K: 0}} // the number of the call
	n := len(watchedCalls)
	for nr := range watchedCalls {
		filter = append(filter, unix.SockFilter{Code: equal, Jt: uint8(n), K: uint32(nr)})
		n--
	}
	filter = append(filter,
		unix.SockFilter{Code: give, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: give, K: unix.SECCOMP_RET_USER_NOTIF})
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// Without WAIT_KILLABLE_RECV a signal would have a call told twice.
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}

// watched runs instar with these arguments and environment. For each call that
// concerns something below dir it asks judge, one at a time; nothing else goes on
// in the process that makes the call meanwhile, as far as files go. It returns when
// instar has ended and nothing that it started is left.
func watched(t testing.TB, dir string, args []string, judge func(call) judgement) (stderr string, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	cmd := exec.Command(self)
	cmd.Args = append([]string{"instar"}, args...)
	cmd.Env = append(os.Environ(), "INSTAR_WATCHED=1", "GORACE=atexit_sleep_ms=0")
	cmd.ExtraFiles = []*os.File{theirs}
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	w := &watcher{t: t, dir: dir, judge: judge}
	if w.fd, err = receiveListener(ours); err != nil {
		_ = cmd.Wait()
		t.Fatalf("cannot watch: %v: %s", err, &out)
	}
	var done sync.WaitGroup
	done.Go(w.listen)
	err = cmd.Wait()
	done.Wait()
	_ = unix.Close(w.fd)
	return out.String(), err
}

func receiveListener(socket *os.File) (int, error) {
	conn, err := net.FileConn(socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return 0, errors.Join(err, errors.New("the program sent no descriptor"))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return 0, err
	}
	return fds[0], nil
}

type watcher struct {
	t     testing.TB
	fd    int
	dir   string
	judge func(call) judgement
	pids  []int // that made a call
}

// notification is struct seccomp_notif, response is struct seccomp_notif_resp.
type notification struct {
	id   uint64
	pid  uint32
	_    uint32
	nr   int32
	arch uint32
	_    uint64
	args [6]uint64
}

type response struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// listen answers until nobody is left that could ask.
func (w *watcher) listen() {
	for {
		fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			w.t.Error(err)
			return
		}
		if fds[0].Revents&unix.POLLHUP != 0 {
			return
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			continue
		}
		var n notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(w.fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n))); errno != 0 {
			continue // whoever asked is gone
		}
		if w.allowed(&n) {
			r := response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
			_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(w.fd), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r)))
		}
	}
}

func (w *watcher) allowed(n *notification) bool {
	c := w.decode(n)
	if !w.known(c.pid) {
		w.pids = append(w.pids, c.pid)
	}
	if c.path != w.dir && !strings.HasPrefix(c.path, w.dir+"/") {
		return true
	}
	switch w.judge(c) {
	case killIt:
		_ = unix.Kill(c.pid, unix.SIGKILL)
		return false
	case killThemAll:
		for _, pid := range w.pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		return false
	}
	return true
}

func (w *watcher) known(pid int) bool {
	for _, p := range w.pids {
		if p == pid {
			return true
		}
	}
	return false
}

// decode says what a notification is about. Its path is "" when it changes
// nothing.
func (w *watcher) decode(n *notification) call {
	arg := watchedCalls[n.nr]
	c := call{pid: processOf(int(n.pid)), name: arg.name}
	if arg.flags >= 0 {
		flags := n.args[arg.flags]
		if arg.flagsAt {
			flags = uint64(readWord(int(n.pid), flags))
		}
		if flags&(unix.O_CREAT|unix.O_TRUNC) == 0 {
			return c
		}
	}
	proc := "/proc/" + strconv.Itoa(int(n.pid))
	folder := proc + "/cwd"
	if arg.fd >= 0 && int32(n.args[arg.fd]) != unix.AT_FDCWD {
		folder = proc + "/fd/" + strconv.Itoa(int(int32(n.args[arg.fd])))
	}
	at, err := os.Readlink(folder)
	if err != nil {
		return c
	}
	c.path = at
	if arg.path >= 0 {
		name := readText(int(n.pid), n.args[arg.path])
		if c.path = filepath.Join(at, name); filepath.IsAbs(name) {
			c.path = filepath.Clean(name)
		}
	}
	return c
}

// processOf is the process that a thread is of.
func processOf(thread int) int {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(thread) + "/status")
	if err != nil {
		return thread
	}
	_, rest, _ := strings.Cut(string(status), "\nTgid:\t")
	tgid, _, _ := strings.Cut(rest, "\n")
	pid, err := strconv.Atoi(tgid)
	if err != nil {
		return thread
	}
	return pid
}

// readText reads a C string from another process.
func readText(pid int, at uint64) string {
	var text []byte
	for len(text) < unix.PathMax {
		buf := make([]byte, min(64, 4096-at%4096)) // never across a page that may not be there
		n, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}}, []unix.RemoteIovec{{Base: uintptr(at), Len: len(buf)}}, 0)
		if err != nil || n == 0 {
			return string(text)
		}
		if end := bytes.IndexByte(buf[:n], 0); end >= 0 {
			return string(append(text, buf[:end]...))
		}
		text, at = append(text, buf[:n]...), at+uint64(n)
	}
	return string(text)
}

func readWord(pid int, at uint64) uint32 {
	buf := make([]byte, 4)
	if _, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &buf[0], Len: 4}}, []unix.RemoteIovec{{Base: uintptr(at), Len: 4}}, 0); err != nil {
		return unix.O_CREAT
	}
	return uint32(buf[0]) | uint32(buf[1])<<8 | uint32(buf[2])<<16 | uint32(buf[3])<<24
}

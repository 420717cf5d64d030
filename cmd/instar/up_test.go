//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// upCommands are what the scripts of `instar up` use besides the commands of
// [TestScripts].
//
//	up JOB ARGS...           start `instar up ARGS` in the background and wait until it
//	                         serves; what it prints goes to the files JOB.out and JOB.err,
//	                         and its pid is in $JOB_pid
//	upstart JOB ARGS...      as up, without waiting
//	background JOB ARGS...   start instar, without waiting
//	node JOB [ARGS...]       start `instar node run ARGS`, as up does
//	theirnode JOB [ARGS...]  node, run by a user without rights, as `nobody` runs instar
//	tmpfs FOLDER SIZE        make a folder that holds so much at most, such as 64k
//	scrape FILE CODE URL [TOKEN]  write what is answered to a GET into a file; for the
//	                         URL unix:SOCKET/PATH, or JOB/PATH where a node shows metrics
//	signal JOB|PID SIGNAL    send a signal: INT, TERM, HUP, KILL, STOP, CONT
//	ended JOB CODE           wait until it has ended, with this exit code
//	pid VAR NAME SERVICE     wait until a service runs, and set VAR to its pid
//	same A B                 two texts are the same
//	alive PID                the process runs
//	await NAME PATH VALUE    wait until `status NAME --json` has VALUE at PATH
//	count FILE TEXT N        so many lines of a file contain a text
var upCommands = map[string]func(*testscript.TestScript, bool, []string){
	"up": scriptUp, "upstart": scriptUpStart, "signal": scriptSignal, "ended": scriptEnded, "pid": scriptPID,
	"same": scriptSame, "alive": scriptAlive, "await": scriptAwait, "count": scriptCount,
	"node": scriptNode, "theirnode": scriptTheirNode, "background": scriptBackground, "scrape": scriptScrape, "tmpfs": scriptTmpfs,
}

// job is an `up` in the background of a script.
type job struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func (j *job) running() bool {
	select {
	case <-j.done:
		return false
	default:
		return true
	}
}

func jobs(ts *testscript.TestScript) map[string]*job {
	return ts.Value("jobs").(map[string]*job)
}

// scriptInstar returns instar with the environment of a script.
func scriptInstar(ts *testscript.TestScript, args ...string) *exec.Cmd {
	program, err := exec.LookPath("instar")
	ts.Check(err)
	cmd := exec.Command(program, args...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "INSTAR_STATE_DIR", "XDG_DATA_HOME", "TMPDIR", "WORK"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	return cmd
}

func scriptUpStart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: upstart JOB ARGS...")
	}
	background(ts, append([]string{args[0], "up"}, args[1:]...)...)
}

func scriptNode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: node JOB [ARGS...]")
	}
	background(ts, append([]string{args[0], "node", "run"}, args[1:]...)...)
	awaitNode(ts, args)
}

func scriptTheirNode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: theirnode JOB [ARGS...]")
	}
	cmd := scriptInstar(ts, append([]string{"node", "run"}, args[1:]...)...)
	if os.Geteuid() == 0 {
		setpriv, err := exec.LookPath("setpriv")
		ts.Check(err)
		cmd.Args = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = setpriv
	}
	start(ts, args[0], cmd)
	awaitNode(ts, args)
}

func awaitNode(ts *testscript.TestScript, args []string) {
	eventually(ts, "node serves", func() error {
		text := ts.ReadFile(args[0] + ".err")
		if !jobs(ts)[args[0]].running() {
			ts.Fatalf("the node has ended:\n%s", text)
		}
		if !strings.Contains(text, "node: serving") {
			return errors.New(text)
		}
		return nil
	})
}

func scriptBackground(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: background JOB ARGS...")
	}
	background(ts, args...)
}

// background starts instar as a job: its name, then the arguments.
func background(ts *testscript.TestScript, args ...string) {
	start(ts, args[0], scriptInstar(ts, args[1:]...))
}

// start starts a job.
func start(ts *testscript.TestScript, name string, cmd *exec.Cmd) {
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer out.Close()
	errs, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	defer errs.Close()
	cmd.Stdout, cmd.Stderr = out, errs
	ts.Check(cmd.Start())
	j := &job{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // ended looks at the state
		close(j.done)
	}()
	jobs(ts)[name] = j
	ts.Setenv(name+"_pid", strconv.Itoa(cmd.Process.Pid))
	ts.Defer(func() {
		for _, sig := range []syscall.Signal{syscall.SIGCONT, syscall.SIGTERM, syscall.SIGTERM, syscall.SIGKILL} {
			if j.running() {
				_ = cmd.Process.Signal(sig) // it may have ended
			}
			if sig != syscall.SIGCONT {
				select {
				case <-j.done:
				case <-time.After(scriptPatience):
				}
			}
		}
		if ts.Name() != "" && testing.Verbose() {
			ts.Logf("[%s.out]\n%s[%s.err]\n%s", name, ts.ReadFile(name+".out"), name, ts.ReadFile(name+".err"))
		}
	})
}

func scriptUp(ts *testscript.TestScript, neg bool, args []string) {
	scriptUpStart(ts, neg, args)
	j := jobs(ts)[args[0]]
	eventually(ts, "up serves", func() error {
		if strings.Contains(ts.ReadFile(args[0]+".err"), "until Ctrl-C") {
			return nil
		}
		if !j.running() {
			ts.Fatalf("up has ended:\n%s%s", ts.ReadFile(args[0]+".out"), ts.ReadFile(args[0]+".err"))
		}
		return errors.New(ts.ReadFile(args[0] + ".err"))
	})
}

var scriptSignals = map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP,
	"KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT}

func scriptSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: signal JOB|PID SIGNAL")
	}
	pid, err := strconv.Atoi(args[0])
	if j := jobs(ts)[args[0]]; j != nil {
		pid, err = j.cmd.Process.Pid, nil
	}
	ts.Check(err)
	ts.Check(syscall.Kill(pid, scriptSignals[args[1]]))
}

func scriptEnded(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ended JOB CODE")
	}
	j := jobs(ts)[args[0]]
	select {
	case <-j.done:
	case <-time.After(scriptPatience):
		ts.Fatalf("%s has not ended:\n%s", args[0], ts.ReadFile(args[0]+".err"))
	}
	if got := strconv.Itoa(j.cmd.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("%s ended with %s, want %s:\n%s", args[0], got, args[1], ts.ReadFile(args[0]+".err"))
	}
}

// statusDocument asks as `instar status NAME --json` does.
func statusDocument(ts *testscript.TestScript, name string) (any, error) {
	out, err := scriptInstar(ts, "status", name, "--json").Output()
	if err != nil {
		return nil, err
	}
	var doc any
	dec := json.NewDecoder(bytes.NewReader(out))
	dec.UseNumber()
	return doc, dec.Decode(&doc)
}

func scriptPID(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: pid VAR NAME SERVICE")
	}
	eventually(ts, args[2]+" runs", func() error {
		doc, err := statusDocument(ts, args[1])
		if err != nil {
			return err
		}
		for i := 0; ; i++ {
			prefix := fmt.Sprintf("services.%d.", i)
			name, ok := lookup(doc, prefix+"name")
			if !ok {
				return errors.New("there is no such service")
			}
			status, _ := lookup(doc, prefix+"status")
			if name == args[2] && status == "running" {
				pid, _ := lookup(doc, prefix+"pid")
				ts.Setenv(args[0], textOf(pid))
				return nil
			}
		}
	})
}

func scriptSame(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || (args[0] == args[1]) == neg {
		ts.Fatalf("same: %v is %v", args, !neg)
	}
}

func scriptAlive(ts *testscript.TestScript, neg bool, args []string) {
	for _, pid := range args {
		if isAlive(pid) == neg {
			ts.Fatalf("%s is alive: %v", pid, !neg)
		}
	}
}

// isAlive reports whether a process runs: a zombie does not.
func isAlive(pid string) bool {
	data, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(pid), "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: await NAME PATH VALUE")
	}
	eventually(ts, strings.Join(args, " "), func() error {
		doc, err := statusDocument(ts, args[0])
		if err != nil {
			return err
		}
		got, _ := lookup(doc, args[1])
		if text := textOf(got); text != args[2] {
			return fmt.Errorf("it is %s", text)
		}
		return nil
	})
}

func scriptCount(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: count FILE TEXT N")
	}
	n := 0
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if strings.Contains(line, args[1]) {
			n++
		}
	}
	if strconv.Itoa(n) != args[2] {
		ts.Fatalf("%d lines of %s contain %q, want %s:\n%s", n, args[0], args[1], args[2], ts.ReadFile(args[0]))
	}
}

// TestUpHandsNoDescriptorsDown: services, runs and commands get the standard
// descriptors and no others, whatever `up` was started with.
func TestUpHandsNoDescriptorsDown(t *testing.T) {
	u := newUp(t, `
def list(name):
    return "ls -l /proc/self/fd >%s.new; mv %s.new %s.fds; " % (name, name, name)

command_once("command", ["/bin/sh", "-c", list("command")])
run("run", ["/bin/sh", "-c", list("run")])
service("service", ["/bin/sh", "-c", list("service") + "exec sleep 1000"])
service("limited", ["/bin/sh", "-c", list("limited") + "exec sleep 1000"], limits = {"nofile": 100})
promise("check", check.command(["/bin/sh", "-c", list("check") + "test -e service.fds -a -e limited.fds"]))
`)
	var inherited []*os.File
	for range 3 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		inherited = append(inherited, f)
	}
	u.cmd.ExtraFiles = inherited
	u.start()
	for _, name := range []string{"command", "run", "service", "limited", "check"} {
		data, err := os.ReadFile(filepath.Join(u.root, name+".fds"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			_, link, ok := strings.Cut(line, ":")
			fields := strings.Fields(link)
			if !ok || len(fields) != 4 {
				continue
			}
			// 3 is the folder that ls reads.
			if fd, _ := strconv.Atoi(fields[1]); fd > 2 && !strings.HasPrefix(fields[3], "/proc/") {
				t.Errorf("%s has descriptor %s", name, strings.TrimSpace(link))
			}
		}
	}
}

// upTest is an `up` of a Go test.
type upTest struct {
	testing.TB
	cmd        *exec.Cmd
	dir, root  string
	errs, outs string // files of its output
}

// newUp prepares the `up` of a profile.
func newUp(t testing.TB, profile string) *upTest {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	u := &upTest{TB: t, dir: dir, root: filepath.Join(dir, "root"), errs: filepath.Join(dir, "err"), outs: filepath.Join(dir, "out")}
	program := filepath.Join(dir, "instar")
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "web.star"), []byte(profile), 0o644); err != nil {
		t.Fatal(err)
	}
	u.cmd = exec.Command(program, "up", filepath.Join(dir, "web.star"), "--root", u.root, "--state-dir", filepath.Join(dir, "state"))
	return u
}

// start starts it and waits until it serves; it is stopped at the end.
func (u *upTest) start() {
	u.Helper()
	out, err := os.Create(u.outs)
	if err != nil {
		u.Fatal(err)
	}
	defer out.Close()
	errs, err := os.Create(u.errs)
	if err != nil {
		u.Fatal(err)
	}
	defer errs.Close()
	u.cmd.Stdout, u.cmd.Stderr = out, errs
	if err := u.cmd.Start(); err != nil {
		u.Fatal(err)
	}
	u.Cleanup(func() {
		_ = u.cmd.Process.Signal(syscall.SIGTERM)
		_ = u.cmd.Wait() // its code is 143
	})
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(u.errs)
		if err != nil {
			u.Fatal(err)
		}
		if strings.Contains(string(text), "until Ctrl-C") {
			return
		}
		if time.Since(start) > scriptPatience {
			u.Fatalf("up does not serve: %s", text)
		}
	}
}

// TestUpWhoseOutputNobodyReads: a terminal that stands still (Ctrl-S), or a
// reader that is gone, keeps no service from being started again, and up from
// ending.
func TestUpWhoseOutputNobodyReads(t *testing.T) {
	for _, gone := range []bool{false, true} {
		t.Run(fmt.Sprintf("gone=%v", gone), func(t *testing.T) {
			u := newUp(t, `
for i in range(2000):
    print("a line of output that fills the pipe: " + "x" * 100)
service("a", ["/bin/sh", "-c", "echo $$ >>pids; exec sleep 1000"])
`)
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			u.cmd.Stdout, u.cmd.Stderr = writer, writer
			if err := u.cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer u.cmd.Process.Kill()
			writer.Close()
			if gone {
				reader.Close()
			}
			for n := 1; n <= 2; n++ {
				pid := u.lastPID(n)
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			pid := u.lastPID(3)
			if err := u.cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			_ = u.cmd.Wait() // its code is looked at
			if code := u.cmd.ProcessState.ExitCode(); code != 130 {
				t.Errorf("exit code %d", code)
			}
			if isAlive(strconv.Itoa(pid)) {
				t.Error("the service is left")
			}
		})
	}
}

// lastPID waits until the service a has started n times.
func (u *upTest) lastPID(n int) int {
	u.Helper()
	for start := time.Now(); time.Since(start) < scriptPatience; time.Sleep(10 * time.Millisecond) {
		data, _ := os.ReadFile(filepath.Join(u.root, "pids")) // it comes
		lines := strings.Fields(string(data))
		if len(lines) == n && strings.HasSuffix(string(data), "\n") {
			pid, err := strconv.Atoi(lines[n-1])
			if err != nil {
				u.Fatal(err)
			}
			return pid
		}
	}
	u.Fatalf("the service has not started %d times", n)
	return 0
}

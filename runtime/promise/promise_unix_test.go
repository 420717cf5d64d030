//go:build unix

package promise_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"instar/runtime/plan"
)

func shell(t *testing.T, script string) plan.Check {
	dir := t.TempDir()
	return plan.Check{Kind: "command", Exec: &plan.Exec{
		Argv:     []string{"/bin/sh", "-c", script},
		Env:      []string{"MINE=" + hidden},
		Dir:      dir,
		Identity: plan.Identity{User: "me", UID: -1, GID: -1, Home: dir},
	}}
}

func TestCommand(t *testing.T) {
	run(t, checker(), []one{
		{"ok", shell(t, "exit 0"), ""},
		{"exit", shell(t, "echo out; echo bad thing >&2; exit 3"), "sh: exit status 3: out\nbad thing"},
		{"silent", shell(t, "exit 4"), "sh: exit status 4"},
		{"signal", shell(t, "kill -9 $$"), "signal: KILL"},
		{"masked", shell(t, `echo "pw=$MINE"; exit 1`), "pw=********"},
		{"environment", shell(t, `test "$USER $LANG $PWD" = "me C.UTF-8 $HOME"`), ""},
		{"tail", shell(t, "i=0; while [ $i -lt 5000 ]; do i=$((i+1)); echo line $i; done; exit 1"), "line 4995\nline 4996"},
		{"missing", plan.Check{Kind: "command", Exec: &plan.Exec{Argv: []string{"/no/such/program"}, Dir: "/", Identity: plan.Identity{UID: -1, GID: -1}}}, "/no/such/program"},
		{"nothing", plan.Check{Kind: "command"}, "names no command"},
	})
}

// TestCommandTimeout has a grandchild that ignores TERM: nothing may be left.
func TestCommandTimeout(t *testing.T) {
	check := shell(t, `trap "" TERM; sh -c 'trap "" TERM; echo begun; echo $$ > pid; while :; do sleep 0.05; done' & wait`)
	c := checker()
	c.Mark = "promise-test:" + filepath.Base(t.TempDir()) + ":"
	timeout := 500 * time.Millisecond
	var data []byte
	for ; len(data) == 0 && timeout < time.Minute; timeout *= 4 { // until it is enough to begin in
		r := c.Check(t.Context(), plan.Promise{Name: "hangs", Timeout: timeout, Check: check})
		data, _ = os.ReadFile(filepath.Join(check.Exec.Dir, "pid"))
		if r.OK || !strings.Contains(r.Message, fmt.Sprintf("no answer within %s: sh", timeout)) || len(data) > 0 && !strings.Contains(r.Message, ": begun") {
			t.Errorf("got %+v", r)
		}
	}
	if len(data) == 0 {
		t.Fatal("it never began")
	}
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(data)) + "/stat")
	if err == nil && !strings.Contains(string(stat), ") Z ") {
		t.Errorf("the grandchild lives: %s", stat)
	}
}

func TestFIFO(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, checker(), []one{
		{"file", plan.Check{Kind: "file", Path: fifo}, "is a FIFO, not a file"},
		{"certificate", plan.Check{Kind: "certificate", Path: fifo}, "is a FIFO, not a file"},
		{"socket", plan.Check{Kind: "socket", Path: fifo}, "is a FIFO, not a socket"},
	})
}

//go:build unix

package sandbox_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"instar/starlark/sandbox"
)

func TestChildHasNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	t.Setenv("INSTAR_TEST_SECRET", "1")
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	inherited, err := syscall.Dup(int(file.Fd())) // without close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(inherited)
	err = sandbox.Run(t.Context(), sandbox.Limits{}, "misbehave", []byte("environment"), ignore)
	for _, word := range strings.Fields(strings.Trim(err.Error(), "[]")) {
		if !strings.HasPrefix(word, `"GO`) {
			t.Errorf("the child has %s in its environment", word)
		}
	}
	err = sandbox.Run(t.Context(), sandbox.Limits{}, "misbehave", []byte("files"), ignore)
	for _, word := range strings.Fields(strings.Trim(err.Error(), "[]")) {
		number, kind, _ := strings.Cut(strings.Trim(word, `"`), "=")
		if n, err := strconv.Atoi(number); err != nil || n > 2 && kind != "anon_inode" || n <= 2 && kind != "pipe" {
			t.Errorf("the child has an open file %s", word)
		}
	}
}

func TestChildIsConfined(t *testing.T) {
	if !sandbox.HardMemory {
		t.Skip("limits are not set here")
	}
	l := sandbox.Limits{Memory: 200 << 20, Time: time.Minute}
	text := sandbox.Run(t.Context(), l, "misbehave", []byte("limits"), ignore).Error()
	for name, want := range map[string]string{"Max core file size": "0", "Max data size": "209715200", "Max cpu time": "125"} {
		_, rest, _ := strings.Cut(text, name)
		if fields := strings.Fields(rest); len(fields) < 2 || fields[0] != want || fields[1] != want {
			t.Errorf("%s: got %.40q, want %s twice", name, rest, want)
		}
	}
	if _, rest, _ := strings.Cut(text, "Max address space"); strings.HasPrefix(strings.TrimSpace(rest), "unlimited") {
		t.Error("the address space is not limited")
	}
}

func TestChildLeavesSignalsToParent(t *testing.T) {
	if err := sandbox.Run(t.Context(), sandbox.Limits{}, "misbehave", []byte("signals"), ignore); err != nil {
		t.Error(err)
	}
}

// A child whose parent was killed ends, although it computes and never looks.
func TestChildDiesWithParent(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "parent")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, convErr := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || convErr != nil {
		t.Fatalf("got %q, %v", line, err)
	}
	if gone(pid) {
		t.Fatal("the child has ended before its parent")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for deadline := time.Now().Add(time.Minute); !gone(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the child outlives its parent")
		}
	}
}

// gone reports whether a process has ended, reaped or not.
func gone(pid int) bool {
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		return strings.Contains(string(text), ") Z ")
	}
	return syscall.Kill(pid, 0) != nil
}

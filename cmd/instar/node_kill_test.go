//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// killProfile has a service, a command that runs once, and one that runs for each
// n. The sleeping times are how its processes are found.
const killProfile = `
n = param("n", 0)
conf = file("etc/conf", "n is %%d\n" %% n)
command_once("init", ["/bin/sh", "-c", "sleep 0.02; echo init >>inits; echo >made"], creates = "made")
command_changed("derive", ["/bin/sh", "-c", "sleep 0.02; cp $0 derived", conf], creates = "derived")
service("a", ["/bin/sh", "-c", "cat %%s; exec sleep %[1]d" %% conf])
service("b", ["/bin/sleep", "%[2]d"])
`

// farmhand uses instar as an operator does, with a state folder of its own.
type farmhand struct {
	t    *testing.T
	dir  string
	node *exec.Cmd
	said *bytes.Buffer
}

func (f *farmhand) command(args ...string) *exec.Cmd {
	f.t.Helper()
	self, err := os.Executable()
	if err != nil {
		f.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Args = append([]string{"instar"}, args...)
	cmd.Dir = f.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + f.dir, "INSTAR_STATE_DIR=" + filepath.Join(f.dir, "state"),
		"XDG_DATA_HOME=" + f.dir, "GORACE=atexit_sleep_ms=0"}
	return cmd
}

func (f *farmhand) start() {
	f.t.Helper()
	f.said = &bytes.Buffer{}
	f.node = f.command("node", "run")
	f.node.Stderr = f.said
	if err := f.node.Start(); err != nil {
		f.t.Fatal(err)
	}
}

// must runs instar until it exits with 0: the node may not serve yet.
func (f *farmhand) must(args ...string) {
	f.t.Helper()
	var out []byte
	var err error
	for deadline := time.Now().Add(scriptPatience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if out, err = f.command(args...).CombinedOutput(); err == nil {
			return
		}
	}
	f.t.Fatalf("instar %s: %v\n%s\nthe node: %s", strings.Join(args, " "), err, out, f.said)
}

// sleepers counts the processes that sleep so long.
func sleepers(t *testing.T, long int) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range files {
		data, err := os.ReadFile(name)
		words := strings.Split(string(data), "\x00")
		if err == nil && len(words) == 3 && filepath.Base(words[0]) == "sleep" && words[1] == strconv.Itoa(long) {
			n++
		}
	}
	return n
}

// A node is killed again and again, whatever it is at; in the end everything is
// as asked for: each service runs once, what ran once did so once, and nothing
// half done is left.
func TestNodeKilledAnytime(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	f := &farmhand{t: t, dir: t.TempDir()}
	a, b := 1_000_000+os.Getpid()%1_000_000, 3_000_000+os.Getpid()%1_000_000
	profile := filepath.Join(f.dir, "web")
	if err := os.MkdirAll(profile, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(profile, "instance.star"), fmt.Appendf(nil, killProfile, a, b), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.node.Process.Signal(syscall.SIGTERM) // the last one
		_ = f.node.Wait()
		for _, long := range []int{a, b} {
			if n := sleepers(t, long); n != 0 {
				t.Errorf("%d processes are left", n)
			}
		}
	})
	const rounds = 8
	for round := range rounds {
		f.start()
		ctx, cancel := context.WithCancel(context.Background())
		var operator sync.WaitGroup
		operator.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				args := [][]string{
					{"apply", "web", "--root", "root", "--set", fmt.Sprintf("n=%d", 100*round+i)},
					{"request", "web", "--root", "root", "--set", fmt.Sprintf("n=%d", 100*round+i)},
					{"bang", "web", "-m", "look"}, {"stop", "web"}, {"start", "web"},
				}[(round+i)%5]
				_ = f.command(args...).Run() // the node may be dead
			}
		})
		time.Sleep(time.Duration(random.IntN(700)) * time.Millisecond)
		_ = f.node.Process.Kill()
		_ = f.node.Wait()
		cancel()
		operator.Wait()
	}
	f.start()
	f.must("start", "web")
	f.must("apply", "web", "--root", "root", "--set", "n=7")
	f.must("plan", "web", "--detailed-exitcode")
	for deadline := time.Now().Add(scriptPatience); ; time.Sleep(50 * time.Millisecond) {
		if sleepers(t, a) == 1 && sleepers(t, b) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("so many processes of the services run: %d and %d\n%s", sleepers(t, a), sleepers(t, b), f.said)
			break
		}
	}
	for name, want := range map[string]string{"etc/conf": "n is 7\n", "derived": "n is 7\n", "inits": "init\n"} {
		if got, err := os.ReadFile(filepath.Join(f.dir, "root", name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	left, err := exec.Command("find", filepath.Join(f.dir, "root"), "-name", ".instar-*").Output()
	if err != nil || len(left) > 0 {
		t.Errorf("left: %s, %v", left, err)
	}
}

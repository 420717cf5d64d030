//go:build linux

package command_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"instar/runtime/command"
)

// TestDeployerKilled: the command finishes, its success is recorded, and it is
// not run twice.
func TestDeployerKilled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	job := b.job("slow", `echo begun; echo run >>runs; i=0; while [ ! -e release ]; do echo "tick $i"; i=$((i+1)); sleep 0.01; done; echo made >made`)
	job.Command.Creates = []string{"made"}
	deployer := b.deployer(job, false)
	out, err := deployer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := deployer.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "begun\n" {
		t.Fatalf("%q, %v", line, err)
	}
	kill(t, deployer)
	if rec, err := command.Load(b.dir, "slow"); err != nil || rec.Status != command.Started || !command.Running(b.dir, "slow") {
		t.Fatalf("record %+v, %v", rec, err)
	}
	if _, err := command.Run(t.Context(), job); !errors.Is(err, command.ErrBusy) {
		t.Fatalf("a second run: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := command.Wait(short, b.dir, "slow"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait: %v", err)
	}
	if err := os.WriteFile(b.path("release"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	rec := b.wait("slow")
	if rec.Status != command.Succeeded || !strings.HasPrefix(rec.Creates["made"], "sha256:") || !strings.Contains(rec.Output, "tick") {
		t.Errorf("record %+v", rec)
	}
	d, err := command.Decide(job.Command, job.Digest, rec, view{b.root})
	if err != nil || d.Run {
		t.Errorf("decision %+v, %v", d, err)
	}
	if runs := b.read(b.path("runs")); runs != "run\n" {
		t.Errorf("runs %q", runs)
	}
}

// TestDeployerKilledBefore: a supervisor that was not told to begin does not.
func TestDeployerKilledBefore(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	job := b.job("never", "echo >ran")
	deployer := b.deployer(job, true)
	out, err := deployer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := deployer.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "preparing\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if !command.Running(b.dir, "never") {
		t.Fatal("the lock is not held while preparing")
	}
	kill(t, deployer)
	if rec := b.wait("never"); rec != nil || exists(b.path("ran")) {
		t.Errorf("it ran: %+v", rec)
	}
	b.run(job)
}

// TestSupervisorKilled: the attempt is an interrupted one, what it left
// running is ended, and what it may wipe is wiped.
func TestSupervisorKilled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	job := b.job("init", `mkdir -p data; echo half >data/half; setsid sh -c 'echo $$ >pid; exec sleep 1000' & while [ ! -s pid ]; do sleep 0.01; done; echo begun; sleep 1000`)
	job.Command.Wipe = []string{"data"}
	job.Command.Creates = []string{"data/whole"}
	begun := make(chan struct{})
	job.Line = func(string) { close(begun) }
	type outcome struct {
		rec command.Record
		err error
	}
	result := make(chan outcome, 1)
	go func() {
		rec, err := command.Run(t.Context(), job)
		result <- outcome{rec, err}
	}()
	<-begun
	rec, err := command.Load(b.dir, "init")
	if err != nil || rec.Status != command.Started || rec.Supervisor == 0 {
		t.Fatalf("record %+v, %v", rec, err)
	}
	if session, err := unix.Getsid(rec.Supervisor); err != nil || session != rec.Supervisor {
		t.Errorf("Ctrl-C would reach the supervisor: session %d, %v", session, err)
	}
	if err := syscall.Kill(rec.Supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	got := <-result
	var failed *command.FailedError
	if !errors.As(got.err, &failed) || got.rec.Status != command.Interrupted || !strings.Contains(got.err.Error(), "its supervisor was killed") {
		t.Errorf("record %+v, %v", got.rec, got.err)
	}
	if !gone(t, b.path("pid")) {
		t.Error("the grandchild lives")
	}
	rec = b.wait("init")
	d, err := command.Decide(job.Command, job.Digest, rec, view{b.root})
	if err != nil || !d.Run || len(d.Wipe) != 1 || d.Wipe[0] != "data" {
		t.Fatalf("decision %+v, %v", d, err)
	}
	again := b.job("init", "test -z \"$(ls data)\" && echo >data/whole")
	again.Command.Wipe, again.Command.Creates = job.Command.Wipe, job.Command.Creates
	again.Prepare = func(context.Context) error { return os.Remove(b.path("data/half")) }
	b.run(again)
}

// TestBothKilled: as after a power cut, there is but the record.
func TestBothKilled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	job := b.job("init", `echo $$ >pid; echo begun; sleep 1000`)
	deployer := b.deployer(job, false)
	out, err := deployer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := deployer.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "begun\n" {
		t.Fatalf("%q, %v", line, err)
	}
	kill(t, deployer)
	rec, err := command.Load(b.dir, "init")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(rec.Supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if rec := b.wait("init"); rec.Status != command.Interrupted || !gone(t, b.path("pid")) {
		t.Errorf("record %+v", rec)
	}
	if rec, err := command.Load(b.dir, "init"); err != nil || rec.Status != command.Interrupted {
		t.Errorf("not recorded: %+v, %v", rec, err)
	}
}

// TestSupervisorAskedToEnd: as by a shutdown.
func TestSupervisorAskedToEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	job := b.job("asked", `echo begun; sleep 1000`)
	begun := make(chan struct{})
	job.Line = func(string) { close(begun) }
	result := make(chan command.Record, 1)
	go func() {
		rec, _ := command.Run(t.Context(), job) // what it says is in the record
		result <- rec
	}()
	<-begun
	rec, err := command.Load(b.dir, "asked")
	if err != nil {
		t.Fatal(err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGTERM} {
		if err := syscall.Kill(rec.Supervisor, sig); err != nil {
			t.Fatal(err)
		}
	}
	if rec := <-result; rec.Status != command.Interrupted || rec.Reason != "interrupted by a signal" {
		t.Errorf("record %+v", rec)
	}
}

func TestStaleLock(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if rec := b.wait("x"); rec != nil || exists(filepath.Join(b.dir, "x.lock")) {
		t.Errorf("waiting for nothing made something: %+v", rec)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "x.lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if command.Running(b.dir, "x") {
		t.Error("a stale lock counts")
	}
	b.run(b.job("x", "true"))
}

// TestDiskFull has the records on a file system of 256 KiB.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	b := newBench(t)
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", b.dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	defer func() { // a process that another test is about to start may hold a descriptor
		if err := syscall.Unmount(b.dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	fill := filepath.Join(b.dir, "fill")
	full := `head -c 1000000 /dev/zero >"` + fill + `"; yes | head -c 100000; echo >made`
	// The command itself fills the disk: there is room for what must be known.
	if rec := b.run(b.job("fills", full)); rec.Status != command.Succeeded || rec.Output == "" {
		t.Errorf("record %+v", rec)
	}
	if rec, err := command.Load(b.dir, "fills"); err != nil || rec.Status != command.Succeeded {
		t.Errorf("record %+v, %v", rec, err)
	}
	topUp(t, filepath.Join(b.dir, "more"))
	if err := os.Remove(b.path("made")); err != nil {
		t.Fatal(err)
	}
	// No room to say that it begins: it does not.
	_, err := command.Run(t.Context(), b.job("other", "echo >made"))
	if err == nil || !strings.Contains(err.Error(), "no space left on device") || exists(b.path("made")) {
		t.Errorf("error %v", err)
	}
	if rec, err := command.Load(b.dir, "other"); rec != nil || err != nil {
		t.Errorf("record %+v, %v", rec, err)
	}
	for _, name := range []string{fill, filepath.Join(b.dir, "more")} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	b.run(b.job("other", "echo >made"))
}

// topUp writes until the disk is full.
func topUp(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

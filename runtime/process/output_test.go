//go:build linux

package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestStdinAndOutput(t *testing.T) {
	in := bytes.Repeat([]byte("0123456789abcdef"), 20_000) // more than a pipe holds
	var out, errs bytes.Buffer
	spec := sh("cat; echo done >&2")
	spec.Stdin, spec.Stdout, spec.Stderr = in, &out, &errs
	if exit, err := Run(t.Context(), spec, syscall.SIGTERM, time.Second); err != nil || !exit.Ok() {
		t.Fatal(exit, err)
	}
	if !bytes.Equal(out.Bytes(), in) || errs.String() != "done\n" {
		t.Errorf("stdout %d bytes of %d, stderr %q", out.Len(), len(in), errs.String())
	}
	out.Reset()
	spec = sh("echo a; echo b >&2; echo c; cat")
	spec.Stdout, spec.Stderr = &out, &out
	if _, err := Run(t.Context(), spec, syscall.SIGTERM, time.Second); err != nil || out.String() != "a\nb\nc\n" {
		t.Errorf("one writer for both got %q, %v", out.String(), err)
	}
	spec = sh("exit 0")
	spec.Stdin = in // nobody reads it
	if exit, err := Run(t.Context(), spec, syscall.SIGTERM, time.Second); err != nil || !exit.Ok() {
		t.Error(exit, err)
	}
}

func TestGrandchildHoldingThePipeDoesNotBlockWait(t *testing.T) {
	var out bytes.Buffer
	spec := sh("exec 3<&0; setsid sleep 1000 & echo $!")
	spec.Stdin = bytes.Repeat([]byte("x"), 1<<20) // which nobody reads, but it holds that pipe too
	spec.Stdout, spec.Mark = &out, Mark(t.TempDir(), "command", "i", "n")
	p, err := Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	p.Wait()
	if took := time.Since(begin); took > patience {
		t.Errorf("Wait took %v", took)
	}
	if err := p.End(t.Context(), syscall.SIGTERM, time.Second); err != nil {
		t.Error(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(out.String()))
	if pid == 0 || alive(pid) {
		t.Errorf("grandchild %d lives on", pid)
	}
}

// What a program has written before its end counts, however late it is read.
func TestOutputIsReadAfterTheDeadline(t *testing.T) {
	dir := t.TempDir()
	spec := sh("echo one; while [ ! -e go ]; do sleep 0.01; done; echo two; setsid sleep 1000 &")
	out := &slowWriter{begun: make(chan struct{}), goOn: make(chan struct{})}
	spec.Dir, spec.Stdout, spec.Mark = dir, out, Mark(dir, "command", "i", "n")
	p, err := Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	<-out.begun
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := p.out.pumps[0].from.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	close(out.goOn)
	p.Drain(0)
	if got := out.String(); got != "one\ntwo\n" {
		t.Errorf("got %q", got)
	}
	if err := p.End(t.Context(), syscall.SIGTERM, time.Second); err != nil {
		t.Error(err)
	}
}

// slowWriter waits with its first piece until it may go on.
type slowWriter struct {
	syncBuffer
	begun, goOn chan struct{}
	once        sync.Once
}

func (w *slowWriter) Write(p []byte) (int, error) {
	w.once.Do(func() { close(w.begun); <-w.goOn })
	return w.syncBuffer.Write(p)
}

// syncBuffer is a buffer that may be read while a process writes.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

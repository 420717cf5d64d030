//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// BenchmarkUpRestart measures the time from kill -9 of a service to the first
// instruction of the next one, and how often it takes that of starting the same
// program directly. Only the first restart comes at once, so each is of another
// service.
func BenchmarkUpRestart(b *testing.B) {
	const services = 25
	fifo := filepath.Join(b.TempDir(), "started")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		b.Fatal(err)
	}
	script := "echo $$ >" + fifo + "; exec sleep 1000"
	var restarts, floors []time.Duration
	for b.Loop() {
		u := newUp(b, fmt.Sprintf(`
for i in range(%d):
    service("s%%d" %% i, ["/bin/sh", "-c", %q])
`, services, script))
		started := make(chan int, services)
		reader, err := os.OpenFile(fifo, os.O_RDWR, 0) // never at its end
		if err != nil {
			b.Fatal(err)
		}
		go readPIDs(reader, started)
		u.start()
		pids := make([]int, services)
		for i := range pids {
			pids[i] = <-started
		}
		for _, pid := range pids {
			begin := time.Now()
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				b.Fatal(err)
			}
			<-started
			restarts = append(restarts, time.Since(begin))

			begin = time.Now()
			cmd := exec.Command("/bin/sh", "-c", script)
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			<-started
			floors = append(floors, time.Since(begin))
			if err := cmd.Process.Kill(); err != nil {
				b.Fatal(err)
			}
			_ = cmd.Wait() // it was killed
		}
		if err := reader.Close(); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(restarts)
	slices.Sort(floors)
	restart, floor := restarts[len(restarts)/2], floors[len(floors)/2]
	b.ReportMetric(float64(restart.Microseconds())/1000, "ms-restart")
	b.ReportMetric(float64(restarts[len(restarts)*95/100].Microseconds())/1000, "ms-restart-p95")
	b.ReportMetric(float64(floor.Microseconds())/1000, "ms-floor")
	b.ReportMetric(float64(restart)/float64(floor), "x-floor")
}

func readPIDs(r io.Reader, to chan<- int) {
	for {
		var pid int
		if _, err := fmt.Fscanln(r, &pid); err != nil {
			return
		}
		to <- pid
	}
}

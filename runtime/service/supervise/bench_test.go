//go:build linux

package supervise

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"instar/runtime/service"
)

// sleeper is a service whose program does as little as can be.
func (b *bench) sleeper(name string) service.Spec {
	s := b.sh(name, "")
	s.Argv = []string{"/bin/sleep", "100000"}
	return s
}

// running returns a channel that gets the time whenever a service is running.
func running(o *Options) <-chan time.Time {
	ch := make(chan time.Time, 10_000)
	o.OnChange = func(_ string, s service.State) {
		if s.Status == service.Running {
			ch <- time.Now()
		}
	}
	return ch
}

// floor measures, once, the least that can be done: a program is killed, waited
// for, and started again.
func floor(t testing.TB) time.Duration {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	start := func() int {
		pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "100000"}, &syscall.ProcAttr{Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}})
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	pid := start()
	begin := time.Now()
	syscall.Kill(pid, syscall.SIGKILL)
	syscall.Wait4(pid, nil, 0, nil)
	pid = start()
	took := time.Since(begin)
	syscall.Kill(pid, syscall.SIGKILL)
	syscall.Wait4(pid, nil, 0, nil)
	return took
}

// restart measures from kill -9 to running again, once. The clock is moved so
// that each failure is the first one.
func (b *bench) restart(name string, ran <-chan time.Time) time.Duration {
	b.clock.advance(stableTime)
	pid := b.pid(name)
	begin := time.Now()
	syscall.Kill(pid, syscall.SIGKILL)
	return (<-ran).Sub(begin)
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// measure returns the medians of n restarts and n floors, taken in turn.
func (b *bench) measure(n int, ran <-chan time.Time) (restart, least time.Duration) {
	var restarts, floors []time.Duration
	for range n {
		restarts = append(restarts, b.restart("s0", ran))
		floors = append(floors, floor(b))
	}
	return median(restarts), median(floors)
}

// The first restart waits for no time to pass: here none does. How long it takes
// is what BenchmarkServices measures.
func TestFirstRestartIsAtOnce(t *testing.T) {
	clock := newFakeClock()
	var ran <-chan time.Time
	b := newBench(t, func(o *Options) { o.Clock = clock; ran = running(o) })
	b.clock = clock
	b.reconcile(b.sleeper("s0"))
	<-ran
	syscall.Kill(b.pid("s0"), syscall.SIGKILL)
	select {
	case <-ran:
	case <-time.After(time.Minute):
		t.Error("it is not started again: it waits for the clock")
	}
}

// BenchmarkServices brings many services up and down, and restarts one among
// them. Run it with -benchtime 1x.
func BenchmarkServices(bm *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		bm.Run(strconv.Itoa(n), func(bm *testing.B) {
			for range bm.N {
				clock := newFakeClock()
				var ran <-chan time.Time
				b := newBench(bm, func(o *Options) { o.Clock = clock; ran = running(o) })
				b.clock = clock
				var specs []service.Spec
				for i := range n {
					specs = append(specs, b.sleeper(fmt.Sprint("s", i)))
				}
				begin := time.Now()
				b.reconcile(specs...)
				up := time.Since(begin)
				for range n {
					<-ran
				}
				pss := memory(bm)
				threads, _ := os.ReadDir("/proc/self/task")
				restart, least := b.measure(25, ran)
				begin = time.Now()
				if err := b.Close(bm.Context()); err != nil {
					bm.Fatal(err)
				}
				bm.ReportMetric(float64(up.Microseconds())/1000, "ms-up")
				bm.ReportMetric(float64(time.Since(begin).Microseconds())/1000, "ms-down")
				bm.ReportMetric(float64(restart.Microseconds())/1000, "ms-restart")
				bm.ReportMetric(float64(least.Microseconds())/1000, "ms-floor")
				bm.ReportMetric(float64(restart)/float64(least), "x-floor")
				bm.ReportMetric(pss, "MiB-PSS")
				bm.ReportMetric(float64(len(threads)), "threads")
			}
		})
	}
}

// memory returns this process's proportional memory in MiB.
func memory(t testing.TB) float64 {
	data, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); f[0] == "Pss:" {
			kib, _ := strconv.ParseFloat(f[1], 64)
			return kib / 1024
		}
	}
	t.Fatal("no Pss")
	return 0
}

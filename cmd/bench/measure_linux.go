package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cost is what one process took, those that it started and waited for included.
type cost struct {
	wall, cpu time.Duration // cpu: user and system
	// peak is the resident memory of one process at most, in bytes: the largest
	// of the tree, as the kernel counts it.
	peak int64
}

// measure runs a program to its end. It must exit with one of the codes in ok, or
// 0 when there are none.
func measure(program string, args []string, env []string, ok ...int) (cost, error) {
	cmd := exec.Command(program, args...)
	var stderr bytes.Buffer
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), &stderr
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if cmd.ProcessState == nil {
		return cost{}, err
	}
	if code := cmd.ProcessState.ExitCode(); err != nil && !slices.Contains(ok, code) {
		return cost{}, fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, tail(stderr.String()))
	}
	c := cost{wall: wall, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.peak = usage.Maxrss << 10
	}
	return c, nil
}

func tail(text string) string {
	const most = 2000
	return text[max(0, len(text)-most):]
}

// sampling is how often the memory of a tree of processes is looked at.
const sampling = 500 * time.Microsecond

// measureMemory runs a program and returns the resident memory of it and all that
// it started, together, at most: sampled, and no less than the kernel's own
// figure of the largest one. Pages that processes share count for each of them.
func measureMemory(program string, args []string, env []string, ok ...int) (int64, error) {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended, most := make(chan struct{}), make(chan int64)
	go func() {
		peak := int64(0)
		for {
			peak = max(peak, treeMemory(cmd.Process.Pid))
			select {
			case <-ended:
				most <- peak
				return
			case <-time.After(sampling):
			}
		}
	}()
	err := cmd.Wait()
	close(ended)
	peak := <-most
	if code := cmd.ProcessState.ExitCode(); err != nil && !slices.Contains(ok, code) {
		return 0, err
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		peak = max(peak, usage.Maxrss<<10)
	}
	return peak, nil
}

// treeMemory is the resident memory of a process and its descendants.
func treeMemory(pid int) int64 {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	text, err := os.ReadFile(filepath.Join(proc, "statm"))
	if err != nil {
		return 0
	}
	sum := int64(0)
	if fields := strings.Fields(string(text)); len(fields) > 1 {
		pages, _ := strconv.ParseInt(fields[1], 10, 64) // a file of the kernel's
		sum = pages * int64(os.Getpagesize())
	}
	lists, _ := filepath.Glob(filepath.Join(proc, "task", "*", "children")) // the pattern is right
	for _, list := range lists {
		children, _ := os.ReadFile(list) // nothing, if it has ended
		for _, child := range strings.Fields(string(children)) {
			if pid, err := strconv.Atoi(child); err == nil {
				sum += treeMemory(pid)
			}
		}
	}
	return sum
}

// samples are the costs of one thing, measured several times.
type samples []cost

func (s samples) wall() time.Duration {
	return median(s, func(c cost) time.Duration { return c.wall })
}
func (s samples) cpu() time.Duration { return median(s, func(c cost) time.Duration { return c.cpu }) }

func median[T any, V cmp.Ordered](list []T, of func(T) V) V {
	values := make([]V, len(list))
	for i, item := range list {
		values[i] = of(item)
	}
	slices.Sort(values)
	if len(values) == 0 {
		var zero V
		return zero
	}
	return values[len(values)/2]
}

// ratio is the median of what a took divided by what b took in the same round.
func ratio(a, b samples) float64 {
	pairs := make([]float64, min(len(a), len(b)))
	for i := range pairs {
		pairs[i] = float64(a[i].wall) / float64(b[i].wall)
	}
	return median(pairs, func(r float64) float64 { return r })
}

// fit is the exponent e of the least-squares line through log(x), log(y): y grows
// as x to the power of e.
func fit(x, y []float64) float64 {
	var sx, sy, sxx, sxy float64
	for i := range x {
		sx, sy, sxx, sxy = sx+x[i], sy+y[i], sxx+x[i]*x[i], sxy+x[i]*y[i]
	}
	n := float64(len(x))
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// table prints a table of Markdown.
type table struct{ rows [][]string }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print() {
	for i, row := range t.rows {
		fmt.Println("| " + strings.Join(row, " | ") + " |")
		if i == 0 {
			fmt.Println("|" + strings.Repeat("---|", len(row)))
		}
	}
	fmt.Println()
}

// milliseconds writes a duration with as many digits as mean something.
func milliseconds(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms < 10:
		return fmt.Sprintf("%.1f", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f", ms)
	}
	return fmt.Sprintf("%.0f", math.Round(ms/10)*10)
}

// goals are the ratios to reach, and to which limit.
var goals = []struct {
	what, limit string
	most        float64
}{
	{unchanged, limitA, 2},
	{oneChange, limitB, 1.3},
	{first, limitC, 1.3},
	{planNone, limitB, 1.5},
	{planOne, limitB, 1.5},
}

// printUnits prints what was measured for all numbers of units.
func printUnits(sizes []int, all map[int]results) {
	head := []string{"milliseconds, wall (CPU)"}
	for _, n := range sizes {
		head = append(head, fmt.Sprintf("N = %d", n))
	}
	if len(sizes) > 1 {
		head = append(head, "grows as N to the")
	}
	times := table{rows: [][]string{head}}
	for _, what := range []string{limitA, unchanged, limitB, oneChange, planNone, planOne, limitC, first} {
		row := []string{what}
		var x, y []float64
		for _, n := range sizes {
			s := all[n].costs[what]
			row = append(row, fmt.Sprintf("%s (%s)", milliseconds(s.wall()), milliseconds(s.cpu())))
			x, y = append(x, math.Log(float64(n))), append(y, math.Log(float64(s.wall())))
		}
		if k := len(sizes); k > 1 { // the start of a process hides the growth of small ones
			row = append(row, fmt.Sprintf("%.2f", fit(x[max(0, k-2):], y[max(0, k-2):])))
		}
		times.add(row...)
	}
	times.print()

	ratios := table{}
	head[0] = "ratio"
	ratios.add(append(head[:1+len(sizes):1+len(sizes)], "to reach")...)
	for _, g := range goals {
		row := []string{g.what + " / " + g.limit[:len("limit (x)")]}
		for _, n := range sizes {
			row = append(row, fmt.Sprintf("%.2f", ratio(all[n].costs[g.what], all[n].costs[g.limit])))
		}
		ratios.add(append(row, fmt.Sprintf("%.1f", g.most))...)
	}
	ratios.print()

	memory := table{}
	head[0] = "resident MiB at most, all processes"
	memory.add(head[:1+len(sizes)]...)
	for _, what := range []string{unchanged, oneChange, planNone, planOne, first} {
		row := []string{what}
		for _, n := range sizes {
			row = append(row, fmt.Sprint(all[n].memory[what]>>20))
		}
		memory.add(row...)
	}
	memory.print()
}

// machine describes where this runs, without its name.
func machine(dir string) string {
	var u syscall.Utsname
	kernel := "unknown"
	if syscall.Uname(&u) == nil {
		var text []byte
		for _, c := range u.Release {
			if c == 0 {
				break
			}
			text = append(text, byte(c))
		}
		kernel = string(text)
	}
	cpu := "unknown"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(text) {
			if name, ok := bytes.CutPrefix(line, []byte("model name")); ok {
				cpu = strings.TrimSpace(strings.TrimLeft(string(name), " \t:"))
				break
			}
		}
	}
	load := "unknown"
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(text), " ")
	}
	system := "unknown"
	if out, err := exec.Command("stat", "-f", "-c", "%T", dir).Output(); err == nil {
		system = strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("%d × %s, Linux %s, %s, %s; load at the beginning %s.\n",
		runtime.NumCPU(), cpu, kernel, runtime.Version(), system, load)
}

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
	"time"

	"instar/runtime/request"
	"instar/runtime/service/native"
)

// manyText is the profile of the instances of a large node.
const manyText = `"""A small service."""

number = param("number", 0)
level = param("level", "info")

conf = file("etc/app.conf", "number = %d\nlevel = %s\n" % (number, level))
mkdir("srv/data")
wrapper("bin/app", ["/bin/sleep", "1000000"])
`

// manyService is added where the instances have a service.
const manyService = `service("app", ["/bin/sleep", "1000000"])
`

// sampled is how many instances are applied by hand, one after the other, before
// and after the node's turn.
const sampled = 25

// idleTime is how long the processor time of a node is watched that has nothing
// to do.
const idleTime = time.Minute

// many is a node with many instances.
type many struct {
	options
	dir, home, profile string
	n                  int
	manager            string // of the requests; "" is the machine's
	node               *exec.Cmd
	stderr             bytes.Buffer
	ended              chan error
}

// manyNodes measures nodes of several sizes, without and with services.
func (o options) manyNodes() error {
	kinds := []string{"no services"}
	if native.Detect() == "none" {
		kinds = append(kinds, "a service each")
	} // else it would be the machine's manager that is measured
	for _, kind := range kinds {
		head := []string{kind}
		rows := manyRows()
		for _, n := range o.instances {
			progress("a node with %d instances, %s", n, kind)
			head = append(head, fmt.Sprintf("N = %d", n))
			f, err := o.manyNode(n, kind != kinds[0])
			if err != nil {
				return err
			}
			for i := range rows {
				rows[i].cells = append(rows[i].cells, rows[i].of(f))
			}
		}
		t := table{rows: [][]string{head}}
		for _, r := range rows {
			t.add(append([]string{r.what}, r.cells...)...)
		}
		t.print()
	}
	return nil
}

// figures are those of one node.
type figures struct {
	n                            int
	byHand, byHandHere           samples // of one apply: in an empty state folder, and in the node's
	first, restart, killed       cost
	rss, peak                    int64 // bytes, of the node's process alone
	idle                         time.Duration
	nodeStatus, status, stopping cost
	changed                      samples
	descriptors                  int
	load                         string
}

type manyRow struct {
	what  string
	of    func(figures) string
	cells []string
}

func manyRows() []manyRow {
	each := func(c cost, n int) string {
		return fmt.Sprintf("%.2f (%.2f)", float64(c.wall)/float64(n)/1e6, float64(c.cpu)/float64(n)/1e6)
	}
	return []manyRow{
		{what: "first processing of all, s", of: func(f figures) string { return fmt.Sprintf("%.2f", f.first.wall.Seconds()) }},
		{what: "the same, ms for each (CPU)", of: func(f figures) string { return each(f.first, f.n) }},
		{what: "`instar apply` by hand, ms (CPU)", of: func(f figures) string {
			return fmt.Sprintf("%s (%s)", milliseconds(f.byHand.wall()), milliseconds(f.byHand.cpu()))
		}},
		{what: "ratio: node to hand, wall", of: func(f figures) string {
			return fmt.Sprintf("%.2f", float64(f.first.wall)/float64(f.n)/float64(f.byHand.wall()))
		}},
		{what: "ratio: node to hand, CPU", of: func(f figures) string {
			return fmt.Sprintf("%.2f", float64(f.first.cpu)/float64(f.n)/float64(f.byHand.cpu()))
		}},
		{what: "one more by hand beside them all, ms", of: func(f figures) string { return milliseconds(f.byHandHere.wall()) }},
		{what: "next start, all unchanged, s", of: func(f figures) string { return fmt.Sprintf("%.2f", f.restart.wall.Seconds()) }},
		{what: "the same, ms for each (CPU)", of: func(f figures) string { return each(f.restart, f.n) }},
		{what: "next start after SIGKILL, s", of: func(f figures) string { return fmt.Sprintf("%.2f", f.killed.wall.Seconds()) }},
		{what: "the same, ms for each (CPU)", of: func(f figures) string { return each(f.killed, f.n) }},
		{what: "a changed request to its end, ms", of: func(f figures) string { return milliseconds(f.changed.wall()) }},
		{what: "resident MiB, after the first start", of: func(f figures) string { return fmt.Sprint(f.peak >> 20) }},
		{what: "resident MiB, after the next one", of: func(f figures) string { return fmt.Sprint(f.rss >> 20) }},
		{what: "CPU in a minute of idleness, ms", of: func(f figures) string { return milliseconds(f.idle) }},
		{what: "`instar node status`, ms", of: func(f figures) string { return milliseconds(f.nodeStatus.wall) }},
		{what: "`instar status`, ms", of: func(f figures) string { return milliseconds(f.status.wall) }},
		{what: "end of the node, ms", of: func(f figures) string { return milliseconds(f.stopping.wall) }},
		{what: "file descriptors", of: func(f figures) string { return strconv.Itoa(f.descriptors) }},
		{what: "load of the machine at the end", of: func(f figures) string { return f.load }},
	}
}

func (o options) manyNode(n int, service bool) (f figures, err error) {
	m := &many{options: o, dir: filepath.Join(o.dir, "many"), n: n, manager: "none"}
	m.home, m.profile = filepath.Join(m.dir, "state"), filepath.Join(m.dir, "profile", "instance.star")
	text := manyText
	if service {
		m.manager, text = "", text+manyService
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(m.profile), 0o755), os.WriteFile(m.profile, []byte(text), 0o644)); err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, m.kill(), os.RemoveAll(m.dir)) }()
	f.n = n
	if err := m.byHand(&f.byHand, "before", filepath.Join(m.dir, "other")); err != nil {
		return f, err
	}
	if err := m.requests(); err != nil {
		return f, err
	}
	if f.first, err = m.turn(1); err != nil {
		return f, err
	}
	f.peak = m.resident()
	f.stopping, err = m.stop()
	f.first.cpu = f.stopping.cpu
	if err != nil {
		return f, err
	}
	if err := m.byHand(&f.byHand, "after", filepath.Join(m.dir, "other")); err != nil {
		return f, err
	}
	if err := m.byHand(&f.byHandHere, "beside", m.home); err != nil {
		return f, err
	}
	if f.restart, err = m.turn(2); err != nil {
		return f, err
	}
	f.restart.cpu = m.cpu()
	if f.nodeStatus, err = m.measured("node", "status"); err != nil {
		return f, err
	}
	if f.status, err = m.measured("status"); err != nil {
		return f, err
	}
	before := m.cpu()
	time.Sleep(idleTime)
	f.idle = m.cpu() - before
	f.rss = m.resident()
	if err := m.change(&f.changed); err != nil {
		return f, err
	}
	open, _ := os.ReadDir(m.proc("fd")) // none, if it has ended, which the end tells
	f.descriptors = len(open)
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		f.load, _, _ = strings.Cut(string(text), " ")
	}
	if err := m.die(); err != nil {
		return f, err
	}
	f.killed, err = m.turn(3)
	f.killed.cpu = m.cpu()
	if err != nil {
		return f, err
	}
	_, err = m.stop()
	return f, err
}

func manyName(i int) string { return fmt.Sprintf("unit-%05d", i) }

func (m *many) root(name string) string { return filepath.Join(m.dir, "root", name) }

// byHand applies some instances, one after the other.
func (m *many) byHand(s *samples, prefix, home string) error {
	for i := range sampled {
		name := prefix + "-" + strconv.Itoa(i)
		c, err := measure(m.program, []string{"apply", m.profile, "--name", name, "--root", m.root(name), "--manager", "none",
			"--state-dir", home, "--set", "number=" + strconv.Itoa(i)}, nil)
		if err != nil {
			return err
		}
		*s = append(*s, c)
	}
	return nil
}

// requests asks for all instances: by files alone where the node trusts what
// lies in the folder, else by a command for each, which stores a copy.
func (m *many) requests() error {
	trusted := request.Mine().Profile(m.profile) == nil
	for i := range m.n {
		if trusted {
			if err := m.request(i, "info"); err != nil {
				return err
			}
			continue
		}
		name := manyName(i)
		args := []string{"request", m.profile, "--name", name, "--root", m.root(name), "--state-dir", m.home, "--set", "number=" + strconv.Itoa(i)}
		if m.manager != "" {
			args = append(args, "--manager", m.manager)
		}
		if _, err := measure(m.program, args, nil); err != nil {
			return err
		}
	}
	return nil
}

// request writes one request.
func (m *many) request(i int, level string) error {
	dir, name := filepath.Join(m.home, "requests"), manyName(i)
	data, err := json.Marshal(map[string]any{"format_version": 1, "instance": name, "profile": m.profile, "root": m.root(name),
		"manager": m.manager, "params": map[string]any{"number": i, "level": level}})
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, name+".tmp")
	return errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(tmp, data, 0o600), os.Rename(tmp, filepath.Join(dir, name+".json")))
}

// change asks for something else of some instances, one after the other, and
// waits for each.
func (m *many) change(s *samples) error {
	for k := range 5 {
		i := m.n * k / 5
		history := m.history(i)
		lines, start := countLines(history), time.Now()
		if err := m.request(i, "debug"); err != nil {
			return err
		}
		if err := m.until(func() bool { return countLines(history) > lines }); err != nil {
			return err
		}
		*s = append(*s, cost{wall: time.Since(start)})
	}
	return nil
}

func (m *many) history(i int) string {
	return filepath.Join(m.home, "instances", manyName(i), "history.jsonl")
}

func countLines(path string) int {
	text, _ := os.ReadFile(path) // none yet
	return bytes.Count(text, []byte("\n"))
}

// turn starts the node and waits until each instance has been processed turns
// times.
func (m *many) turn(turns int) (cost, error) {
	m.stderr.Reset()
	m.node = exec.Command(m.program, "node", "run", "--state-dir", m.home)
	m.node.Stderr = &m.stderr
	start := time.Now()
	if err := m.node.Start(); err != nil {
		m.node = nil
		return cost{}, err
	}
	ended, node := make(chan error, 1), m.node
	m.ended = ended
	go func() { ended <- node.Wait() }()
	next := 0
	err := m.until(func() bool {
		for next < m.n && countLines(m.history(next)) >= turns {
			next++
		}
		return next == m.n
	})
	return cost{wall: time.Since(start)}, err
}

// until waits for something that the node does.
func (m *many) until(done func() bool) error {
	for start := time.Now(); !done(); {
		select {
		case err := <-m.ended:
			m.node = nil
			return fmt.Errorf("the node ended: %v\n%s", err, tail(m.stderr.String()))
		case <-time.After(2 * time.Millisecond):
		}
		if time.Since(start) > 10*time.Minute {
			return fmt.Errorf("the node does not come to an end\n%s", tail(m.stderr.String()))
		}
	}
	return nil
}

// stop ends the node.
func (m *many) stop() (cost, error) {
	start, node := time.Now(), m.node
	if err := node.Process.Signal(syscall.SIGTERM); err != nil {
		return cost{}, err
	}
	err := <-m.ended
	m.node = nil
	c := cost{wall: time.Since(start), cpu: node.ProcessState.UserTime() + node.ProcessState.SystemTime()}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, tail(m.stderr.String()))
	}
	return c, err
}

// die kills the node's process alone.
func (m *many) die() error {
	if err := m.node.Process.Kill(); err != nil {
		return err
	}
	<-m.ended
	m.node = nil
	return nil
}

// kill ends a node that is left.
func (m *many) kill() error {
	if m.node == nil {
		return nil
	}
	_, err := m.stop()
	return err
}

func (m *many) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(m.node.Process.Pid), name)
}

// cpu is the processor time of the node's process, and of the children that it
// has waited for.
func (m *many) cpu() time.Duration {
	text, err := os.ReadFile(m.proc("stat"))
	_, rest, found := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if err != nil || !found || len(fields) < 15 {
		return 0
	}
	ticks := 0
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		n, _ := strconv.Atoi(field) // a file of the kernel's
		ticks += n
	}
	const tick = 10 * time.Millisecond
	return time.Duration(ticks) * tick
}

// resident is the resident memory of the node's process.
func (m *many) resident() int64 {
	text, _ := os.ReadFile(m.proc("statm")) // nothing, if it has ended
	if fields := strings.Fields(string(text)); len(fields) > 1 {
		pages, _ := strconv.ParseInt(fields[1], 10, 64)
		return pages * int64(os.Getpagesize())
	}
	return 0
}

// measured runs a command of the node's, three times.
func (m *many) measured(args ...string) (cost, error) {
	var s samples
	for range 3 {
		c, err := measure(m.program, append(args, "--state-dir", m.home), nil)
		if err != nil {
			return c, err
		}
		s = append(s, c)
	}
	return cost{wall: s.wall(), cpu: s.cpu()}, nil
}

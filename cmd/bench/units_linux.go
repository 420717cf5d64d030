package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// What is measured for n units, in the order in which a round does it.
const (
	limitC    = "limit (c): write all, one syncfs"
	first     = "apply, first"
	limitA    = "limit (a): lstat"
	unchanged = "apply, unchanged"
	limitB    = "limit (b): render, lstat, read, compare"
	oneChange = "apply, one change"
	planOne   = "plan, one change"
	planNone  = "plan, unchanged"
)

// results are the costs of one number of units, and the resident memory at most.
type results struct {
	costs  map[string]samples
	memory map[string]int64
}

// units measures n units in several rounds, each in a new folder.
func (o options) units(n int) (results, error) {
	r := results{costs: map[string]samples{}, memory: map[string]int64{}}
	for i := range o.roundsOf(n) {
		dir := filepath.Join(o.dir, fmt.Sprintf("%d-%d", n, i))
		if err := o.round(dir, n, i, r); err != nil {
			return r, err
		}
		if err := os.RemoveAll(dir); err != nil {
			return r, err
		}
	}
	dir := filepath.Join(o.dir, fmt.Sprintf("%d-memory", n))
	if err := o.memories(dir, n, r); err != nil {
		return r, err
	}
	return r, os.RemoveAll(dir)
}

// instance is one instance of the workload in a folder of its own.
type instance struct {
	program, dir string
	n            int
}

func (o options) newInstance(dir string, n int) (instance, error) {
	return instance{o.program, dir, n}, writeProfile(filepath.Join(dir, "profile"))
}

func (in instance) root() string { return filepath.Join(in.dir, "root") }

// args are those of `instar apply` or `plan` with the parameter level.
func (in instance) args(verb, level string, more ...string) []string {
	args := []string{verb, filepath.Join(in.dir, "profile"), "--name", "bench", "--root", in.root(),
		"--manager", "none", "--state-dir", filepath.Join(in.dir, "state"),
		"--set", "n=" + strconv.Itoa(in.n), "--set", "level=" + level}
	return append(args, more...)
}

// round measures everything once. What is compared with each other stands side by
// side, and every other round in the other order.
func (o options) round(dir string, n, i int, r results) error {
	in, err := o.newInstance(dir, n)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	limit := func(what, name, root, level string) func() error {
		return func() error {
			c, err := measure(self, []string{"limit", name, root, strconv.Itoa(n), level}, nil)
			r.costs[what] = append(r.costs[what], c)
			return err
		}
	}
	instar := func(what, verb, level string, ok ...int) func() error {
		return func() error {
			c, err := measure(o.program, in.args(verb, level, flagsOf(verb)...), nil, ok...)
			r.costs[what] = append(r.costs[what], c)
			return err
		}
	}
	pairs := [][]func() error{
		{limit(limitC, "write", filepath.Join(dir, "by-hand"), "info"), instar(first, "apply", "info")},
		{limit(limitA, "lstat", in.root(), ""), instar(unchanged, "apply", "info")},
		{limit(limitB, "compare", in.root(), "info"), instar(planNone, "plan", "info"), instar(planOne, "plan", "debug", 2)},
		{instar(oneChange, "apply", "debug")},
	}
	for _, pair := range pairs {
		for k := range pair {
			if i%2 == 1 {
				k = len(pair) - 1 - k
			}
			if err := pair[k](); err != nil {
				return err
			}
		}
	}
	return in.check()
}

// flagsOf has a plan tell by its exit code whether it found a change.
func flagsOf(verb string) []string {
	if verb == "plan" {
		return []string{"--detailed-exitcode"}
	}
	return nil
}

// check looks whether the tree is what the last apply of a round must have left.
func (in instance) check() error {
	if err := limitCompare(in.root(), in.n, "debug"); err != nil {
		return fmt.Errorf("instar left something else: %w", err)
	}
	return nil
}

// memories measures how much memory the runs of instar take.
func (o options) memories(dir string, n int, r results) error {
	in, err := o.newInstance(dir, n)
	if err != nil {
		return err
	}
	for _, run := range []struct{ what, verb, level string }{
		{first, "apply", "info"}, {unchanged, "apply", "info"}, {planNone, "plan", "info"},
		{planOne, "plan", "debug"}, {oneChange, "apply", "debug"},
	} {
		most := int64(0)
		for range 3 {
			if run.what == first {
				if err := os.RemoveAll(in.root()); err != nil {
					return err
				}
				if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
					return err
				}
			}
			peak, err := measureMemory(o.program, in.args(run.verb, run.level), nil)
			if err != nil {
				return err
			}
			most = max(most, peak)
			if run.what == oneChange {
				break // the next one would change nothing
			}
		}
		r.memory[run.what] = most
	}
	return nil
}

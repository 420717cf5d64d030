// Command bench measures instar against the limits of the machine and against its
// peers, and prints the tables of docs/benchmarks.md. `make bench` runs it.
//
// The workload is n units, each a folder, a file that is rendered from a template
// with five variables, and a wrapper. Limit programs, plain loops in Go that do
// what no deployer can do without, run over the same tree in the same round, so
// that what counts are ratios: they hold on a busy machine, too. The invariant:
// every round begins with a new folder, and whatever is measured is checked to
// have done its work.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

type options struct {
	program string // instar
	dir     string // where everything is made
	quick   bool
	only    string
	sizes   []int
	rounds  int
	// instances are the sizes of nodes.
	instances []int
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "limit" {
		end(limit(os.Args[2:]))
	}
	var o options
	var sizes, instances string
	flag.StringVar(&o.program, "instar", "bin/instar", "the `PROGRAM` to measure")
	flag.StringVar(&o.dir, "dir", defaultDir(), "the `FOLDER` to work below: on tmpfs, unless the disk is to be measured")
	flag.StringVar(&sizes, "units", "10,100,1000,10000", "numbers of units, in `LIST`")
	flag.IntVar(&o.rounds, "rounds", 0, "how often everything is measured (default: by the number of units)")
	flag.BoolVar(&o.quick, "quick", false, "few rounds, at most 1,000 units, no node, no peers")
	flag.StringVar(&o.only, "only", "units,node,peers", "what to measure, a `LIST`; peers are other tools, where they are installed; many are nodes with many instances")
	flag.StringVar(&instances, "instances", "100,1000,2000,5000", "for many: numbers of instances, in `LIST`")
	flag.Parse()
	end(run(o, sizes, instances))
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// defaultDir is on tmpfs where there is one.
func defaultDir() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

func run(o options, sizes, instances string) error {
	all, err := numbers("units", sizes)
	if err != nil {
		return err
	}
	for _, n := range all {
		if !o.quick || n <= 1000 {
			o.sizes = append(o.sizes, n)
		}
	}
	if o.instances, err = numbers("instances", instances); err != nil {
		return err
	}
	program, err := exec.LookPath(o.program)
	if err == nil {
		o.program, err = filepath.Abs(program)
	}
	if err != nil {
		return err
	}
	if o.dir, err = os.MkdirTemp(o.dir, "instar-bench-"); err != nil {
		return err
	}
	err = o.all()
	return errors.Join(err, os.RemoveAll(o.dir))
}

// numbers are those in the list that a flag was given.
func numbers(flag, list string) ([]int, error) {
	var all []int
	for _, text := range strings.Split(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-%s %q: want numbers of at least 1", flag, list)
		}
		all = append(all, n)
	}
	return all, nil
}

func (o options) all() error {
	fmt.Println(machine(o.dir))
	for _, part := range strings.Split(o.only, ",") {
		if o.quick && part != "units" {
			continue
		}
		var err error
		switch part {
		case "units":
			err = o.allUnits()
		case "node":
			progress("a node with %d instances", nodeInstances)
			err = o.node()
		case "many":
			err = o.manyNodes()
		case "peers":
			err = o.allPeers()
		default:
			err = fmt.Errorf("-only %q: want units, node, many, peers", o.only)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (o options) allUnits() error {
	all := map[int]results{}
	for _, n := range o.sizes {
		progress("%d units", n)
		r, err := o.units(n)
		if err != nil {
			return err
		}
		all[n] = r
	}
	printUnits(o.sizes, all)
	return nil
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

// rounds is how often n units are measured.
func (o options) roundsOf(n int) int {
	switch {
	case o.rounds > 0:
		return o.rounds
	case o.quick:
		return 5
	case n >= 10000:
		return 11
	case n >= 1000:
		return 21
	}
	return 41
}

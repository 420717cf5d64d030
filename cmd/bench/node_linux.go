package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A node of this size is measured.
const (
	nodeInstances = 100
	nodeUnits     = 20
)

// node measures a node: the first processing of all instances, the processing of
// all at its next start, which changes nothing, and, instead of it, one `instar
// apply` after the other.
func (o options) node() error {
	dir := filepath.Join(o.dir, "node")
	profile := filepath.Join(dir, "profile")
	if err := writeProfile(profile); err != nil {
		return err
	}
	home := filepath.Join(dir, "state")
	for i := range nodeInstances {
		_, err := measure(o.program, []string{"request", profile, "--name", nodeInstance(i), "--root", filepath.Join(dir, "root", nodeInstance(i)),
			"--manager", "none", "--state-dir", home, "--set", "n=" + strconv.Itoa(nodeUnits)}, nil)
		if err != nil {
			return err
		}
	}
	t := table{}
	t.add(fmt.Sprintf("%d instances of %d units", nodeInstances, nodeUnits), "ms, wall", "ms, CPU", "resident MiB at the end")
	for turn, what := range []string{"`instar node run`: first", "`instar node run`: at its next start, unchanged"} {
		c, err := o.nodeTurn(home, turn+1)
		if err != nil {
			return err
		}
		t.add(what, milliseconds(c.wall), milliseconds(c.cpu), fmt.Sprint(c.peak>>20))
	}
	var all cost
	for i := range nodeInstances {
		c, err := measure(o.program, []string{"apply", nodeInstance(i), "--state-dir", home}, nil)
		if err != nil {
			return err
		}
		all.wall, all.cpu = all.wall+c.wall, all.cpu+c.cpu
	}
	t.add("`instar apply`, one after the other, unchanged", milliseconds(all.wall), milliseconds(all.cpu), "")
	t.print()
	return os.RemoveAll(dir)
}

func nodeInstance(i int) string { return "unit-" + strconv.Itoa(i) }

// nodeTurn starts a node, waits until every instance has been processed turns
// times since it was requested, and ends the node.
func (o options) nodeTurn(home string, turns int) (cost, error) {
	cmd := exec.Command(o.program, "node", "run", "--state-dir", home)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return cost{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for !processed(home, turns) {
		select {
		case err := <-ended:
			return cost{}, fmt.Errorf("the node ended: %v\n%s", err, tail(stderr.String()))
		case <-time.After(2 * time.Millisecond):
		}
		if time.Since(start) > 2*time.Minute {
			_ = cmd.Process.Kill() // it is of no use any more
			return cost{}, errors.Join(errors.New("the node does not come to an end"), <-ended)
		}
	}
	c := cost{wall: time.Since(start), peak: treeMemory(cmd.Process.Pid)}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return c, err
	}
	if err := <-ended; err != nil {
		return c, err
	}
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return c, nil
}

// processed reports whether the history of every instance has that many lines.
func processed(home string, lines int) bool {
	for i := range nodeInstances {
		text, err := os.ReadFile(filepath.Join(home, "instances", nodeInstance(i), "history.jsonl"))
		if err != nil || strings.Count(string(text), "\n") < lines {
			return false
		}
	}
	return true
}

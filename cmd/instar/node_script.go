package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"instar/runtime/control"
	"instar/runtime/process"
	"instar/runtime/service/native"
	"instar/runtime/service/shim"
	"instar/runtime/service/supervise"
	"instar/runtime/state"
)

// Files in the state folder of a node that an init script runs: where it
// listens, by which its script knows it; one that is there while it shall run;
// and what it has to say.
const (
	nodeService = "node.service"
	nodeWanted  = "node.wanted"
	nodeLog     = "node.log"
)

// The log of a node is put aside at this size, in bytes, and as many are kept.
const (
	nodeLogSize = 1 << 20
	nodeLogKeep = 3
)

// scriptedInit names what runs this machine, if it is a manager that runs shims.
func scriptedInit() (platform string, ok bool) {
	platform = native.Detect()
	return platform, platform != "systemd" && platform != "none"
}

// nodeDaemon is the node as such an init knows it.
func (a *app) nodeDaemon() (native.Options, native.Daemon, error) {
	binary, err := os.Executable()
	if err == nil {
		binary, err = filepath.EvalSymlinks(binary)
	}
	options := native.Options{StateDir: string(a.home), Binary: binary, User: !native.Elevated()}
	return options, native.Daemon{Name: "instar-node", Description: "instar node", Spec: filepath.Join(string(a.home), nodeService)}, err
}

// nodeInstallScript has the init of that platform run the node.
func (a *app) nodeInstallScript(ctx context.Context, platform string) error {
	options, d, err := a.nodeDaemon()
	if err != nil {
		return err
	}
	pid, command := nodeOf(string(a.home))
	if command {
		return a.anotherNode(pid)
	}
	old, err := os.ReadFile(d.Spec)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	public, err := a.listens([]byte(nodeListens + string(old)))
	if err != nil {
		return err
	}
	settings, err := json.Marshal(public)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(a.home), 0o700); err != nil {
		return err
	}
	if wanted := filepath.Join(string(a.home), nodeWanted); !exists(wanted) { // else it tells a start from others
		if err := os.WriteFile(wanted, nil, 0o600); err != nil {
			return err
		}
	}
	in, err := native.InstallDaemon(ctx, platform, options, d)
	if err != nil {
		return err
	}
	changed := in.Changed || string(old) != string(settings)
	if changed {
		if err := state.WriteFile(d.Spec, settings, 0o600); err != nil {
			return err
		}
	}
	upgraded := changed || pid != 0 && otherProgram(string(a.home), pid, options.Binary)
	if upgraded || pid == 0 {
		if err := native.AskDaemon(ctx, platform, options, d); err != nil {
			return err
		}
		if err := nodeServes(string(a.home)); err != nil {
			return err
		}
	}
	switch {
	case !in.Before:
		a.nodeIs("installed", in.Path)
	case upgraded:
		a.nodeIs("upgraded", in.Path)
	default:
		a.nodeIs("unchanged", in.Path)
	}
	return nil
}

// nodeUninstallScript ends what nodeInstallScript did. Services run on.
func (a *app) nodeUninstallScript(ctx context.Context, platform string) error {
	options, d, err := a.nodeDaemon()
	if err != nil {
		return err
	}
	in, err := native.UninstallDaemon(ctx, platform, options, d)
	if err != nil {
		return err
	}
	if !in.Before {
		a.nodeIs("absent", "")
		return nil
	}
	if err := stopNode(string(a.home)); err != nil {
		return err
	}
	if err := os.Remove(d.Spec); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	a.nodeIs("uninstalled", "")
	return nil
}

// otherProgram reports whether the node, process pid, executes another program
// than path. Where the system does not say, one that is newer than the node's
// lock is another one.
func otherProgram(home string, pid int, path string) bool {
	mine, err := os.Stat(path)
	if err != nil {
		return false
	}
	if runs, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "exe")); err == nil {
		return !os.SameFile(runs, mine)
	}
	since, err := os.Stat(filepath.Join(home, nodeLock))
	return err != nil || mine.ModTime().After(since.ModTime())
}

// nodeScript does what the init script of a node asks for: a verb and the path
// of its [nodeService].
func nodeScript(args []string) (code int, ok bool) {
	if len(args) == 1 { // as launchd has it
		args = []string{"--serve", args[0]}
	}
	if len(args) != 2 || filepath.Base(args[1]) != nodeService || !filepath.IsAbs(args[1]) {
		return 0, false
	}
	home := filepath.Dir(args[1])
	var err error
	switch args[0] {
	case "--serve":
		return serveNode(context.Background(), home), true
	case "--service":
		return shim.AsService(func(ctx context.Context) error {
			if code := serveNode(ctx, home); code != exitOK && ctx.Err() == nil {
				return fmt.Errorf("the node ended with %d", code)
			}
			return nil
		}, os.Stderr), true
	case "--start":
		err = startNode(home)
	case "--stop":
		err = stopNode(home)
	case "--restart":
		if err = stopNode(home); err == nil {
			err = startNode(home)
		}
	case "--reload":
		err = errors.New("the node reads everything anew by itself")
	case "--status":
		if pid := nodePID(home); pid != 0 {
			fmt.Printf("running, process %d\n", pid)
			return 0, true
		}
		fmt.Println("stopped")
		return 3, true // as the Linux Standard Base has it
	default:
		return 0, false
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "instar: %v\n", err)
		return exitFailed, true
	}
	return exitOK, true
}

const (
	nodeStartTime = 20 * time.Second
	nodeStopTime  = 15 * time.Second
	nodePoll      = 20 * time.Millisecond
)

// startNode has a guard run the node, and returns when it serves.
func startNode(home string) error {
	if nodePID(home) == 0 {
		// What it holds tells one start from another: see serveNode.
		token := []byte(time.Now().Format(time.RFC3339Nano))
		if err := state.WriteFile(filepath.Join(home, nodeWanted), token, 0o600); err != nil {
			return err
		}
		binary, err := os.Executable()
		if err != nil {
			return err
		}
		if err := shim.Guard(filepath.Join(home, nodeWanted), binary, "supervise", "--serve", filepath.Join(home, nodeService)); err != nil {
			return err
		}
	}
	return nodeServes(home)
}

// nodeServes waits until the node answers, or, where nobody could hear that, runs.
func nodeServes(home string) error {
	ctx, cancel := context.WithTimeout(context.Background(), nodeStartTime)
	defer cancel()
	for {
		client, err := control.Dial(ctx, filepath.Join(home, nodeSocket))
		if err == nil {
			client.Close()
			return nil
		}
		if unreachable(state.Home(home)) != 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the node does not serve; %s may say why", filepath.Join(home, nodeLog))
		case <-time.After(nodePoll):
		}
	}
}

// stopNode ends the node, and returns when it has ended.
func stopNode(home string) error {
	if err := os.Remove(filepath.Join(home, nodeWanted)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var told process.Tree
	sig, begin := syscall.SIGTERM, time.Now()
	for ; ; time.Sleep(nodePoll) {
		pid := nodePID(home)
		if pid == 0 {
			return nil
		}
		if late := time.Since(begin) > nodeStopTime; late && sig == syscall.SIGKILL {
			return fmt.Errorf("the node, process %d, does not end", pid)
		} else if late {
			sig, begin, told = syscall.SIGKILL, time.Now(), process.Tree{}
		}
		if tree, err := process.Of(pid); err == nil && tree != told {
			told = tree
			_ = tree.Signal(sig) // it may just have ended
		}
	}
}

// serveNode is `instar node run` with a log in the state folder, as its guard
// starts it. Its code is 0 when the guard shall end, too: the node was stopped,
// or another one runs.
func serveNode(ctx context.Context, home string) int {
	wanted := func() string {
		token, err := os.ReadFile(filepath.Join(home, nodeWanted))
		if err != nil {
			return ""
		}
		return "wanted " + string(token)
	}
	start := wanted()
	if start == "" {
		return exitOK
	}
	var public listening
	if data, err := os.ReadFile(filepath.Join(home, nodeService)); err == nil {
		_ = json.Unmarshal(data, &public) // what was edited by hand is undone by the next install
	}
	path := filepath.Join(home, nodeLog)
	crash, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		_ = debug.SetCrashOutput(crash, debug.CrashOptions{}) // else it is not seen
		_ = crash.Close()
	}
	from, to, err := os.Pipe()
	if err != nil {
		return exitFailed
	}
	os.Stdout, os.Stderr = to, to
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = io.Copy(supervise.NewLog(path, nodeLogSize, nodeLogKeep), from) // it takes all
	}()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	time.AfterFunc(time.Second, func() {
		if wanted() != start { // it was stopped before it could be found
			end(signalled{syscall.SIGTERM})
		}
	})
	asService.Store(true)
	args := []string{"node", "run", "--state-dir", home}
	if public.Address != "" {
		args = append(args, "--listen", public.Address)
	}
	if public.TokenFile != "" {
		args = append(args, "--listen-token-file", public.TokenFile)
	}
	code := runUntil(ctx, args)
	_ = to.Close()
	<-written
	if code == exitLocked || wanted() != start {
		return exitOK
	}
	return exitFailed
}

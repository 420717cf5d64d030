package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"instar/runtime/report"
	"instar/runtime/service/native"
	"instar/runtime/state"
)

// nodeUnit is the unit of the node, and nodeMark its first line: one without it
// is not ours.
const (
	nodeUnit = "instar-node.service"
	nodeMark = "# Made by instar node install: changes are undone by the next one.\n"
	// nodeListens begins the line that remembers --listen.
	nodeListens = "# listens: "
)

// nodeUnitText is the unit of a node: commands that it runs outlive it, as do
// services, which have units of their own.
func nodeUnitText(binary, stateDir, target string, l listening) string {
	settings, flags := "", ""
	if l != (listening{}) {
		data, _ := json.Marshal(l) // two texts
		settings, flags = nodeListens+string(data)+"\n", " --listen "+unitWord(l.Address)
		if l.TokenFile != "" {
			flags += " --listen-token-file " + unitWord(l.TokenFile)
		}
	}
	return nodeMark + settings + `[Unit]
Description=instar node: keeps software instances converged
StartLimitIntervalSec=0

[Service]
ExecStart=` + binary + ` node run --state-dir ` + unitWord(stateDir) + flags + `
Restart=always
RestartSec=1
KillMode=process
TimeoutStopSec=15
UMask=0027

[Install]
WantedBy=` + target + "\n"
}

// unitWord quotes an argument for ExecStart.
func unitWord(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '%' || c == '$':
			b.WriteByte(c)
			b.WriteByte(c)
		case c < 0x20 || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// plainPath are the characters that need no quoting as the program of a unit.
const plainPath = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-"

// nodeInstaller installs the node under systemd: root's in the system's, another
// user's in their own.
type nodeInstaller struct {
	app    *app
	dir    string // of the units
	target string
	user   bool
	binary string
}

func (a *app) nodeInstaller() (*nodeInstaller, error) {
	if running := native.Detect(); running != "systemd" {
		why := "no service manager runs this machine"
		if running != "none" {
			why = running + " runs this machine, and the node cannot be installed under it yet"
		}
		return nil, hinted("`instar node run` runs it in the foreground", "%s", why)
	}
	binary, err := os.Executable()
	if err == nil {
		binary, err = filepath.EvalSymlinks(binary)
	}
	if err != nil {
		return nil, err
	}
	if strings.Trim(binary, plainPath) != "" {
		return nil, hinted("put it into /usr/local/bin", "systemd cannot run a program with the path %q", binary)
	}
	n := &nodeInstaller{app: a, dir: "/etc/systemd/system", target: "multi-user.target", binary: binary}
	if !isRoot() {
		config, err := os.UserConfigDir()
		if err != nil {
			return nil, err
		}
		n.dir, n.target, n.user = filepath.Join(config, "systemd", "user"), "default.target", true
	}
	return n, nil
}

func (n *nodeInstaller) path() string { return filepath.Join(n.dir, nodeUnit) }

// installed returns the unit as it stands there; nil: none. One that is not ours
// is an error.
func (n *nodeInstaller) installed() ([]byte, error) {
	data, err := os.ReadFile(n.path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !bytes.HasPrefix(data, []byte(nodeMark)) && len(data) > 0:
		return nil, hinted("move it away", "%s is not instar's", n.path())
	}
	return data, nil
}

// systemctlTime bounds one call.
const systemctlTime = 60 * time.Second

func (n *nodeInstaller) systemctl(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, systemctlTime)
	defer cancel()
	if n.user {
		args = append([]string{"--user"}, args...)
	}
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	if n.user && os.Getenv("XDG_RUNTIME_DIR") == "" {
		cmd.Env = append(os.Environ(), fmt.Sprintf("XDG_RUNTIME_DIR=/run/user/%d", os.Getuid()))
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// nodeInstall has systemd run the node.
func (a *app) nodeInstall(ctx context.Context) error {
	if platform, ok := scriptedInit(); ok {
		return a.nodeInstallScript(ctx, platform)
	}
	n, err := a.nodeInstaller()
	if err != nil {
		return err
	}
	if pid := nodePID(string(a.home)); pid != 0 && pid != n.pid(ctx) {
		return a.anotherNode(pid)
	}
	old, err := n.installed()
	if err != nil {
		return err
	}
	public, err := a.listens(old)
	if err != nil {
		return err
	}
	text := nodeUnitText(n.binary, string(a.home), n.target, public)
	changed := string(old) != text
	if changed {
		if err := os.MkdirAll(n.dir, 0o755); err != nil {
			return err
		}
		if err := state.WriteFile(n.path(), []byte(text), 0o644); err != nil {
			return err
		}
		if err := os.Chmod(n.path(), 0o644); err != nil { // whatever the umask
			return err
		}
		if _, err := n.systemctl(ctx, "daemon-reload"); err != nil {
			return err
		}
	}
	if _, err := n.systemctl(ctx, "--no-reload", "enable", nodeUnit); err != nil {
		return err
	}
	verb := "start"
	if changed && old != nil || n.upgraded(ctx) {
		verb = "restart"
	}
	if _, err := n.systemctl(ctx, verb, nodeUnit); err != nil {
		return err
	}
	switch {
	case old == nil:
		a.nodeIs("installed", n.path())
	case verb == "restart":
		a.nodeIs("upgraded", n.path())
	default:
		a.nodeIs("unchanged", n.path())
	}
	if n.user && !exists(filepath.Join("/var/lib/systemd/linger", os.Getenv("USER"))) {
		a.ui.hint("it runs while you are logged in; loginctl enable-linger has it run from boot on")
	}
	return nil
}

// listens is where the node that is installed shows its metrics: as the flags say,
// else as before.
func (a *app) listens(old []byte) (listening, error) {
	if a.opts.listen == listenOff && a.opts.tokenFile == "" {
		return listening{}, nil
	}
	l, err := a.listening()
	if err != nil || a.opts.listen != "" {
		return l, err
	}
	for line := range strings.Lines(string(old)) {
		if settings, ok := strings.CutPrefix(line, nodeListens); ok {
			_ = json.Unmarshal([]byte(settings), &l) // what was edited by hand is undone
		}
	}
	return l, nil
}

// nodeIs says what an install, or uninstall, has come to; path is of what was
// installed.
func (a *app) nodeIs(what, path string) {
	if a.ui.json {
		a.ui.document(struct {
			FormatVersion int    `json:"format_version"`
			Node          string `json:"node"` // "installed", "upgraded", "unchanged", "uninstalled", "absent"
			Path          string `json:"path,omitempty"`
		}{report.FormatVersion, what, path})
		return
	}
	switch what {
	case "unchanged":
		a.ui.say("the node is installed already, and runs: %s", path)
	case "uninstalled":
		a.ui.say("the node is uninstalled; services run on")
	case "absent":
		a.ui.say("the node is not installed")
	default:
		a.ui.say("the node is %s, and runs: %s", what, path)
	}
}

// pid is the process of the node that systemd runs; 0: none.
func (n *nodeInstaller) pid(ctx context.Context) int {
	text, _ := n.systemctl(ctx, "show", "-P", "MainPID", nodeUnit)
	pid, _ := strconv.Atoi(text) // "" is none
	return pid
}

// upgraded reports whether the node that runs is another program than this one.
func (n *nodeInstaller) upgraded(ctx context.Context) bool {
	pid := n.pid(ctx)
	if pid == 0 {
		return false
	}
	runs, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	if err != nil {
		return false
	}
	mine, err := os.Stat(n.binary)
	return err == nil && !os.SameFile(runs, mine)
}

// nodeUninstall ends what nodeInstall did. Services run on.
func (a *app) nodeUninstall(ctx context.Context) error {
	if platform, ok := scriptedInit(); ok {
		return a.nodeUninstallScript(ctx, platform)
	}
	n, err := a.nodeInstaller()
	if err != nil {
		return err
	}
	old, err := n.installed()
	if err != nil {
		return err
	}
	if old == nil {
		a.nodeIs("absent", "")
		return nil
	}
	if _, err := n.systemctl(ctx, "--no-reload", "disable", "--now", nodeUnit); err != nil {
		return err
	}
	if err := os.Remove(n.path()); err != nil {
		return err
	}
	if _, err := n.systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	a.nodeIs("uninstalled", "")
	return nil
}

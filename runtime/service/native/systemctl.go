package native

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// maxArgs bounds the names given to one systemctl, in bytes.
const maxArgs = 1 << 20

// A head keeps the first part of what is written to it, and takes all.
type head struct {
	text []byte
	most int
}

func (h *head) Write(p []byte) (int, error) {
	h.text = append(h.text, p[:min(len(p), h.most-len(h.text))]...)
	return len(p), nil
}

// ctl runs systemctl and returns what it printed. The error tells what it
// complained of.
func (m *systemd) ctl(ctx context.Context, verb []string, units ...string) (string, error) {
	args := []string{"--no-pager", "--no-ask-password"}
	if m.user {
		args = append(args, "--user")
	}
	args = append(append(append(args, verb...), "--"), units...)
	cmd := exec.CommandContext(ctx, m.systemctl, args...)
	cmd.Env = m.environ()
	cmd.WaitDelay = 2 * time.Second
	var stdout bytes.Buffer
	stderr := head{most: 16 << 10}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return stdout.String(), ctx.Err()
		}
		if text := strings.TrimSpace(string(stderr.text)); text != "" {
			return stdout.String(), fmt.Errorf("systemctl %s: %s", verb[0], text)
		}
		return stdout.String(), fmt.Errorf("systemctl %s: %w", verb[0], err)
	}
	return stdout.String(), nil
}

// versionOf returns the version of systemd that a systemctl is of; 0 when it
// cannot be told.
func versionOf(systemctl string) int {
	out, err := exec.Command(systemctl, "--version").Output()
	words := strings.Fields(string(out)) // "systemd 252 (252.39-1~deb12u2)"
	if err != nil || len(words) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(words[1])
	return n
}

// environ returns what systemctl needs of the environment: it must print
// times in UTC and in no other language.
func (m *systemd) environ() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TZ=UTC", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER="}
	if m.user {
		env = append(env, "HOME="+m.home, "XDG_RUNTIME_DIR="+m.runtimeDir)
		if bus := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); bus != "" {
			env = append(env, "DBUS_SESSION_BUS_ADDRESS="+bus)
		}
	}
	return env
}

// batches splits names so that each part fits on a command line.
func batches(names []string) [][]string {
	var all [][]string
	size, from := 0, 0
	for i, name := range names {
		size += len(name) + 1
		if size > maxArgs {
			all = append(all, names[from:i])
			size, from = len(name)+1, i
		}
	}
	if from < len(names) {
		all = append(all, names[from:])
	}
	return all
}

// each runs one verb on all units, with as few calls as the command line
// permits. All is tried; the error tells of all that went wrong.
func (m *systemd) each(ctx context.Context, verb []string, units []string) error {
	var wrong []string
	for _, batch := range batches(units) {
		if _, err := m.ctl(ctx, verb, batch...); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			wrong = append(wrong, err.Error())
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s", strings.Join(wrong, "\n"))
	}
	return nil
}

// shown is what systemd says about one unit, by property.
type shown map[string]string

// properties are those that are asked for.
var properties = strings.Join([]string{
	"Id", "LoadState", "ActiveState", "SubState", "Result", "MainPID", "NRestarts", "FragmentPath",
	"NeedDaemonReload", "Job", "ExecMainCode", "ExecMainStatus", "StateChangeTimestamp", "ActiveEnterTimestamp", "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic",
	"ExecMainStartTimestamp", "NextElapseUSecRealtime",
}, ",")

// show asks about units, by name or pattern; a pattern means those that are
// loaded. What does not exist is answered for as well.
func (m *systemd) show(ctx context.Context, units []string) (map[string]shown, error) {
	all := map[string]shown{}
	for _, batch := range batches(units) {
		out, err := m.ctl(ctx, []string{"show", "--property=" + properties}, batch...)
		if err != nil {
			return nil, err
		}
		for block := range strings.SplitSeq(out, "\n\n") {
			s := shown{}
			for line := range strings.SplitSeq(block, "\n") {
				if key, value, ok := strings.Cut(line, "="); ok {
					s[key] = value
				}
			}
			if id := s["Id"]; id != "" {
				all[id] = s
			}
		}
	}
	return all, nil
}

// number returns a property that is one, else 0.
func (s shown) number(property string) int64 {
	n, _ := strconv.ParseInt(s[property], 10, 64)
	return n
}

// hasJob reports whether something was asked for that has not happened yet.
func (s shown) hasJob() bool { return s["Job"] != "" && s["Job"] != "0" }

// absent reports whether systemd knows nothing of the unit.
func (s shown) absent() bool {
	return s["LoadState"] != "loaded" && (s["ActiveState"] == "inactive" || s["ActiveState"] == "")
}

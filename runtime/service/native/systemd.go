package native

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"instar/runtime/service"
	"instar/runtime/service/supervise"
)

// systemd is the [service.Manager] of a machine, or of a user, that systemd
// runs. Its units are whole files of instar's own; everything it asks for, it
// asks for all services at once.
type systemd struct {
	stateDir   string
	user       bool
	uid        int
	userName   string // what follows is of the user
	home       string
	runtimeDir string // XDG_RUNTIME_DIR
	unitDir    string
	systemctl  string // absolute
	version    func() int
}

var _ service.Manager = (*systemd)(nil)

func newSystemd(options Options) (*systemd, error) {
	systemctl, err := exec.LookPath("systemctl")
	if err != nil {
		return nil, fmt.Errorf("cannot use systemd: %w", err)
	}
	if systemctl, err = filepath.Abs(systemctl); err != nil {
		return nil, err
	}
	m := &systemd{stateDir: filepath.Clean(options.StateDir), user: options.User, uid: os.Getuid(),
		unitDir: "/etc/systemd/system", systemctl: systemctl, version: sync.OnceValue(func() int { return versionOf(systemctl) })}
	if !m.user {
		return m, nil
	}
	me, err := user.Current()
	if err != nil {
		return nil, fmt.Errorf("cannot use the user's systemd: %w", err)
	}
	m.userName, m.home = me.Username, cmp.Or(os.Getenv("HOME"), me.HomeDir)
	config := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(config) {
		config = filepath.Join(m.home, ".config")
	}
	m.unitDir = filepath.Join(config, "systemd/user")
	m.runtimeDir = os.Getenv("XDG_RUNTIME_DIR")
	if m.runtimeDir == "" {
		m.runtimeDir = "/run/user/" + strconv.Itoa(m.uid)
	}
	if _, err := os.Lstat(filepath.Join(m.runtimeDir, "systemd/private")); err != nil {
		return nil, &NoUserManagerError{User: m.userName, Dir: m.runtimeDir}
	}
	return m, nil
}

// NoUserManagerError says that the user has no running service manager.
type NoUserManagerError struct{ User, Dir string }

func (e *NoUserManagerError) Error() string {
	return "the user's own systemd does not run: nothing answers in " + e.Dir
}

// Hint says what the operator can do.
func (e *NoUserManagerError) Hint() string {
	return "let it run without a login: loginctl enable-linger " + e.User
}

// lingerDir is where logind keeps who may linger.
var lingerDir = "/var/lib/systemd/linger"

// Hint returns what a person should know about services of this manager: that
// a user's end when that user logs out, unless lingering is enabled, or that
// nothing calls the scripts at boot. It is ""
// when there is nothing to say.
func Hint(m service.Manager) string {
	if _, ok := m.(*shimmed); ok && Detect() != m.Platform() {
		return m.Platform() + " does not run this machine: nothing starts the services when it boots"
	}
	s, ok := m.(*systemd)
	if !ok || !s.user {
		return ""
	}
	if _, err := os.Lstat(filepath.Join(lingerDir, s.userName)); !errors.Is(err, os.ErrNotExist) {
		return ""
	}
	return fmt.Sprintf("the services end when %s logs out: loginctl enable-linger %[1]s keeps them, and starts them at boot", s.userName)
}

// Unsupported says which of spec's wishes the manager accepts and cannot
// honour here, one text each, for people.
func Unsupported(m service.Manager, spec service.Spec) []string {
	if _, ok := m.(*shimmed); ok {
		return supervise.Unsupported(spec)
	}
	s, ok := m.(*systemd)
	if !ok {
		return nil
	}
	group := "/sys/fs/cgroup"
	if s.user {
		group += fmt.Sprintf("/user.slice/user-%d.slice/user@%[1]d.service", s.uid)
	}
	data, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if err != nil && !s.user {
		return nil // the older cgroups, which have them all
	}
	return missingControllers(string(data), spec)
}

// missingControllers says which limits of spec need a controller that is not
// among those given.
func missingControllers(controllers string, spec service.Spec) []string {
	var texts []string
	have := strings.Fields(controllers)
	if spec.Limits.Memory > 0 && !slices.Contains(have, "memory") {
		texts = append(texts, fmt.Sprintf("%s: limit memory=%d is not enforced: systemd has no memory controller here", spec.Name, spec.Limits.Memory))
	}
	if spec.Limits.CPU > 0 && !slices.Contains(have, "cpu") {
		texts = append(texts, fmt.Sprintf("%s: limit cpu=%g is not enforced: systemd has no cpu controller here", spec.Name, spec.Limits.CPU))
	}
	return texts
}

// LogCommand returns the command that prints what services of an instance have
// written, all of them when none is named; with follow it goes on for ever.
func LogCommand(m service.Manager, instance string, names []string, follow bool) ([]string, error) {
	s, ok := m.(*systemd)
	if !ok {
		return nil, fmt.Errorf("the logs of %s are not the service manager's", instance)
	}
	argv := []string{"journalctl", "--no-pager", "--output=short-iso"}
	option := "--unit="
	if s.user {
		option = "--user-unit="
	}
	for _, name := range names {
		argv = append(argv, option+unitName(instance, name))
	}
	if len(names) == 0 {
		argv = append(argv, option+unitPrefix(instance)+"*")
	}
	if follow {
		argv = append(argv, "--follow")
	}
	return argv, nil
}

// Platform implements [service.Manager].
func (m *systemd) Platform() string { return "systemd" }

// Render implements [service.Manager]: a unit; that of a timer as well; and the
// file of the declared variables, if these are not set by a script.
func (m *systemd) Render(spec service.Spec) ([]service.Artifact, error) {
	data, private, err := m.renderAll(spec)
	if err != nil {
		return nil, err
	}
	name := unitName(spec.Instance, spec.Name)
	all := []service.Artifact{{Path: m.unitPath(name), Data: data, Mode: unitMode}}
	if spec.Timer() {
		data, err := m.renderTimer(spec)
		if err != nil {
			return nil, err
		}
		all = append(all, service.Artifact{Path: m.unitPath(timerName(name)), Data: data, Mode: unitMode})
	}
	if private != nil {
		all = append(all, service.Artifact{Path: m.privatePath(spec.Instance, spec.Name), Data: private, Mode: privateMode})
	}
	return all, nil
}

// Exits implements [service.Manager]. Only one caller at a time gets them, all
// of them, of whatever instance.
func (m *systemd) Exits(ctx context.Context) (<-chan service.Exit, error) {
	return watchExits(ctx, exitsDir(m.stateDir))
}

// target is what wants a unit when the machine, or the user's manager, starts.
func (m *systemd) target(unit string) string {
	if isTimer(unit) {
		return timersTarget
	}
	if m.user {
		return "default.target"
	}
	return "multi-user.target"
}

func (m *systemd) unitPath(unit string) string { return filepath.Join(m.unitDir, unit) }

// wantsPath is the link that enables a unit.
func (m *systemd) wantsPath(unit string) string {
	return filepath.Join(m.unitDir, m.target(unit)+".wants", unit)
}

// recordDir is where the records of starts are.
func (m *systemd) recordDir() string { return filepath.Join(m.stateDir, "systemd") }

func (m *systemd) record(instance, name string) string {
	return filepath.Join(m.recordDir(), instance+"."+name)
}

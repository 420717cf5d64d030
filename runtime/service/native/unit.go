package native

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"instar/runtime/process"
	"instar/runtime/service"
)

// unitFormat counts the changes of what is rendered from one Spec. Units of
// another format are rewritten, and no service is restarted for it.
const unitFormat = 5

const (
	// firstDelay is systemd's own pause before a service is started again.
	firstDelay = "1ms"
	// runDelay is that before a run is, in seconds, and mostDelay what that grows
	// to, as far as systemd itself lets it grow.
	runDelay  = 1
	mostDelay = 30
	// stepsVersion is the first systemd whose pauses grow.
	stepsVersion = 254
	// leastStop leaves time for the stop script even where a service itself has
	// none, in whole seconds since that is what a timeout is made of.
	leastStop = time.Second
	// maxLine is what systemd reads of one line.
	maxLine = 1 << 20
)

// unit renders one unit. Its keys are written in order; the first error stands.
type unit struct {
	*systemd
	spec service.Spec
	text strings.Builder
	err  error
}

// render returns the unit of spec, mark included.
func (m *systemd) render(spec service.Spec) ([]byte, error) {
	data, _, err := m.renderAll(spec)
	return data, err
}

// renderAll returns the unit of spec, and the file that it reads its variables
// from; nil when there is none.
func (m *systemd) renderAll(spec service.Spec) (data, private []byte, err error) {
	u := &unit{systemd: m, spec: spec}
	if u.check(); u.err != nil {
		return nil, nil, u.error()
	}
	u.section("Unit")
	u.key("Description", "instar "+spec.Instance+": "+spec.Name)
	u.after()
	u.key("StartLimitIntervalSec", "0")
	u.section("Service")
	u.kind()
	u.identity()
	u.environment()
	u.commands()
	u.stopping()
	u.limits()
	u.hardening()
	if !spec.Timer() {
		u.section("Install")
		u.key("WantedBy", m.target(""))
	}
	u.section("X-Instar")
	facts := m.facts(spec)
	if private = u.private(); private != nil {
		facts.Private = hashOf(string(private))
	}
	u.key("Facts", facts.line())
	if u.err != nil {
		return nil, nil, u.error()
	}
	return seal(u.text.String()), private, nil
}

func (u *unit) error() error {
	return fmt.Errorf("cannot make a unit for %q of %s: %w", u.spec.Name, u.spec.Instance, u.err)
}

func (u *unit) fail(format string, args ...any) {
	if u.err == nil {
		u.err = fmt.Errorf(format, args...)
	}
}

func (u *unit) section(name string) {
	if u.text.Len() > 0 {
		u.text.WriteByte('\n')
	}
	u.text.WriteString("[" + name + "]\n")
}

func (u *unit) key(name, value string) {
	line := name + "=" + value + "\n"
	if len(line) > maxLine {
		u.fail("%s is %d bytes long; systemd reads %d", name, len(line), maxLine)
	}
	u.text.WriteString(line)
}

// check refuses what systemd could not be told faithfully.
func (u *unit) check() {
	s := u.spec
	if s.Instance == "" || s.Name == "" || strings.ContainsAny(s.Instance+s.Name, "/ \\\"'%$\n\x00") {
		u.fail("bad name")
		return
	}
	if len(s.Argv) == 0 || !filepath.IsAbs(s.Argv[0]) {
		u.fail("its program must be an absolute path, not %q", s.Argv)
		return
	}
	if !filepath.IsAbs(s.Dir) {
		u.fail("its folder %q is not absolute", s.Dir)
	}
	if u.user && s.Identity.UID >= 0 && s.Identity.UID != u.uid {
		u.fail("it runs as user %d, which a user's own service manager cannot", s.Identity.UID)
	}
	var wrong []error
	for _, arg := range append(append([]string{s.Dir, s.Identity.Home}, s.Argv...), s.ReloadArgv...) {
		wrong = append(wrong, checkText("argument", arg))
	}
	_, private := u.variables()
	wrong = append(wrong, checkNames(private))
	for _, pair := range private {
		if name, value, _ := strings.Cut(pair, "="); strings.ContainsRune(value, 0) {
			wrong = append(wrong, fmt.Errorf("variable %q has a NUL", name))
		}
	}
	if path := u.privatePath(s.Instance, s.Name); len(private) > 0 && !rawPathOK(path) {
		wrong = append(wrong, fmt.Errorf("the state folder %q cannot be named in a unit", u.stateDir))
	}
	if err := errors.Join(wrong...); err != nil {
		u.fail("%w", err)
	}
}

func (u *unit) after() {
	var after []string
	if !u.user {
		after = []string{"network.target", "remote-fs.target", "nss-user-lookup.target"}
	}
	for _, name := range u.spec.After {
		after = append(after, unitName(u.spec.Instance, name))
	}
	if len(after) > 0 {
		u.key("After", strings.Join(after, " "))
	}
}

// kind says how systemd starts the program, and whether again.
func (u *unit) kind() {
	u.key("Slice", sliceName(u.spec.Instance))
	u.key("SyslogIdentifier", u.spec.Name)
	if u.spec.Timer() {
		u.oneshot()
		return
	}
	if u.spec.Run {
		// Active ever after, so that it is seen to be done.
		u.key("Type", "oneshot")
		u.key("RemainAfterExit", "yes")
		u.key("Restart", "on-failure")
		u.key("RestartSec", strconv.Itoa(runDelay)+"s")
		u.steps(5, strconv.Itoa(mostDelay)+"s")
		return
	}
	// exec, since a program that can't be executed then is an error of its start.
	u.key("Type", "exec")
	switch u.spec.Restart {
	case "always", "no":
		u.key("Restart", u.spec.Restart)
	case "on-failure":
		u.key("Restart", u.spec.Restart)
		u.key("RestartForceExitStatus", "SIGHUP SIGINT SIGTERM SIGPIPE") // to systemd these are a success
	default:
		u.fail("restart=%q", u.spec.Restart)
	}
	u.key("RestartSec", firstDelay)
	u.steps(4, "1s")
}

// steps has systemd's own pauses grow, where it can, in so many steps. It counts
// until somebody starts the unit, so that a service that fails once a month would
// wait longest: the long pauses of services are the start script's, which
// forgets. A run is done once it has succeeded, and leaves all of it to systemd.
func (u *unit) steps(steps int, most string) {
	if u.version() >= stepsVersion {
		u.key("RestartSteps", strconv.Itoa(steps))
		u.key("RestartMaxDelaySec", most)
	}
}

func (u *unit) identity() {
	if id := u.spec.Identity; !u.user && id.UID > 0 {
		u.key("User", strconv.Itoa(id.UID))
		u.key("Group", strconv.Itoa(id.GID))
		if len(id.Groups) > 0 {
			groups := make([]string, len(id.Groups))
			for i, g := range id.Groups {
				groups[i] = strconv.Itoa(g)
			}
			u.key("SupplementaryGroups", strings.Join(groups, " "))
		}
	}
	u.key("UMask", fmt.Sprintf("%04o", u.spec.Umask))
	if rawPathOK(u.spec.Dir) {
		u.key("WorkingDirectory", rawPath(u.spec.Dir))
	}
}

// systemdVariables are those that systemd gives to what it starts without
// being asked.
const systemdVariables = "INVOCATION_ID JOURNAL_STREAM SYSTEMD_EXEC_PID SHELL MEMORY_PRESSURE_WATCH MEMORY_PRESSURE_WRITE NOTIFY_SOCKET LANGUAGE " +
	"LC_CTYPE LC_NUMERIC LC_TIME LC_COLLATE LC_MONETARY LC_MESSAGES LC_PAPER LC_NAME LC_ADDRESS LC_TELEPHONE LC_MEASUREMENT LC_IDENTIFICATION"

func (u *unit) environment() {
	if _, private := u.variables(); len(private) > 0 {
		u.key("StandardInput", "file:"+rawPath(u.privatePath(u.spec.Instance, u.spec.Name)))
	}
	if u.ownEnvironment() {
		return
	}
	for _, pair := range u.spec.Env {
		u.key("Environment", plainWord(pair))
	}
	u.key("UnsetEnvironment", systemdVariables)
}

// ownEnvironment reports whether the program is given the variables that every
// process has by its command line: Environment= reaches the scripts that run as
// root, where only those may stand that can't change what these do. A user's
// manager passes its own environment on.
func (u *unit) ownEnvironment() bool {
	_, private := u.variables()
	return u.user || len(private) > 0
}

// command returns the command line that executes argv in the service's folder
// and environment.
func (u *unit) command(argv []string) string {
	argv = append([]string(nil), argv...)
	ownEnvironment := u.ownEnvironment()
	base, private := u.variables()
	program := argv[0]
	switch {
	case len(private) > 0:
		argv = append([]string{"/bin/sh", "-s", "--", u.spec.Dir}, argv...)
	case !rawPathOK(u.spec.Dir) || ownEnvironment && strings.Contains(program, "=") ||
		!ownEnvironment && (!programOK(program) || filepath.Clean(program) != program):
		argv = append([]string{"/bin/sh", "-c", becomeScript, "sh", u.spec.Dir}, argv...)
	}
	if ownEnvironment {
		argv = append(append([]string{"/usr/bin/env", "-i"}, base...), argv...)
	}
	return commandLine(argv)
}

func commandLine(argv []string) string {
	words := make([]string, len(argv))
	for i, arg := range argv {
		words[i] = execWord(arg)
	}
	words[0] = plainWord(argv[0])
	return strings.Join(words, " ")
}

// script returns a command line for one of instar's own scripts. Nothing
// depends on its success, and the system's manager runs it as root.
func (u *unit) script(text string, args ...string) string {
	prefix := "-+"
	if u.user {
		prefix = "-"
	}
	return prefix + commandLine(append([]string{"/bin/sh", "-c", text, "sh"}, args...))
}

func (u *unit) commands() {
	s := u.spec
	if s.Timer() {
		u.fired()
		return
	}
	record := u.record(s.Instance, s.Name)
	delay := 0
	switch {
	case s.Run && u.version() >= stepsVersion:
		delay = mostDelay
	case s.Run:
		delay = runDelay
	}
	if len(s.After) > 0 {
		ask := append(u.ask(), "show", "--no-pager", "--property=ActiveState", "--")
		for _, name := range s.After {
			ask = append(ask, unitName(s.Instance, name))
		}
		u.key("TimeoutStartSec", "infinity")
		u.key("ExecStartPre", u.script(waitScript, ask...))
	}
	u.key("ExecStartPre", u.script(startScript, record, orDash(s.Digest), orDash(s.ReloadDigest), strconv.Itoa(delay)))
	u.key("ExecStart", u.command(s.Argv))
	switch {
	case s.ReloadSig != "":
		sig, err := process.ParseSignal(s.ReloadSig)
		if err != nil {
			u.fail("reload: %w", err)
			return
		}
		u.key("ExecReload", commandLine([]string{"/bin/sh", "-c", `kill -s ` + process.SignalName(sig) + ` "$MAINPID"`}))
	case len(s.ReloadArgv) > 0:
		u.key("ExecReload", u.command(s.ReloadArgv))
	}
	if s.CanReload() {
		u.key("ExecReload", u.script(reloadScript, record, orDash(s.ReloadDigest)))
	}
	marker := ""
	if !s.Run {
		marker = markerPath(u.stateDir, s.Instance, s.Name)
	}
	u.key("ExecStopPost", u.script(stopScript, append([]string{record, unitName(s.Instance, s.Name), marker, s.Instance, s.Name}, u.ask()...)...))
}

// ask returns the command by which a script asks the manager.
func (u *unit) ask() []string {
	if u.user {
		return []string{u.systemctl, "--user"}
	}
	return []string{u.systemctl}
}

func orDash(text string) string { return cmp.Or(text, "-") }

func (u *unit) stopping() {
	s := u.spec
	u.key("KillMode", "control-group")
	sig, err := process.ParseSignal(cmp.Or(s.StopSignal, "TERM"))
	if err != nil {
		u.fail("stop_signal: %w", err)
		return
	}
	name := "SIG" + process.SignalName(sig)
	if s.StopTimeout <= 0 {
		name = "SIGKILL"
	}
	u.key("KillSignal", name)
	u.key("TimeoutStopSec", strconv.FormatInt(max(s.StopTimeout, leastStop).Milliseconds(), 10)+"ms")
}

func (u *unit) limits() {
	l := u.spec.Limits
	number := func(key string, value int64) {
		if value > 0 {
			u.key(key, strconv.FormatInt(value, 10))
		}
	}
	number("LimitNOFILE", l.NoFile)
	number("LimitNPROC", l.NProc)
	number("MemoryMax", l.Memory)
	if l.CPU > 0 {
		u.key("CPUQuota", strconv.FormatFloat(l.CPU*100, 'f', 2, 64)+"%")
	}
}

// hardening holds an ordinary user's service to its own root, and to where
// everybody may write. What root runs is left alone.
func (u *unit) hardening() {
	if u.user || u.spec.Identity.UID <= 0 {
		return
	}
	u.key("NoNewPrivileges", "yes")
	root := u.spec.Identity.Home
	if !filepath.IsAbs(root) || root == "/" || !rawPathOK(root) || strings.ContainsAny(root, `"'\`) {
		return // it could not be named as the exception
	}
	u.key("ProtectSystem", "strict")
	u.key("ReadWritePaths", `"-`+rawPath(root)+`" -/tmp -/var/tmp -/run -/var/lock`)
}

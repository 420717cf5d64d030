package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"instar/runtime/service/shim"
)

// openrc is an init whose scripts are functions that openrc-run calls, and
// which keeps account of what it has started.
type openrc struct {
	initd
	run       string // openrc-run, absolute
	rcService string // absolute
}

// openrcLevel is the runlevel that a machine boots to.
const openrcLevel = "default"

func newOpenrc() (*openrc, error) {
	rcService, err := findProgram("rc-service")
	if err != nil {
		return nil, err
	}
	run, err := findProgram("openrc-run")
	if err != nil {
		return nil, err
	}
	return &openrc{initd: initd{etc: "/etc"}, run: run, rcService: rcService}, nil
}

// findProgram finds one of OpenRC's programs, wherever PATH leads.
func findProgram(name string) (string, error) {
	for _, dir := range []string{"/sbin", "/usr/sbin", "/bin", "/usr/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("cannot use openrc: there is no %s", name)
}

func (o *openrc) head() string { return "#!" + o.run + "\n" }

func (o *openrc) platform() string { return "openrc" }

// text returns a script. Neither start-stop-daemon nor supervise-daemon has a
// part in it: the first one starts nothing again, the other one gives up, and
// both split what they are given at spaces.
func (o *openrc) text(sc initScript) string {
	after := strings.Join(append([]string{"localmount", "netmount", "bootmisc"}, sc.after...), " ")
	return `instar=` + shellQuote(sc.binary) + `
` + specLine(sc.spec) + `
description=` + shellQuote(sc.description) + `
extra_started_commands=reload

depend() {
	use net dns logger
	after ` + after + `
	keyword -timeout
}

start() {
	ebegin "Starting $RC_SVCNAME"
	"$instar" supervise --start "$spec"
	eend $?
}

stop() {
	ebegin "Stopping $RC_SVCNAME"
	"$instar" supervise --stop "$spec"
	eend $?
}

reload() {
	ebegin "Reloading $RC_SVCNAME"
	"$instar" supervise --reload "$spec"
	eend $?
}

status() {
	"$instar" supervise --status "$spec"
}
`
}

func (o *openrc) link(name string) string {
	return filepath.Join(o.etc, "runlevels", openrcLevel, name)
}

// booted implements [initSystem]. The order is that of the scripts' own depend.
func (o *openrc) booted(levels map[string]int) (map[string]bool, error) {
	ok := map[string]bool{}
	for name := range levels {
		to, err := os.Readlink(o.link(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) && !isNoLink(o.link(name)) {
			return nil, err
		}
		ok[name] = err == nil && to == o.scriptPath(name)
	}
	return ok, nil
}

func isNoLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink == 0
}

// enable implements [initSystem], as rc-update does: by a link.
func (o *openrc) enable(_ context.Context, levels map[string]int) error {
	for name := range levels {
		link := o.link(name)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return err
		}
		if err := removeLink(link); err != nil {
			return err
		}
		if err := os.Symlink(o.scriptPath(name), link); err != nil {
			return fmt.Errorf("cannot enable %s: %w", name, err)
		}
	}
	return nil
}

// disable implements [initSystem].
func (o *openrc) disable(_ context.Context, names []string) error {
	for _, name := range names {
		if err := removeLink(o.link(name)); err != nil {
			return err
		}
	}
	return nil
}

// restart implements [initSystem]. OpenRC does nothing for what it takes for
// stopped, or for started; restart does either.
func (o *openrc) restart(ctx context.Context, name string, _ shim.Place) error {
	return o.service(ctx, name, "restart")
}

// stop implements [initSystem].
func (o *openrc) stop(ctx context.Context, name string, _ shim.Place) error {
	return o.service(ctx, name, "stop")
}

const (
	lockedPause = 50 * time.Millisecond
	lockedMost  = 10 * time.Second
)

// service has OpenRC do something with a service. OpenRC gives up at once while
// somebody else holds the service's lock, if only to see whether it has come up:
// then it is asked again.
func (o *openrc) service(ctx context.Context, name, verb string) error {
	for begin := time.Now(); ; {
		err := run(ctx, o.rcService, "--nocolor", "--quiet", name, verb)
		if err == nil || !strings.Contains(err.Error(), "Call to flock failed") || time.Since(begin) > lockedMost {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockedPause):
		}
	}
}

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

	"instar/runtime/service/shim"
)

// sysv is an init that starts and stops the scripts that its runlevels link to,
// in the order of the numbers in the links' names.
type sysv struct {
	initd
	insserv  string // absolute; "" where the order is not computed from scripts
	rcParent string // holds rc0.d to rc6.d
}

// Runlevels, as the links' first letter has them: in 0 and 6 the machine goes
// down, 1 is for repairs.
const (
	startLevels = "2345"
	killLevels  = "016"
)

const (
	// firstNumber is that of links to scripts that wait for none of ours.
	// What the machine itself needs has a lower one.
	firstNumber = 20
	lastNumber  = 90
)

func newSysv() *sysv {
	s := &sysv{initd: initd{etc: "/etc"}, rcParent: "/etc"}
	if isDir("/etc/rc.d/rc2.d") && !isDir("/etc/rc2.d") {
		s.rcParent = "/etc/rc.d"
	}
	for _, path := range []string{"/usr/sbin/insserv", "/sbin/insserv"} {
		if found, err := exec.LookPath(path); err == nil {
			s.insserv = found
			break
		}
	}
	return s
}

func (s *sysv) head() string { return "#!" + "/bin/sh" + "\n" }

func (s *sysv) platform() string { return "sysv" }

// text returns a script with the header of the Linux Standard Base.
func (s *sysv) text(sc initScript) string {
	after := strings.Join(append([]string{"$network", "$named", "$time", "$syslog"}, sc.after...), " ")
	return `### BEGIN INIT INFO
# Provides:          ` + sc.name + `
# Required-Start:    $local_fs $remote_fs
# Required-Stop:     $local_fs $remote_fs
# Should-Start:      ` + after + `
# Should-Stop:       ` + after + `
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: ` + sc.description + `
### END INIT INFO

instar=` + shellQuote(sc.binary) + `
` + specLine(sc.spec) + `
case "$1" in
start | stop | restart | reload | status)
	exec "$instar" supervise "--$1" "$spec"
	;;
force-reload)
	"$instar" supervise --reload "$spec" 2>/dev/null || exec "$instar" supervise --restart "$spec"
	;;
try-restart | condrestart)
	"$instar" supervise --status "$spec" >/dev/null || exit 0
	exec "$instar" supervise --restart "$spec"
	;;
*)
	echo "usage: $0 {start|stop|restart|try-restart|reload|force-reload|status}" >&2
	exit 2
	;;
esac
`
}

func (s *sysv) rc(level byte) string {
	return filepath.Join(s.rcParent, "rc"+string(level)+".d")
}

// links returns, for each script that is linked to, its links.
func (s *sysv) links() (map[string][]string, error) {
	found := map[string][]string{}
	for _, level := range []byte(killLevels + startLevels) {
		entries, err := os.ReadDir(s.rc(level))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, entry := range entries {
			link := entry.Name()
			if len(link) > 3 && (link[0] == 'S' || link[0] == 'K') && isDigit(link[1]) && isDigit(link[2]) && strings.HasPrefix(link[3:], "instar-") {
				found[link[3:]] = append(found[link[3:]], filepath.Join(s.rc(level), link))
			}
		}
	}
	return found, nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// wanted are the links of a script where we number them ourselves.
func (s *sysv) wanted(name string, level int) map[string]bool {
	want := map[string]bool{}
	for _, l := range []byte(startLevels) {
		want[filepath.Join(s.rc(l), fmt.Sprintf("S%02d%s", min(firstNumber+level, lastNumber), name))] = true
	}
	for _, l := range []byte(killLevels) {
		want[filepath.Join(s.rc(l), fmt.Sprintf("K%02d%s", max(100-firstNumber-level, 100-lastNumber), name))] = true
	}
	return want
}

// booted implements [initSystem]. Where insserv numbers the links, only that
// they are there counts.
func (s *sysv) booted(levels map[string]int) (map[string]bool, error) {
	found, err := s.links()
	if err != nil {
		return nil, err
	}
	ok := map[string]bool{}
	for name, level := range levels {
		links := found[name]
		if s.insserv != "" {
			starts := 0
			for _, link := range links {
				if filepath.Base(link)[0] == 'S' {
					starts++
				}
			}
			ok[name] = starts == len(startLevels) && len(links) == len(startLevels)+len(killLevels)
			continue
		}
		want := s.wanted(name, level)
		ok[name] = len(links) == len(want)
		for _, link := range links {
			ok[name] = ok[name] && want[link]
		}
	}
	return ok, nil
}

// enable implements [initSystem].
func (s *sysv) enable(ctx context.Context, levels map[string]int) error {
	if s.insserv != "" {
		err := run(ctx, append([]string{s.insserv}, mapKeys(levels)...)...)
		if err == nil || ctx.Err() != nil {
			return err
		}
		// It gives up over a script of anybody's that it does not like.
	}
	found, err := s.links()
	if err != nil {
		return err
	}
	for name, level := range levels {
		want := s.wanted(name, level)
		for _, link := range found[name] {
			if !want[link] {
				if err := removeLink(link); err != nil {
					return err
				}
			}
		}
		for link := range want {
			if err := s.link(name, link); err != nil {
				return fmt.Errorf("cannot enable %s: %w", name, err)
			}
		}
	}
	return nil
}

// link makes one link, relative as those of others are.
func (s *sysv) link(name, link string) error {
	to, err := filepath.Rel(filepath.Dir(link), s.scriptPath(name))
	if err != nil {
		return err
	}
	if old, err := os.Readlink(link); err == nil && old == to {
		return nil
	}
	if !isDir(filepath.Dir(link)) {
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return err
		}
	}
	if err := removeLink(link); err != nil {
		return err
	}
	return os.Symlink(to, link)
}

// removeLink removes a link, and nothing else; absent is fine.
func removeLink(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink == 0:
		return &ForeignError{Path: path}
	}
	return os.Remove(path)
}

// disable implements [initSystem].
func (s *sysv) disable(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if s.insserv != "" {
		// It also updates what startpar reads. Where it gives up, see enable.
		if err := run(ctx, append([]string{s.insserv, "-r"}, names...)...); ctx.Err() != nil {
			return err
		}
	}
	found, err := s.links()
	if err != nil {
		return err
	}
	for _, name := range names {
		for _, link := range found[name] {
			if err := removeLink(link); err != nil {
				return err
			}
		}
	}
	return nil
}

// restart and stop implement [initSystem].
func (s *sysv) restart(ctx context.Context, name string, _ shim.Place) error {
	return run(ctx, s.scriptPath(name), "restart")
}

func (s *sysv) stop(ctx context.Context, name string, _ shim.Place) error {
	return run(ctx, s.scriptPath(name), "stop")
}

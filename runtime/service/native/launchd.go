package native

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"instar/runtime/plan"
	"instar/runtime/service/shim"
)

// launchd is the init of macOS. Each service is a job of its own, which has a
// shim run: launchd alone would wait ten seconds before it starts something
// again, keep no log that ends, and end one process only.
type launchd struct {
	dir    string // of the jobs' files
	domain string // "system", or "gui/501" for a user's own
	// launchctl runs it, and returns what it printed.
	launchctl func(ctx context.Context, args ...string) (string, error)
}

func newLaunchd(user bool) (*launchd, error) {
	l := &launchd{dir: "/Library/LaunchDaemons", domain: "system", launchctl: launchctl}
	if user {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("cannot use launchd: %w", err)
		}
		l.dir, l.domain = filepath.Join(home, "Library", "LaunchAgents"), fmt.Sprintf("gui/%d", os.Getuid())
		if err := os.MkdirAll(l.dir, 0o755); err != nil {
			return nil, fmt.Errorf("cannot use launchd: %w", err)
		}
	}
	return l, nil
}

func launchctl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "/bin/launchctl", args...)
	cmd.Env = []string{"PATH=" + plan.DefaultPath}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("launchctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), err
}

func (l *launchd) platform() string { return "launchd" }

func (l *launchd) usable(root bool) error {
	if l.domain == "system" && !root {
		return errNotRoot
	}
	return l.files().usable()
}

func (l *launchd) store() scriptStore { return l.files() }

// files are those of jobs. Others may not write them, or launchd refuses them.
func (l *launchd) files() scriptFiles {
	return scriptFiles{dir: l.dir, suffix: ".plist", bits: 0o644, file: label}
}

// label is what launchd calls the job of a script, and the name of its file.
// File systems of macOS take letters for the same in either case, so capitals
// are written as what script names have for other characters.
func label(script string) string {
	var b strings.Builder
	for i := range len(script) {
		if c := script[i]; c >= 'A' && c <= 'Z' {
			fmt.Fprintf(&b, "_%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// head begins a comment, which the mark stands in.
func (l *launchd) head() string {
	return xml.Header + `<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">` + "\n<!--\n"
}

// text returns a job. It is started with the machine, or when the user logs in,
// and again unless it ended well: a shim does when it was told to, or when there
// is nothing left to do.
func (l *launchd) text(s initScript) string {
	return `-->
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>` + label(s.name) + `</string>
	<key>ProgramArguments</key>
	<array>
		<string>` + xmlText(s.binary) + `</string>
		<string>supervise</string>
		<string>` + xmlText(s.spec) + `</string>
	</array>
	<key>EnvironmentVariables</key>
	<dict>
		<key>PATH</key>
		<string>` + plan.DefaultPath + `</string>
	</dict>
	<key>WorkingDirectory</key>
	<string>/</string>
	<key>RunAtLoad</key>
	<true/>
	<key>KeepAlive</key>
	<dict>
		<key>SuccessfulExit</key>
		<false/>
	</dict>
	<key>ThrottleInterval</key>
	<integer>1</integer>
	<key>ExitTimeOut</key>
	<integer>0</integer>
</dict>
</plist>
`
}

func xmlText(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes all
	return b.String()
}

// specOf implements [initSystem]: the last of the program's arguments.
func (l *launchd) specOf(text string) (string, bool) {
	_, job, found := strings.Cut(text, "-->")
	if !found {
		return "", false
	}
	var last string
	for d := xml.NewDecoder(strings.NewReader(job)); ; {
		token, err := d.Token()
		if err != nil {
			return "", false
		}
		switch t := token.(type) {
		case xml.StartElement:
			if t.Name.Local == "string" && d.DecodeElement(&last, &t) != nil {
				return "", false
			}
		case xml.EndElement:
			if t.Name.Local == "array" {
				return last, filepath.IsAbs(last)
			}
		}
	}
}

// booted implements [initSystem]: a job is started with the machine unless
// launchd was told otherwise.
func (l *launchd) booted(levels map[string]int) (map[string]bool, error) {
	printed, err := l.launchctl(context.Background(), "print-disabled", l.domain)
	if err != nil {
		return nil, err
	}
	disabled := map[string]bool{}
	for line := range strings.Lines(printed) {
		name, state, found := strings.Cut(strings.TrimSpace(line), "=>")
		if state = strings.TrimSpace(state); found && (state == "disabled" || state == "true") {
			disabled[strings.Trim(strings.TrimSpace(name), `"`)] = true
		}
	}
	ok := map[string]bool{}
	for name := range levels {
		ok[name] = !disabled[label(name)]
	}
	return ok, nil
}

func (l *launchd) target(name string) string { return l.domain + "/" + label(name) }

// enable implements [initSystem]. launchd has no order: shims wait themselves.
func (l *launchd) enable(ctx context.Context, levels map[string]int) error {
	for _, name := range plan.SortedKeys(levels) {
		if _, err := l.launchctl(ctx, "enable", l.target(name)); err != nil {
			return fmt.Errorf("cannot enable %s: %w", name, err)
		}
	}
	return nil
}

// disable implements [initSystem].
func (l *launchd) disable(ctx context.Context, names []string) error {
	for _, name := range names {
		if _, err := l.launchctl(ctx, "disable", l.target(name)); err != nil {
			return fmt.Errorf("cannot disable %s: %w", name, err)
		}
	}
	return nil
}

// loaded reports whether launchd knows the job.
func (l *launchd) loaded(ctx context.Context, name string) bool {
	_, err := l.launchctl(ctx, "print", l.target(name))
	return err == nil
}

// restart implements [initSystem]. launchd reads a job's file when it is loaded.
func (l *launchd) restart(ctx context.Context, name string, place shim.Place) error {
	if err := l.stop(ctx, name, place); err != nil {
		return err
	}
	launch := func() error {
		// What was disabled cannot be loaded.
		if _, err := l.launchctl(ctx, "enable", l.target(name)); err != nil {
			return err
		}
		_, err := l.launchctl(ctx, "bootstrap", l.domain, l.files().path(name))
		return err
	}
	if place == "" {
		return launch()
	}
	return shim.StartBy(place, launch)
}

// stop implements [initSystem].
func (l *launchd) stop(ctx context.Context, name string, place shim.Place) error {
	var failed error
	if place != "" {
		failed = shim.Stop(place)
	}
	if l.loaded(ctx, name) {
		if _, err := l.launchctl(ctx, "bootout", l.target(name)); err != nil && l.loaded(ctx, name) {
			return errors.Join(failed, err)
		}
	}
	return failed
}

package native

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"instar/runtime/plan"
	"instar/runtime/service"
)

// Anybody may ask systemd for what a unit says. So the variables that a
// declaration sets, secrets or not, stand in a file that only the manager's user
// can read, if no script of the instance's sets them: a program of the shell,
// which gets it as its standard input, opened by systemd itself before it becomes
// the service's user. What is in it reaches neither a command line nor any
// script that root runs.

// privateMode is that of such a file.
const privateMode = 0o600

// privateDir is where they are. It has the names of records, and no record is
// called so, since those have a dot.
func (m *systemd) privateDir() string { return filepath.Join(m.recordDir(), "env") }

func (m *systemd) privatePath(instance, name string) string {
	return filepath.Join(m.privateDir(), instance+"."+name)
}

// variables returns those that every process has, which are no secret and change
// nothing that root's scripts do, and all others: the declared ones.
func (u *unit) variables() (base, private []string) {
	for _, pair := range u.spec.Env {
		name, value, _ := strings.Cut(pair, "=")
		harmless := slices.Contains([]string{"HOME", "USER", "LOGNAME", "LANG"}, name) || name == "PATH" && value == plan.DefaultPath
		if harmless && !hasControl(value) {
			base = append(base, pair)
		} else {
			private = append(private, pair)
		}
	}
	return base, append(private, u.spec.PrivateEnv...)
}

// private returns the program that sets the declared variables and executes its
// arguments, $1 being the folder to do it in; nil where nothing is declared.
// The text is the shell's standard input, so the program gets another.
func (u *unit) private() []byte {
	_, private := u.variables()
	if len(private) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString(mark)
	b.WriteString("cd \"$1\" && shift && unset PWD OLDPWD SHLVL _ || exit 200\n")
	for _, pair := range private {
		name, value, _ := strings.Cut(pair, "=")
		b.WriteString("export " + name + "='" + strings.ReplaceAll(value, "'", `'\''`) + "'\n")
	}
	if slices.ContainsFunc(private, func(pair string) bool { return strings.HasPrefix(pair, "SHLVL=") }) {
		b.WriteString("exec \"$@\" </dev/null\n")
		return []byte(b.String())
	}
	b.WriteString(`case $1 in *=*) exec "$@" </dev/null ;; *) exec /usr/bin/env -u SHLVL "$@" </dev/null ;; esac` + "\n")
	return []byte(b.String())
}

// checkNames refuses variables that no shell can set.
func checkNames(pairs []string) error {
	var wrong []error
	for _, pair := range pairs {
		name, _, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			wrong = append(wrong, fmt.Errorf("variable %q has no name", name))
			continue
		}
		for i, c := range []byte(name) {
			if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
				wrong = append(wrong, fmt.Errorf("variable %q cannot be set by a shell", name))
				break
			}
		}
	}
	return errors.Join(wrong...)
}

// privateIntact reports whether the file that a unit reads is as it was written
// with it.
func (m *systemd) privateIntact(instance string, f *installed) bool {
	if f.Private == "" {
		return true
	}
	data, err := os.ReadFile(m.privatePath(instance, f.Name))
	return err == nil && hashOf(string(data)) == f.Private
}

// writePrivate writes the files that are missing or differ, each one whole. Their
// units are there already, so that whatever a crash leaves is found by them.
func (m *systemd) writePrivate(files map[string][]byte) error {
	if len(files) == 0 {
		return nil
	}
	if err := os.MkdirAll(m.privateDir(), 0o700); err != nil {
		return err
	}
	_, err := writeFiles(files, privateMode)
	return err
}

// removePrivate removes the file of a service, and what was left of one that was
// being written.
func (m *systemd) removePrivate(instance, name string) error {
	path := m.privatePath(instance, name)
	return removeAll([]string{path, path + pendingSuffix})
}

// dropPrivate removes the files that no definition in force mentions any more.
func (b *batch) dropPrivate() error {
	for name, c := range b.changes {
		if c.Op == service.Stop || b.private[b.privatePath(b.instance, name)] != nil {
			continue
		}
		if err := b.removePrivate(b.instance, name); err != nil {
			return err
		}
	}
	return nil
}

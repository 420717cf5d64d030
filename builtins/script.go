package builtins

import (
	"fmt"
	"strings"

	"instar/runtime/plan"
)

// script is a POSIX shell script that executes one command. Every argument
// reaches it byte for byte.
type script struct {
	argv    []string
	env     []string // "K=V"
	dir     string
	umask   int // -1: as it is
	waitFor []string
	// clear drops the environment that the script is started with, but for
	// variables that are instar's own, and begins with base.
	clear bool
	base  []string
}

// clearing drops all exported variables. Names that a shell refuses to unset
// stay, and so do instar's marks. What follows a newline in a value may be
// taken for a name: that is harmless, since all go.
const clearing = `set -f
for name in $(export -p | while IFS= read -r line; do
	line=${line#declare -x }
	line=${line#export }
	printf '%s\n' "${line%%=*}"
done); do
	case $name in
	INSTAR_* | PPID | UID | EUID | SHELLOPTS | BASHOPTS | [0-9]* | *[!A-Za-z0-9_]*) ;;
	*) unset "$name" ;;
	esac
done
set +f
`

// text returns the script. It does not depend on where it was declared, so
// that moving a line in a profile restarts nothing.
func (s *script) text() []byte {
	var b strings.Builder
	b.Grow(256)
	b.WriteString("#!/bin/sh\n# Made by instar: changes are undone.\n")
	if s.clear {
		b.WriteString(clearing)
		export(&b, s.base)
	}
	if s.umask >= 0 {
		fmt.Fprintf(&b, "umask %04o\n", s.umask)
	}
	for _, path := range s.waitFor {
		fmt.Fprintf(&b, "until [ -e %s ]; do sleep 0.2 2>/dev/null || sleep 1; done\n", quote(path))
	}
	if s.dir != "" {
		fmt.Fprintf(&b, "cd %s || exit 1\n", quote(s.dir))
	}
	if s.clear {
		b.WriteString("unset PWD OLDPWD\n")
	}
	export(&b, s.env)
	b.WriteString("exec")
	for _, arg := range s.argv {
		b.WriteByte(' ')
		b.WriteString(quote(arg))
	}
	b.WriteString(" \"$@\"\n")
	return []byte(b.String())
}

func export(b *strings.Builder, env []string) {
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		b.WriteString("export " + name + "=" + quote(value) + "\n")
	}
}

// quote returns text as one word of the shell: nothing has a meaning between
// single quotes but the quote itself.
func quote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// program declares the script of a service or run, in folder.
func (c *call) programScript(folder, name string, exec plan.Exec, at plan.Pos) (string, error) {
	rel := folder + "/" + name
	uid, gid := c.ownIDs()
	s := script{argv: exec.Argv, env: exec.Env, dir: exec.Dir, umask: 0o027, clear: true, base: exec.Identity.Environ()}
	_, err := c.declare(aFile, &plan.File{
		Meta:    plan.Meta{Path: rel, Mode: 0o750, UID: uid, GID: gid, At: at},
		Content: s.text(),
	})
	return rel, err
}

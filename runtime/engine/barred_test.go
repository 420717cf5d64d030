package engine

import (
	"context"
	"io/fs"
	"strings"
	"testing"

	"instar/runtime/plan"
)

// TestBarred: it is told that a user may not enter the folder that a program
// starts in, or the one that it is in, and which folder it is.
func TestBarred(t *testing.T) {
	if !plan.UnixModes {
		t.Skip("there are no modes here")
	}
	owner := plan.Identity{User: "web", UID: 1001, GID: 1001, Home: testRoot}
	other := plan.Identity{User: "guest", UID: 1002, GID: 1002, Groups: []int{1003}, Home: testRoot}
	for name, c := range map[string]struct {
		mode uint32
		gid  int
		as   plan.Identity
		dir  string
		argv string
		want string
	}{
		"the owner":              {mode: 0o750, as: owner, dir: testRoot},
		"another":                {mode: 0o750, gid: 1001, as: other, dir: testRoot, want: `its user "guest" may not enter /srv/web (mode 0750, user 1001, group 1001)`},
		"the owner, not a group": {mode: 0o070, gid: 1001, as: owner, dir: testRoot, want: `its user "web" may not enter /srv/web (mode 0070, user 1001, group 1001)`},
		"a group":                {mode: 0o750, gid: 1003, as: other, dir: testRoot},
		"anybody":                {mode: 0o751, gid: 1001, as: other, dir: testRoot},
		"in a folder":            {mode: 0o751, gid: 1001, as: other, dir: testRoot + "/var", want: `its user "guest" may not enter /srv/web/var (mode 0750, user 1001, group 1001)`},
		"elsewhere":              {mode: 0o750, gid: 1001, as: other, dir: "/"},
		"by its program":         {mode: 0o750, gid: 1001, as: other, dir: "/", argv: testRoot + "/bin/x", want: `its user "guest" may not enter /srv/web (mode 0750, user 1001, group 1001)`},
		"root":                   {mode: 0, as: plan.Identity{User: "root"}, dir: testRoot},
		"not known":              {mode: 0, as: plan.Identity{User: "web", UID: -1, GID: -1}, dir: testRoot},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_ = w.overlay.Mkdir("var", 0o750)
			for _, dir := range []string{".", "var"} {
				if err := w.overlay.Chown(dir, owner.UID, c.gid); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.overlay.Chmod(".", fs.FileMode(c.mode)); err != nil {
				t.Fatal(err)
			}
			s := program("alpha")
			s.OwnUser, s.At = true, plan.Pos{File: "instance.star", Line: 7}
			s.Exec.Identity, s.Exec.Dir = c.as, c.dir
			if c.argv != "" {
				s.Exec.Argv = []string{c.argv}
			}
			w.profile = func(plan.View) *plan.Plan { return planOf(s) }
			e := w.engine()
			e.Identity = owner
			rep, err := e.Converge(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if c.want != "" {
				want = "instance.star:7: alpha cannot start: " + c.want
			}
			if got := strings.Join(rep.Warnings, "\n"); got != want {
				t.Errorf("warnings: %q\nwant: %q", got, want)
			}
		})
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"instar/profiles"
	"instar/runtime/report"
)

// shown says how one bundled profile is tried: every one of them needs an entry.
var shown = map[string]struct {
	// release returns the software that the profile deploys.
	release func(t *testing.T) string
	params  func(t *testing.T) []string
	// generated is a file that the profile makes, and once one that it makes only
	// once; "" when there is none.
	generated, once string
}{
	"helloworld": {release: helloworldRelease, generated: "etc/greetings/go.txt"},
	"nginx-static": {release: systemRelease("sbin/nginx"), params: freePort,
		generated: "etc/nginx.conf", once: "srv/www/index.html"},
	"replicate": {release: systemRelease("sbin/nginx"), params: freePort, generated: "etc/sites.json"},
}

func helloworldRelease(t *testing.T) string {
	dir := t.TempDir()
	server := filepath.Join(dir, "bin", "helloworld-server")
	out, err := exec.Command("go", "build", "-o", server, "instar/profiles/helloworld/server").CombinedOutput()
	if err != nil {
		t.Fatalf("cannot build the server: %v\n%s", err, out)
	}
	return dir
}

func systemRelease(program string) func(t *testing.T) string {
	return func(t *testing.T) string {
		if _, err := os.Stat("/usr/" + program); err != nil {
			t.Skipf("this machine lacks what the profile deploys: %v", err)
		}
		return "/usr"
	}
}

func freePort(t *testing.T) []string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return []string{"--set", "port=" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port)}
}

// trial is one bundled profile being tried: a copy of it, beside those of the
// others, and a machine of its own.
type trial struct {
	*testing.T
	profile, state, root string
	flags                []string
}

func newTrial(t *testing.T, name string) *trial {
	t.Helper()
	how, ok := shown[name]
	if !ok {
		t.Fatalf("profile %s has no entry in shown", name)
	}
	dir := t.TempDir()
	tr := &trial{T: t, profile: filepath.Join(dir, "profiles", name), state: filepath.Join(dir, "state"), root: filepath.Join(dir, "root")}
	if err := os.CopyFS(filepath.Dir(tr.profile), profiles.Files); err != nil {
		t.Fatal(err)
	}
	tr.flags = []string{"--name", "shown", "--root", tr.root, "--release", how.release(t), "--manager", "none"}
	if how.params != nil {
		tr.flags = append(tr.flags, how.params(t)...)
	}
	return tr
}

// instar runs the program; it must exit with code.
func (tr *trial) instar(code int, args ...string) *report.Report {
	tr.Helper()
	self, err := os.Executable()
	if err != nil {
		tr.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Args = append([]string{"instar", "--state-dir", tr.state, "--json"}, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() != code {
		tr.Fatalf("instar %v: %v, want exit code %d\n%s%s", args, err, code, &stdout, &stderr)
	}
	rep := &report.Report{}
	if err := json.Unmarshal(stdout.Bytes(), rep); err != nil {
		tr.Fatalf("instar %v: %v\n%s", args, err, &stdout)
	}
	return rep
}

func (tr *trial) apply() *report.Report {
	tr.Helper()
	return tr.instar(0, append([]string{"apply", tr.profile}, tr.flags...)...)
}

// settled fails unless a plan finds nothing to do.
func (tr *trial) settled() {
	tr.Helper()
	if rep := tr.instar(0, "plan", "shown", "--detailed-exitcode"); len(rep.Changes) > 0 {
		tr.Errorf("a plan after apply has changes: %+v", rep.Changes)
	}
}

func (tr *trial) path(name string) string { return filepath.Join(tr.root, name) }

func (tr *trial) read(name string) string {
	tr.Helper()
	data, err := os.ReadFile(tr.path(name))
	if err != nil {
		tr.Fatal(err)
	}
	return string(data)
}

func (tr *trial) write(name, text string) {
	tr.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		tr.Fatal(err)
	}
}

// declare adds a line to the profile.
func (tr *trial) declare(line string) (undo func()) {
	tr.Helper()
	entry := filepath.Join(tr.profile, "instance.star")
	old, err := os.ReadFile(entry)
	if err != nil {
		tr.Fatal(err)
	}
	tr.write(entry, string(old)+"\n"+line+"\n")
	return func() { tr.write(entry, string(old)) }
}

func ops(rep *report.Report) string {
	var list []string
	for _, c := range rep.Changes {
		list = append(list, c.Op+" "+c.Path+c.Name)
	}
	return strings.Join(list, ", ")
}

// TestBundledProfiles: what every profile that instar ships has to show.
func TestBundledProfiles(t *testing.T) {
	for _, name := range profiles.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			how := shown[name]
			tr := newTrial(t, name)
			tr.exact()
			tr.settled()
			tr.drift(how.generated)
			tr.undeclared()
			if how.once != "" {
				tr.once(how.once)
			}
			tr.lostState(how.once)
		})
	}
}

// exact: the first apply does what a plan said, as far as that could know, and a
// further one writes nothing.
func (tr *trial) exact() {
	tr.Helper()
	code := 0
	source, err := os.ReadFile(filepath.Join(tr.profile, "instance.star"))
	if err != nil {
		tr.Fatal(err)
	}
	if strings.Contains(string(source), "request(") {
		code = exitPending // on what others will publish
	}
	planned := tr.instar(code, append([]string{"plan", tr.profile}, tr.flags...)...)
	rep := tr.apply()
	if !rep.Complete || len(rep.Changes) == 0 {
		tr.Fatalf("first apply: %+v", rep)
	}
	if said, did := ops(planned), ops(rep); did != said && (code == 0 || !strings.HasPrefix(did, said+", ")) {
		tr.Errorf("changes planned: %s\nmade: %s", said, did)
	}
	tr.apply() // requested instances may have been told something
	before := fingerprint(tr, tr.root, tr.state)
	tr.apply()
	if diff := cmp.Diff(before, fingerprint(tr, tr.root, tr.state)); diff != "" {
		tr.Errorf("a further apply wrote (-before +after):\n%s", diff)
	}
}

// drift: a file that was edited by hand is put back, one that was removed
// returns.
func (tr *trial) drift(name string) {
	tr.Helper()
	good := tr.read(name)
	tr.write(tr.path(name), "edited by hand\n")
	if rep := tr.apply(); ops(rep) != "write "+name || tr.read(name) != good {
		tr.Errorf("after an edit by hand: %s", ops(rep))
	}
	if err := os.Remove(tr.path(name)); err != nil {
		tr.Fatal(err)
	}
	if rep := tr.apply(); ops(rep) != "write "+name || tr.read(name) != good {
		tr.Errorf("after a removal by hand: %s", ops(rep))
	}
	tr.settled()
}

// undeclared: what is dropped from the profile goes, unless somebody changed
// it: then it stays, and is reported.
func (tr *trial) undeclared() {
	tr.Helper()
	undo := tr.declare(`file("extra/one", "1")` + "\n" + `file("extra/two", "2")`)
	tr.apply()
	tr.write(tr.path("extra/two"), "mine now")
	undo()
	rep := tr.apply()
	if ops(rep) != "remove extra/one" {
		tr.Errorf("what was dropped: %s", ops(rep))
	}
	if len(rep.Warnings) != 1 || !strings.Contains(rep.Warnings[0], "extra/two") || tr.read("extra/two") != "mine now" {
		tr.Errorf("what was dropped and changed by hand: warnings %q", rep.Warnings)
	}
	tr.settled()
	if err := os.RemoveAll(tr.path("extra")); err != nil {
		tr.Fatal(err)
	}
	tr.apply()
}

// once: data survives everything but destroy --purge.
func (tr *trial) once(name string) {
	tr.Helper()
	tr.write(tr.path(name), "the user's data")
	tr.apply()
	tr.instar(0, "destroy", "shown")
	if got := tr.read(name); got != "the user's data" {
		tr.Errorf("data after destroy: %q", got)
	}
	tr.apply()
	if got := tr.read(name); got != "the user's data" {
		tr.Errorf("data after destroy and apply: %q", got)
	}
	tr.settled()
}

// lostState: an instance whose state was lost, or comes back from a backup, is
// converged again, and loses no data.
func (tr *trial) lostState(once string) {
	tr.Helper()
	backup := filepath.Join(tr.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(tr.state)); err != nil {
		tr.Fatal(err)
	}
	again := func(what string) {
		rep := tr.apply()
		others := slices.DeleteFunc(rep.Changes, func(c report.Change) bool { return c.Op == "request" }) // with a state of their own
		if len(others) > 0 {
			tr.Errorf("state %s: %s", what, ops(rep))
		}
		if once != "" && tr.read(once) != "the user's data" {
			tr.Errorf("state %s: the data is gone", what)
		}
		tr.settled()
	}
	if err := os.RemoveAll(tr.state); err != nil {
		tr.Fatal(err)
	}
	again("lost")
	// As far as instar knows, all this was there before it came: it is nobody's to
	// remove.
	before := tr.names()
	tr.instar(0, "destroy", "shown", "--purge")
	if diff := cmp.Diff(before, tr.names()); diff != "" {
		tr.Errorf("purged after the state was lost (-before +after):\n%s", diff)
	}
	if err := errors.Join(os.RemoveAll(tr.state), os.CopyFS(tr.state, os.DirFS(backup))); err != nil {
		tr.Fatal(err)
	}
	again("restored")
	tr.instar(0, "destroy", "shown", "--purge")
	if left := tr.names(); len(left) > 0 {
		tr.Errorf("purge leaves %v", left)
	}
}

// names lists all that stands below the root.
func (tr *trial) names() []string {
	tr.Helper()
	var names []string
	err := filepath.WalkDir(tr.root, func(name string, _ fs.DirEntry, err error) error {
		if name != tr.root {
			names = append(names, strings.TrimPrefix(name, tr.root+"/"))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		tr.Fatal(err)
	}
	return names
}

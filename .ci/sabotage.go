//go:build ignore

// Command sabotage breaks instar on purpose, one line at a time, in a copy of its
// source, and shows that the tests notice: `make sabotage`. It fails when one of
// the breakages applies no more, does not compile, or is not noticed, or when tests
// fail without any. Arguments choose rows by a part of their names; -list prints
// the table of docs/sabotage.md, -check only says whether that is it, and whether
// all rows apply.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// row is one breakage: in file, old, which stands there once, becomes new, and
// the tests called test, of the package pkg, must fail.
type row struct{ what, file, old, new, pkg, test string }

var rows = []row{
	{"nothing is claimed before it is made", "runtime/engine/work.go",
		"if err := w.claim(); err != nil {", "if err := error(nil); err != nil {", "runtime/engine", "TestKilledAtEveryChange"},
	{"an incomplete plan removes", "runtime/engine/work.go",
		"if !w.plan.Complete() {\n\t\treturn nil, nil\n\t}", "", "runtime/engine", "."},
	{"the digest of a service leaves out contents", "runtime/apply/digest.go",
		`"\x00"+name+"\x00"+inputs[name]`, `"\x00"+name`, "runtime/engine", "."},
	{"a restart is lost: what was started with is not compared", "runtime/service/reconcile.go",
		"case state.Digest != spec.Digest || ", "case ", "runtime/service", "."},
	{"temporary files of a killed apply stay", "runtime/engine/work.go",
		"if rec.Claim == nil || name == \".\" {\n\t\t\tcontinue", "if rec.Claim != nil || name == \".\" {\n\t\t\tcontinue", "runtime/engine", "TestKilledAtEveryChange"},
	{"what an interrupted apply made counts as changed by hand", "runtime/apply/compare.go",
		"if rec.Claim != nil && rec.Claim.Was != wasForeign {\n\t\treturn true, nil", "if false {\n\t\treturn true, nil", "runtime/engine", "TestKilledAtEveryChange|TestRandomPlansKilledAtRandom"},
	{"what was changed by hand is removed", "runtime/apply/compare.go",
		"return rec.Kind == info.Kind && hash == rec.Hash, nil", "return rec.Kind == info.Kind, nil", "runtime/engine", "."},
	{"what was there before is removed", "runtime/apply/own.go",
		"if rec.Foreign {\n\t\t\tcontinue", "if false {\n\t\t\tcontinue", "runtime/engine", "."},
	{"data made once is removed", "runtime/apply/own.go",
		"if rec.Once {\n\t\t\tif !c.onlyClaimed", "if false {\n\t\t\tif !c.onlyClaimed", "runtime/engine", "TestRandomPlansAmongDataAndForeignFiles"},
	{"the claim to data that was never made stays", "runtime/apply/own.go",
		"if !c.onlyClaimed(name, rec) {\n\t\t\t\trec.Claim = nil", "if true {", "cmd/instar", "TestKilled$"},
	{"an equal state is saved again", "runtime/state/folder.go",
		"return true, err == nil && bytes.Equal(old, data)", "return true, err == nil && bytes.Equal(old, data) && len(data) == 0", "cmd/instar", "TestExact"},
	{"a folder that a command replaces counts as what it makes", "runtime/apply/compare.go",
		"edits, err := c.makeWay(cmd)", "edits, err := c.makeWay(&plan.Command{Name: cmd.Name})", "cmd/instar", "TestPathIndependent"},
	{"after a broken-off apply, what another command made counts as a command's own", "runtime/engine/aside.go",
		"if err := w.maker(ctx); err != nil {", "if err := error(nil); err != nil {", "cmd/instar", "TestScripts/command_replaced"},
	{"what a command changes of what was observed is not noticed", "runtime/engine/command.go",
		"\tw.noteObserved()\n", "", "cmd/instar", "TestScripts/observe_command"},
	{"what was set aside for a command that failed does not come back", "runtime/engine/command.go",
		"w.putBack(aside, err == nil)", "w.putBack(aside, true)", "runtime/engine", "."},
	{"the state is not synced", "runtime/state/folder.go",
		"if err := file.Sync(); err != nil {", "if err := error(nil); err != nil {", "cmd/instar", "TestPowerCut"},
	{"a round is not synced before the state says that it is done", "runtime/engine/work.go",
		"err := fsys.SyncFS(w.disk)", "err := error(nil)", "cmd/instar", "TestPowerCut"},
	{"what a command made is not synced before its success is recorded", "runtime/command/supervise.go",
		"return errors.Join(root.SyncFS(), root.Close())", "return root.Close()", "cmd/instar", "TestPowerCut"},
	{"a new state folder is not synced", "runtime/state/folder.go",
		"return SyncFolders(filepath.Dir(string(f)))", "return nil", "cmd/instar", "TestPowerCut"},
	{"a command's success is not recorded", "runtime/command/supervise.go",
		"err := s.record.save(s.order.Dir)\n\tfor try", "err := error(nil)\n\tfor try", "runtime/command", "."},
	{"data is wiped that no attempt began with empty", "runtime/command/decide.go",
		"r.Status != Adopted && r.Wipe[path]", "r.Status != Adopted", "runtime/command", "."},
	{"the retry does not wait for a command that still runs", "runtime/command/wait.go",
		"if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {", "if _, err := lock.TryLock(); err != nil {", "runtime/command", "."},
	{"symbolic links are followed", "runtime/fsys/disk_linux.go",
		"unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS", "unix.RESOLVE_NO_MAGICLINKS", "runtime/fsys", "TestPlantedLinks|TestSwap"},
	{"a hard link to a file outside is opened for writing", "runtime/fsys/disk_open_linux.go",
		"if sig.shared() {", "if false {", "runtime/fsys", "."},
	{"a temporary file is opened though it is there", "runtime/fsys/atomic.go",
		"os.O_WRONLY|os.O_CREATE|os.O_EXCL|nofollow", "os.O_WRONLY|os.O_CREATE|nofollow", "runtime/fsys", "."},
	{"the mode is set before the owner", "runtime/fsys/atomic.go",
		"if uid != -1 || gid != -1 {\n\t\tif err := o.Chown(uid, gid); err != nil {\n\t\t\treturn err\n\t\t}\n\t}\n\treturn o.Chmod(fileMode(mode & bits12))",
		"if err := o.Chmod(fileMode(mode & bits12)); err != nil || uid == -1 && gid == -1 {\n\t\treturn err\n\t}\n\treturn o.Chown(uid, gid)", "runtime/fsys", "."},
	{"a file is written in place", "runtime/fsys/atomic.go",
		"f, err := createTemp(at, tmp)", "tmp = final\n\t\tat.Remove(tmp)\n\t\tf, err := createTemp(at, tmp)", "runtime/fsys", "."},
	{"a temporary file that failed is left", "runtime/fsys/atomic.go",
		"err = at.Rename(tmp, final)\n\t\t}\n\t\tif err != nil {\n\t\t\tat.Remove(tmp)\n\t\t}\n\t\treturn err\n\t})\n}\n\n// WriteLink", "err = at.Rename(tmp, final)\n\t\t}\n\t\treturn err\n\t})\n}\n\n// WriteLink", "runtime/fsys", "."},
	{"the cache does not look at times", "runtime/state/cache.go",
		"return e.Sig == now", "return e.Sig.Size == now.Size && e.Sig.Mode == now.Mode", "runtime/engine", "."},
	{"a part of a plan is compared though something stands otherwise", "runtime/engine/ahead.go",
		"!insideMatches(view.Disk(), c, 256)", "false", "runtime/engine", "TestEveryDriftIsSeen"},
	{"what a changed profile declares no more is left out of the part", "runtime/engine/part.go",
		"paths = append(paths, c.Inside[at].Path)", "_ = at", "runtime/engine", "TestPartIsAsTheWhole"},
	{"what is owned and not declared is left out of the part", "runtime/engine/part.go",
		"paths := slices.Clone(planned.Rest)", "var paths []string", "runtime/engine", "TestKeptFolderGoesLater"},
	{"a change right behind a look is not told from it", "runtime/fsys/disk_atomic_linux.go",
		"sig = seen(fd, data)", "sig = seen(fd, data)\n\t\t\tsig.Ctime--", "runtime/fsys", "TestVouches"},
	{"a plan makes the root with another mode", "cmd/instar/disk.go",
		"return d.overlay, fsys.Chmod(d.overlay, \".\", rootMode)", "return d.overlay, nil", "cmd/instar", "TestExact"},
	{"a percent sign in an argument is left to systemd", "runtime/service/native/quote.go",
		`b.WriteString("%%")`, `b.WriteString("%")`, "runtime/service/native", "TestQuoting|FuzzUnit"},
	{"a delete is encoded as Go does, and JSON does not", "builtins/encode.go",
		"asJSON(string(text))", "string(text)", "builtins", "FuzzParam"},
}

func main() {
	args := os.Args[1:]
	if slices.Equal(args, []string{"-list"}) {
		fmt.Print(table())
		return
	}
	if err := run(args); err != nil {
		fmt.Fprintln(os.Stderr, "sabotage:", err)
		os.Exit(1)
	}
}

func table() string {
	var out strings.Builder
	out.WriteString("| what is broken | where | noticed by |\n|---|---|---|\n")
	for _, r := range rows {
		test := strings.ReplaceAll(r.test, "|", "`, `")
		if r.test == "." {
			test = "the package's tests"
		} else {
			test = "`" + strings.TrimSuffix(test, "$") + "`"
		}
		fmt.Fprintf(&out, "| %s | `%s` | `%s`: %s |\n", r.what, r.file, r.pkg, test)
	}
	return out.String()
}

func run(only []string) error {
	page, err := os.ReadFile("docs/sabotage.md")
	if err != nil {
		return err
	}
	if !strings.Contains(string(page), table()) {
		return fmt.Errorf("docs/sabotage.md has another table: go run .ci/sabotage.go -list")
	}
	if slices.Equal(only, []string{"-check"}) {
		return check()
	}
	dir, err := os.MkdirTemp("", "instar-sabotage-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if out, err := exec.Command("sh", "-c", "git ls-files -z | xargs -0 cp --parents -t "+dir).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot copy the source: %w: %s", err, out)
	}
	var bad []string
	tried, whole := 0, map[string]error{}
	for _, r := range rows {
		if len(only) > 0 && !slices.ContainsFunc(only, func(part string) bool { return strings.Contains(r.what, part) }) {
			continue
		}
		tried++
		start := time.Now()
		verdict := "noticed"
		tests := r.pkg + " " + r.test
		if _, known := whole[tests]; !known {
			whole[tests] = r.passes(dir)
		}
		err := whole[tests]
		if err == nil {
			err = r.try(dir)
		}
		if err != nil {
			verdict = err.Error()
			bad = append(bad, r.what+": "+verdict)
		}
		fmt.Printf("%-70s %s (%.0f s)\n", r.what, verdict, time.Since(start).Seconds())
	}
	if len(bad) > 0 {
		return fmt.Errorf("of %d breakages:\n%s", tried, strings.Join(bad, "\n"))
	}
	fmt.Printf("all %d breakages were noticed\n", tried)
	return nil
}

// check says which rows apply no more.
func check() error {
	for _, r := range rows {
		source, err := os.ReadFile(r.file)
		if err != nil {
			return err
		}
		if n := bytes.Count(source, []byte(r.old)); n != 1 {
			return fmt.Errorf("%s: %s has %d times %q", r.what, r.file, n, r.old)
		}
	}
	return nil
}

// try returns nil when the tests fail of the breakage, as they should.
func (r row) try(dir string) error {
	path := filepath.Join(dir, r.file)
	source, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := bytes.Count(source, []byte(r.old)); n != 1 {
		return fmt.Errorf("does not apply: %s has %d times %q", r.file, n, r.old)
	}
	broken := bytes.Replace(source, []byte(r.old), []byte(r.new), 1)
	if err := os.WriteFile(path, broken, 0o644); err != nil {
		return err
	}
	defer os.WriteFile(path, source, 0o644)
	out, err := r.tests(dir)
	switch {
	case err == nil:
		return fmt.Errorf("NOT NOTICED by %s of %s", r.test, r.pkg)
	case bytes.Contains(out, []byte("[build failed]")) || !bytes.Contains(out, []byte("FAIL")):
		return fmt.Errorf("does not compile: %s", out)
	}
	return nil
}

// passes returns nil when the tests pass of the source as it is: else their failure
// would show nothing.
func (r row) passes(dir string) error {
	out, err := r.tests(dir)
	switch {
	case err != nil:
		return fmt.Errorf("its tests fail without it: %s", out)
	case bytes.Contains(out, []byte("[no tests to run]")):
		return fmt.Errorf("%s has no test called %s", r.pkg, r.test)
	}
	return nil
}

func (r row) tests(dir string) ([]byte, error) {
	cmd := exec.Command("go", "test", "-vet=off", "-count=1", "-run", r.test, "./"+r.pkg)
	cmd.Dir = dir
	return cmd.CombinedOutput()
}

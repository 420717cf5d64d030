//go:build linux

package command_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"instar/runtime/command"
	"instar/runtime/plan"
)

func TestSuccess(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	job := b.job("make", "echo one; echo two >&2; echo -n three; mkdir data d; echo content >data/f; ln -s data/f l; umask")
	job.Command.Creates = []string{"data/f", "d", "l"}
	job.Command.Wipe = []string{"data", "nothing"}
	var lines []string
	job.Line = func(line string) { lines = append(lines, line) }
	rec := b.run(job)
	if rec.Status != command.Succeeded || rec.Digest != "d1" || rec.ExitCode != 0 || rec.Reason != "" {
		t.Errorf("record %+v", rec)
	}
	if !rec.Wipe["data"] || !rec.Wipe["nothing"] || rec.Finished.Before(rec.Started) {
		t.Errorf("record %+v", rec)
	}
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("content\n")))
	if rec.Creates["data/f"] != sum || rec.Creates["d"] != "folder" || rec.Creates["l"] != "link:data/f" {
		t.Errorf("creates %v", rec.Creates)
	}
	want := "one\ntwo\nthree0027"
	if got := strings.Join(lines, "\n"); got != want || rec.Output != want {
		t.Errorf("lines %q, output %q, want %q", got, rec.Output, want)
	}
	if got := b.read(command.LogPath(b.dir, "make")); got != want+"\n" {
		t.Errorf("log %q", got)
	}
	loaded, err := command.Load(b.dir, "make")
	if err != nil || loaded.Attempt != rec.Attempt || loaded.Status != command.Succeeded {
		t.Errorf("loaded %+v, %v", loaded, err)
	}
	for name, mode := range map[string]fs.FileMode{"": 0o700, "make.json": 0o600, "make.log": 0o600, "make.lock": 0o600} {
		info, err := os.Stat(filepath.Join(b.dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: %v, %v", name, info, err)
		}
	}
	for _, name := range []string{"make.room", "make.json.tmp"} {
		if exists(filepath.Join(b.dir, name)) {
			t.Errorf("%s is left", name)
		}
	}
}

func TestFailure(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const hidden = `s3cret "pass$word`
	tests := []struct {
		name, script, reason string
		code                 int
	}{
		{"exit", `i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo "line $i $PW" >&2; done; exit 3`, "exit status 3", 3},
		{"signal", `kill -SEGV $$`, "signal: SEGV", -1},
		{"creates", `true`, "exit 0, but srv/x does not exist", 0},
		{"program", "", `cannot start "/no/such/program"`, -1},
		{"folder", "", `the working folder "/no/such/folder" does not exist`, -1},
	}
	for _, test := range tests {
		job := b.job(test.name, test.script)
		job.Secrets = []string{hidden}
		job.Command.Exec.Env = []string{"PW=" + hidden}
		switch test.name {
		case "creates":
			job.Command.Creates = []string{"srv/x"}
		case "program":
			job.Command.Exec.Argv = []string{"/no/such/program"}
		case "folder":
			job.Command.Exec.Dir = "/no/such/folder"
		}
		rec, err := command.Run(t.Context(), job)
		var failed *command.FailedError
		if !errors.As(err, &failed) {
			t.Errorf("%s: error %v", test.name, err)
			continue
		}
		if rec.Status != command.Failed || !strings.Contains(rec.Reason, test.reason) || rec.ExitCode != test.code {
			t.Errorf("%s: record %+v", test.name, rec)
		}
		if !strings.HasPrefix(err.Error(), fmt.Sprintf("command %q failed: ", test.name)) || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: error %q", test.name, err)
		}
		if !strings.Contains(failed.Hint(), b.dir) {
			t.Errorf("hint %q", failed.Hint())
		}
	}
	_, err := command.Run(t.Context(), func() command.Job {
		job := b.job("exit", tests[0].script)
		job.Secrets, job.Command.Exec.Env = []string{hidden}, []string{"PW=" + hidden}
		return job
	}())
	text := err.Error()
	if strings.Contains(text, "line 40 ") || !strings.Contains(text, "line 41 ********\n") || !strings.HasSuffix(text, "line 60 ********") {
		t.Errorf("error %q", text)
	}
	for _, name := range []string{"exit.json", "exit.log", "exit.log.1"} {
		if text := b.read(filepath.Join(b.dir, name)); strings.Contains(text, "s3cret") || !strings.Contains(text, "********") {
			t.Errorf("%s: %q", name, text)
		}
	}
}

func TestSecretAcrossWrites(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	job := b.job("split", `printf 'a super'; sleep 0.2; printf 'secretword b'; sleep 0.1; printf '\nc supersecretword'; exit 1`)
	job.Secrets = []string{"supersecretword"}
	var lines []string
	job.Line = func(line string) { lines = append(lines, line) }
	_, err := command.Run(t.Context(), job)
	if err == nil || strings.Join(lines, "|") != "a ******** b|c ********" {
		t.Errorf("lines %q, %v", lines, err)
	}
}

func TestByteForByte(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	odd := "' \" $HOME `x` \\ \n\t* ünïcode 😀 \xff\xfe %s -n"
	long := strings.Repeat(odd, 100_000/len(odd))
	args := []string{odd, "", long, "--", "-test.v"}
	job := b.job("odd", "")
	out := b.path("told")
	job.Command.Exec.Argv = append([]string{os.Args[0]}, args...)
	job.Command.Exec.Env = []string{"COMMAND_TEST_TELL=" + out, "LONG=" + long, "ODD=" + odd}
	job.Command.Stdin = []byte(strings.Repeat(long, 5) + "\x00end")
	b.run(job)
	var got told
	if err := json.Unmarshal([]byte(b.read(out)), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Args) != len(args) {
		t.Fatalf("%d arguments, want %d", len(got.Args), len(args))
	}
	for i, a := range args {
		if string(got.Args[i]) != a {
			t.Errorf("argument %d differs: %.80q", i, got.Args[i])
		}
	}
	env := map[string]string{}
	for _, e := range got.Env {
		k, v, _ := strings.Cut(string(e), "=")
		env[k] = v
	}
	if env["LONG"] != long || env["ODD"] != odd || env["USER"] != "me" || env["HOME"] != b.root || env["PATH"] != plan.DefaultPath {
		t.Errorf("environment differs: %.300q", env)
	}
	delete(env, "INSTAR_MARK")
	if len(env) != 8 {
		t.Errorf("%d variables, want 8: %.300q", len(env), env)
	}
	if string(got.Stdin) != string(job.Command.Stdin) {
		t.Errorf("stdin differs: %d bytes, want %d", len(got.Stdin), len(job.Command.Stdin))
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rec := b.run(b.job("null", "cat; readlink /proc/self/fd/0; ls /proc/self/fd | tr '\n' ' '; cut -d' ' -f6 /proc/self/stat | grep -qx $$ && echo session"))
	if rec.Output != "/dev/null\n0 1 2 3 session" { // 3 is ls's own
		t.Errorf("output %q", rec.Output)
	}
	job := b.job("empty", "cat; readlink /proc/self/fd/0 | cut -c1-4")
	job.Command.Stdin = []byte{}
	if rec := b.run(job); rec.Output != "pipe" {
		t.Errorf("output %q", rec.Output)
	}
}

// TestDescriptors: what the deployer was started with is not the command's.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	deployer := b.deployer(b.job("fds", "ls /proc/self/fd | tr '\n' ' '"), false)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	deployer.ExtraFiles = []*os.File{null, null, null}
	if out, err := deployer.Output(); err != nil || string(out) != "0 1 2 3 \n" { // 3 is ls's own
		t.Errorf("descriptors %q, %v", out, err)
	}
}

// TestTimeout has a grandchild in a session of its own that ignores TERM.
func TestTimeout(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	job := b.job("hang", `trap "" TERM; echo begun; setsid sh -c 'trap "" TERM; echo $$ >new; mv new pid; while :; do sleep 0.05; done' & wait; sleep 1000`)
	timeout := 500 * time.Millisecond
	for ; !exists(b.path("pid")) && timeout < time.Minute; timeout *= 4 { // until it is enough to begin in
		job.Command.Timeout = timeout
		rec, err := command.Run(t.Context(), job)
		var failed *command.FailedError
		if !errors.As(err, &failed) || rec.Status != command.Failed || rec.Reason != "timeout after "+timeout.String() ||
			exists(b.path("pid")) && !strings.HasPrefix(rec.Output, "begun") {
			t.Errorf("record %+v, %v", rec, err)
		}
	}
	if !gone(t, b.path("pid")) {
		t.Error("the grandchild lives")
	}
}

// TestBackground: what a command leaves running is ended, and not waited for.
func TestBackground(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rec := b.run(b.job("leave", `setsid sh -c 'echo $$ >pid; exec sleep 1000' & while [ ! -s pid ]; do sleep 0.01; done; echo ok`))
	if rec.Output != "ok" || !gone(t, b.path("pid")) {
		t.Errorf("record %+v", rec)
	}
}

func TestMuchOutput(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	job := b.job("much", `head -c 104857600 /dev/zero | tr '\0' 'x'; yes hiddenhidden | head -c 1300000; echo; echo the end`)
	job.Secrets = []string{"hiddenhidden"}
	bytes := 0
	job.Line = func(line string) {
		bytes += len(line)
		if len(line) > 64<<10 || strings.Contains(line, "hidden") {
			t.Errorf("line of %d bytes: %.100q", len(line), line)
		}
	}
	rec := b.run(job)
	if bytes < 100<<20 {
		t.Errorf("only %d bytes were passed on", bytes)
	}
	if !strings.HasSuffix(rec.Output, "\nthe end") || len(rec.Output) > 32<<10 {
		t.Errorf("output of %d bytes", len(rec.Output))
	}
	for _, name := range []string{"much.log", "much.log.1"} {
		info, err := os.Stat(filepath.Join(b.dir, name))
		if err != nil || info.Size() > 8<<20 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if !strings.HasSuffix(b.read(command.LogPath(b.dir, "much")), "********\n\nthe end\n") {
		t.Error("the log lacks the end")
	}
}

// TestDeafDeployer: one that takes no output holds up neither the command nor
// its timeout.
func TestDeafDeployer(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	job := b.job("deaf", `yes | head -c 20000000; echo done >done`)
	release := make(chan struct{})
	job.Line = func(string) { <-release }
	result := make(chan error, 1)
	go func() {
		_, err := command.Run(t.Context(), job)
		result <- err
	}()
	eventually(t, "the command ends", func() bool { return exists(b.path("done")) })
	eventually(t, "it is recorded", func() bool {
		rec, err := command.Load(b.dir, "deaf")
		return err == nil && rec.Status == command.Succeeded
	})
	close(release)
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	job := b.job("long", `trap "" TERM; echo $$ >pid; echo begun; while :; do sleep 0.05; done`)
	job.Command.Wipe = []string{"data"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	job.Line = func(string) { cancel() }
	rec, err := command.Run(ctx, job)
	if !errors.Is(err, context.Canceled) || rec.Status != command.Interrupted || rec.Reason != "interrupted" || !rec.Wipe["data"] {
		t.Errorf("record %+v, %v", rec, err)
	}
	if !gone(t, b.path("pid")) {
		t.Error("the command lives")
	}
	if got, err := command.Load(b.dir, "long"); err != nil || got.Status != command.Interrupted {
		t.Errorf("record %+v, %v", got, err)
	}
	if _, err := command.Run(ctx, job); !errors.Is(err, context.Canceled) {
		t.Errorf("a run without a context: %v", err)
	}
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	job := b.job("prepared", "test ! -e data/old && echo new >data/new")
	job.Command.Wipe = []string{"data"}
	if err := os.Mkdir(b.path("data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.path("data/old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if rec, err := command.Run(t.Context(), job); err == nil || !strings.Contains(err.Error(), "data is not empty") {
		t.Errorf("began with data not empty: %+v, %v", rec, err)
	}
	bad := errors.New("cannot wipe")
	job.Prepare = func(context.Context) error { return bad }
	if _, err := command.Run(t.Context(), job); err != bad {
		t.Errorf("error %v", err)
	}
	if rec, err := command.Load(b.dir, "prepared"); rec != nil || err != nil || exists(b.path("data/new")) {
		t.Fatalf("something began: %+v, %v", rec, err)
	}
	job.Prepare = func(context.Context) error {
		if !command.Running(b.dir, "prepared") {
			t.Error("the lock is not held")
		}
		if _, err := command.Run(t.Context(), b.job("prepared", "true")); !errors.Is(err, command.ErrBusy) {
			t.Errorf("a second run: %v", err)
		}
		return os.Remove(b.path("data/old"))
	}
	if rec := b.run(job); !rec.Wipe["data"] || command.Running(b.dir, "prepared") {
		t.Errorf("record %+v", rec)
	}
	// A refusal is no success, though the record is that of one.
	job.Prepare = nil
	if rec, err := command.Run(t.Context(), job); err == nil || !strings.Contains(err.Error(), "data is not empty") {
		t.Errorf("began with data not empty: %+v, %v", rec, err)
	}
	if rec, err := command.Load(b.dir, "prepared"); err != nil || rec.Status != command.Succeeded {
		t.Errorf("record %+v, %v", rec, err)
	}
}

func TestAsNobody(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root to run a command as somebody else")
	}
	b := newBench(t)
	for _, dir := range []string{filepath.Dir(b.root), filepath.Dir(filepath.Dir(b.root))} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(b.root, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	job := b.job("who", "id -u; id -g; id -G; echo >made")
	job.Command.Creates = []string{"made"}
	job.Command.Exec.Identity.UID, job.Command.Exec.Identity.GID = 65534, 65534
	job.Command.Exec.Identity.Groups = []int{12345}
	if rec := b.run(job); rec.Output != "65534\n65534\n65534 12345" {
		t.Errorf("output %q", rec.Output)
	}
	info, err := os.Stat(b.path("made"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("made: %v, %v", info, err)
	}
}

func TestBadJobs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, name := range []string{"", "../x", "a/b", ".x", strings.Repeat("a", 62), "a\n"} {
		if _, err := command.Run(t.Context(), b.job(name, "true")); err == nil {
			t.Errorf("name %q is accepted", name)
		}
		if _, err := command.Load(b.dir, name); err == nil {
			t.Errorf("name %q is loaded", name)
		}
	}
	job := b.job("x", "true")
	job.Supervisor.Argv = []string{"/bin/false"}
	if _, err := command.Run(t.Context(), job); err == nil || !strings.Contains(err.Error(), `cannot run command "x"`) {
		t.Errorf("error %v", err)
	}
	job = b.job("x", "true")
	job.Root = b.path("missing")
	if _, err := command.Run(t.Context(), job); err == nil || !strings.Contains(err.Error(), "cannot open the instance's root") {
		t.Errorf("error %v", err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "y.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := command.Load(b.dir, "y"); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("error %v", err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "y.json"), []byte(`{"format_version":99,"name":"y"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := command.Load(b.dir, "y"); err == nil || !strings.Contains(err.Error(), "newer instar") {
		t.Errorf("error %v", err)
	}
}

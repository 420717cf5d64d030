package command_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"instar/runtime/command"
	"instar/runtime/plan"
	"instar/runtime/process"
)

// TestMain is also the supervisor, a deployer that can be killed, and a command
// that tells what it was given.
func TestMain(m *testing.M) {
	process.Helper()
	if slices.Equal(os.Args[1:], []string{"supervise", "--once"}) {
		os.Exit(command.Supervise(os.Stdin, os.Stdout, os.Stderr))
	}
	if path := os.Getenv("COMMAND_TEST_DEPLOY"); path != "" {
		os.Exit(deploy(path))
	}
	if path := os.Getenv("COMMAND_TEST_TELL"); path != "" {
		os.Exit(tell(path))
	}
	goleak.VerifyTestMain(m)
}

// deploy runs the job in the file path. With path.hold it never lets it begin.
func deploy(path string) int {
	var job command.Job
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &job)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	job.Line = func(line string) { fmt.Println(line) }
	if _, err := os.Stat(path + ".hold"); err == nil {
		job.Prepare = func(ctx context.Context) error {
			fmt.Println("preparing")
			<-ctx.Done()
			return ctx.Err()
		}
	}
	if _, err := command.Run(context.Background(), job); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// told is what a command was given.
type told struct {
	Args, Env [][]byte
	Stdin     []byte
}

func tell(path string) int {
	var t told
	for _, a := range os.Args[1:] {
		t.Args = append(t.Args, []byte(a))
	}
	for _, e := range os.Environ() {
		t.Env = append(t.Env, []byte(e))
	}
	var err error
	if t.Stdin, err = io.ReadAll(os.Stdin); err == nil {
		var data []byte
		if data, err = json.Marshal(t); err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// bench is an instance's root and its folder of records.
type bench struct {
	t         *testing.T
	root, dir string
}

func newBench(t *testing.T) bench {
	t.Helper()
	base := t.TempDir()
	b := bench{t, filepath.Join(base, "root"), filepath.Join(base, "state", "commands")}
	if err := os.Mkdir(b.root, 0o755); err != nil {
		t.Fatal(err)
	}
	return b
}

// job returns one that runs a shell script.
func (b bench) job(name, script string) command.Job {
	return command.Job{
		Command: &plan.Command{Name: name, Exec: plan.Exec{
			Argv:     []string{"/bin/sh", "-c", script},
			Dir:      b.root,
			Identity: plan.Identity{User: "me", UID: -1, GID: -1, Home: b.root},
		}, Timeout: time.Hour},
		Dir:    b.dir,
		Root:   b.root,
		Digest: "d1",
		Grace:  300 * time.Millisecond,
	}
}

func (b bench) path(name string) string { return filepath.Join(b.root, name) }

func (b bench) read(path string) string {
	b.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

func (b bench) run(job command.Job) command.Record {
	b.t.Helper()
	rec, err := command.Run(b.t.Context(), job)
	if err != nil {
		b.t.Fatal(err)
	}
	return rec
}

func (b bench) wait(name string) *command.Record {
	b.t.Helper()
	rec, err := command.Wait(b.t.Context(), b.dir, name)
	if err != nil {
		b.t.Fatal(err)
	}
	return rec
}

// eventually polls until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// gone reports whether the process whose number is in the file lives no more.
func gone(t *testing.T, path string) bool {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(data)) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ") || strings.Contains(string(stat), ") X ")
}

// deployer starts a process that runs the job; hold keeps it from beginning.
func (b bench) deployer(job command.Job, hold bool) *exec.Cmd {
	b.t.Helper()
	data, err := json.Marshal(map[string]any{
		"Command": job.Command, "Dir": job.Dir, "Root": job.Root, "Digest": job.Digest, "Secrets": job.Secrets, "Grace": job.Grace,
	})
	path := filepath.Join(filepath.Dir(b.root), "job.json")
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err == nil && hold {
		err = os.WriteFile(path+".hold", nil, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "COMMAND_TEST_DEPLOY="+path)
	return cmd
}

// kill kills a process and waits for its end.
func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // it was killed: an error
}

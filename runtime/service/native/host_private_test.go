//go:build linux

package native

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"instar/runtime/plan"
	"instar/runtime/service"
)

// somebody makes a user, and returns who that is in a root of its own.
func (h *host) somebody(name string) plan.Identity {
	h.Helper()
	h.command("userdel", name) // of an earlier run
	h.must("useradd", "--no-create-home", "--user-group", name)
	h.Cleanup(func() {
		h.unload() // or the user is in use
		h.must("userdel", name)
	})
	id := plan.Identity{User: name, Home: filepath.Join(h.dir, "root of "+name)}
	fmt.Sscan(h.must("id", "-u", name), &id.UID)
	fmt.Sscan(h.must("id", "-g", name), &id.GID)
	if err := os.MkdirAll(id.Home, 0o755); err != nil {
		h.Fatal(err)
	}
	os.Chmod(id.Home, 0o750)
	os.Chown(id.Home, id.UID, id.GID)
	return id
}

// TestHostPrivate: what a declaration sets for a program that no script starts
// reaches the program, and nobody else.
func TestHostPrivate(t *testing.T) {
	h := newHost(t)
	id := h.somebody("instar-private")
	const secret = "s3cr3t 'quoted' $HOME \"%n\" \\ \n and\tmore"
	spec := func(name string) service.Spec {
		s := h.spec(name, []string{h.program(), dumpMode, filepath.Join(id.Home, name), "argument"})
		s.Identity, s.Dir = id, id.Home
		s.Env, s.PrivateEnv = append(id.Environ(), "PLAIN=plain-value"), []string{"SECRET=" + secret}
		return s
	}
	a := spec("a")
	// Told to reload, a command has the same variables.
	a.ReloadArgv = []string{"/bin/sh", "-c", `printf %s "$SECRET" >reloaded`}
	a.ReloadDigest = "1"
	job := spec("job")
	job.Argv[1] = dumpOnce
	job.Run, job.Restart, job.Schedule = true, "no", nightly()
	other := h.sh("other", forever)
	h.reconcile(a, job, other)
	h.settled(a, job, other)
	h.fire("job")
	for _, name := range []string{"a", "job"} {
		got := h.dumped(filepath.Join(id.Home, name))
		want := slices.Sorted(slices.Values(append(slices.Clone(a.Env), a.PrivateEnv...)))
		slices.Sort(got.Env)
		if diff := cmp.Diff(want, got.Env); diff != "" || got.UID != id.UID || got.Dir != id.Home || !slices.Equal(got.Args, []string{"argument"}) {
			t.Errorf("%s: %+v\n%s", name, got, diff)
		}
		for _, unit := range []string{h.unit(name), timerName(h.unit(name))} {
			if out, _ := h.command("systemctl", "show", "--all", unit); strings.Contains(out, "s3cr3t") || strings.Contains(out, "plain-value") {
				t.Errorf("systemd shows it:\n%s", out)
			}
			if data, err := os.ReadFile(h.systemd.unitPath(unit)); err == nil && (strings.Contains(string(data), "s3cr3t") || strings.Contains(string(data), "plain-value")) {
				t.Errorf("it stands in %s", unit)
			}
		}
		path := h.systemd.privatePath(h.instance, name)
		if info, err := os.Lstat(path); err != nil || info.Mode() != 0o600 || info.Sys().(*syscall.Stat_t).Uid != 0 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	pid := h.pid("a")
	if line := h.read(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.Contains(line, "s3cr3t") {
		t.Errorf("its command line: %q", line)
	}
	if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/0", pid)); err != nil || to != "/dev/null" {
		t.Errorf("its standard input is %s, %v", to, err)
	}
	a.ReloadDigest = "2"
	h.expect(h.reconcile(a, job, other), "reload a (files it reloads changed)")
	if got := h.read(filepath.Join(id.Home, "reloaded")); got != secret || h.pid("a") != pid {
		t.Errorf("told to reload: %q", got)
	}
	h.settled(a, job, other)

	// Drift, and what is written anew, restart nothing.
	path := h.systemd.privatePath(h.instance, "a")
	for what, do := range map[string]func(){
		"removed": func() { os.Remove(path) },
		"edited":  func() { os.WriteFile(path, []byte("export A=b\n"), 0o600) },
	} {
		do()
		h.expect(h.reconcile(a, job, other), "update a (definition changed)")
		h.settled(a, job, other)
		if h.pid("a") != pid {
			t.Errorf("%s: restarted", what)
		}
	}
	// Killed, it comes back with what is declared.
	os.Remove(filepath.Join(id.Home, "a"))
	syscall.Kill(pid, syscall.SIGKILL)
	if got := h.dumped(filepath.Join(id.Home, "a")); !slices.Contains(got.Env, "SECRET="+secret) {
		t.Errorf("after kill -9: %q", got.Env)
	}

	// No longer declared, it goes; and with the service, whatever a crash left.
	job.PrivateEnv, job.Env = nil, id.Environ()
	job.Digest = "without"
	h.expect(h.reconcile(a, job, other), "reload job (definition changed)")
	if h.exists(h.systemd.privatePath(h.instance, "job")) {
		t.Error("the variables of job are still there")
	}
	h.settled(a, job, other)
	os.WriteFile(path+pendingSuffix, []byte("half of a s3cr3t"), 0o600)
	h.expect(h.reconcile(other), "unload job (no longer declared), unload a (no longer declared)")
	if left, err := filepath.Glob(filepath.Join(h.systemd.privateDir(), h.instance+".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %s, %v", left, err)
	}
}

// TestHostPrivateInterrupted: an apply ends with units written and their files of
// variables not; the next one completes it, and a removal in between finds all.
func TestHostPrivateInterrupted(t *testing.T) {
	h := newHost(t)
	a := h.spec("a", []string{h.program(), dumpMode, filepath.Join(h.dir, "report")})
	a.PrivateEnv = []string{"SECRET=one"}
	h.reconcile(a)
	pid := h.pid("a")
	b := a
	b.PrivateEnv, b.Digest = []string{"SECRET=two"}, "two"
	artifacts, err := h.Render(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, written := range []int{1, 2} {
		for _, artifact := range artifacts[:written] {
			if err := os.WriteFile(artifact.Path, artifact.Data, os.FileMode(artifact.Mode)); err != nil {
				t.Fatal(err)
			}
		}
		if written == 2 {
			h.must("systemctl", "daemon-reload")
		}
		h.expect(service.Reconcile([]service.Spec{b}, h.states(), true), "restart a (definition changed)")
	}
	os.Remove(filepath.Join(h.dir, "report"))
	h.reconcile(b)
	h.settled(b)
	if got := h.dumped(filepath.Join(h.dir, "report")); !slices.Contains(got.Env, "SECRET=two") || h.pid("a") == pid {
		t.Errorf("%+v", got)
	}
	// The file is gone when the service starts: it says so, and comes back with it.
	os.Remove(h.systemd.privatePath(h.instance, "a"))
	syscall.Kill(h.pid("a"), syscall.SIGKILL)
	h.within(5*time.Second, "failure", func() bool {
		return h.states()["a"].Message == "exit status 208 (the file of its environment cannot be read)"
	})
	h.reconcile(b)
	h.until("a", service.Running)
	h.settled(b)
}

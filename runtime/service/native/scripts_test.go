//go:build linux

package native

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shells are those that the scripts must work in, of the ones that are here.
func shells(t *testing.T) []string {
	var found []string
	for _, name := range []string{"dash", "bash", "busybox", "mksh"} {
		if path, err := exec.LookPath(name); err == nil {
			found = append(found, path)
		}
	}
	if len(found) == 0 {
		t.Skip("there is no shell here")
	}
	return found
}

// script runs one of the scripts and returns what the programs that it called
// were called with. Those are fakes: systemctl answers what it is told.
func script(t *testing.T, shell, text, answer string, env []string, args ...string) string {
	t.Helper()
	bin := t.TempDir()
	for name, body := range map[string]string{
		"sleep":     "echo sleep $@ >>" + bin + "/calls",
		"systemctl": "echo systemctl $@ >>" + bin + "/calls\nprintf '%s' '" + answer + "'",
		// once answers what it is told the first time only.
		"once": "echo once $@ >>" + bin + "/calls\n[ $(grep -c once " + bin + "/calls) != 1 ] || printf '%s' '" + answer + "'",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	words := []string{"-c", text, "sh"}
	if strings.HasSuffix(shell, "busybox") {
		words = append([]string{"sh"}, words...)
	}
	cmd := exec.Command(shell, append(words, args...)...)
	cmd.Env = append(env, "PATH="+bin+":/usr/bin:/bin")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%s: %v\n%s", shell, err, out)
	}
	calls, _ := os.ReadFile(filepath.Join(bin, "calls"))
	return strings.TrimSpace(string(calls))
}

func TestStartScript(t *testing.T) {
	for _, shell := range shells(t) {
		for _, c := range []struct {
			before, delay string
			calls, after  string
		}{
			{"", "0", "", "S new r 0\n"},
			{"S new r 0\nQ\n", "0", "", "S new r 0\n"},
			{"S new r 0\nE exited 1 1\n", "0", "", "S new r 1\n"},
			{"S new r 1\nR r2\nE exited 1 2\n", "0", "sleep 1", "S new r 2\n"},
			{"S new r 2\nE killed KILL 3\n", "0", "sleep 2", "S new r 3\n"},
			{"S new r 3\nE exited 1 4\n", "1", "sleep 3", "S new r 4\n"},
			{"S new r 1\nE exited 1 2\n", "1", "", "S new r 2\n"},
			{"S new r 6\nE exited 1 7\n", "0", "sleep 30", "S new r 7\n"},
			{"S new r 9\nE exited 1 9\n", "0", "sleep 30", "S new r 9\n"},
			{"S old r 6\nE exited 1 7\n", "0", "", "S new r 0\n"},    // another definition
			{"S new r 6\nE exited 1 7\nQ\n", "0", "", "S new r 0\n"}, // somebody stopped it meanwhile
			{"S new r 6\n", "0", "", "S new r 0\n"},                  // the machine went down
			{"S new r 6\nE exi", "0", "", "S new r 0\n"},             // while it was written
			{"\x00\x01\nnonsense\nE\n", "0", "", "S new r 0\n"},      // whatever it is
		} {
			path := filepath.Join(t.TempDir(), "a record")
			if c.before != "" {
				if err := os.WriteFile(path, []byte(c.before), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			calls := script(t, shell, startScript, "", nil, path, "new", "r", c.delay)
			after, _ := os.ReadFile(path)
			if calls != c.calls || string(after) != c.after {
				t.Errorf("%s: after %q it called %q and left %q; want %q, %q", shell, c.before, calls, after, c.calls, c.after)
			}
		}
	}
}

func TestStopScript(t *testing.T) {
	now := clockMonotonic().Microseconds()
	show := func(job string, active, started int64) string {
		return fmt.Sprintf("ExecMainStartTimestampMonotonic=%d\nActiveEnterTimestampMonotonic=%d\nJob=%s\n", started, active, job)
	}
	// list is the line of a job, behind what else was asked for.
	list := func(kind string) string { return "77 instar-a\\x2db-c.service " + kind + " running\n" }
	const young, old = 1_000_000, 61_000_000
	for _, shell := range shells(t) {
		for _, c := range []struct {
			name, before, answer string
			after                string
			marked               bool
		}{
			{"by itself", "S d r 0\n", show("", now-young+5, now-young), "S d r 0\nE exited 3 1\n", true},
			{"by itself, newer systemd", "S d r 0\n", show("0", now-young+5, now-young), "S d r 0\nE exited 3 1\n", true},
			{"asked", "S d r 0\n", show("77", now-young+5, now-young), "S d r 0\nQ\n", false},
			{"while starting", "S d r 0\n", show("77", 0, now-young) + list("start"), "S d r 0\nE exited 3 1\n", true},
			{"while starting again", "S d r 2\n", show("77", now-young-9, now-young) + list("start"), "S d r 2\nE exited 3 3\n", true},
			{"asked while starting", "S d r 0\n", show("77", 0, now-young) + list("stop"), "S d r 0\nQ\n", false},
			{"asked to restart while starting", "S d r 0\n", show("77", 0, now-young) + list("restart"), "S d r 0\nQ\n", false},
			{"for the third time", "S d r 2\nR x\n", show("", now-young+5, now-young), "S d r 2\nR x\nE exited 3 3\n", true},
			{"for the hundredth time", "S d r 9\n", show("", now-young+5, now-young), "S d r 9\nE exited 3 9\n", true},
			{"after a good minute", "S d r 9\n", show("", now-old+5, now-old), "S d r 9\nE exited 3 1\n", true},
			{"never started", "", show("", 0, 0), "E exited 3 1\n", true},
			{"systemctl fails", "S d r 0\n", "", "S d r 0\nE exited 3 1\n", true},
		} {
			dir := t.TempDir()
			record, mark := filepath.Join(dir, "a record"), filepath.Join(dir, "a marker.json")
			if c.before != "" {
				if err := os.WriteFile(record, []byte(c.before), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			calls := script(t, shell, stopScript, c.answer, []string{"EXIT_CODE=exited", "EXIT_STATUS=3", "SERVICE_RESULT=exit-code"},
				record, `instar-a\x2db-c.service`, mark, "a-b", "c", "systemctl", "--user")
			want := `systemctl --user show --no-pager -p Job -p ActiveEnterTimestampMonotonic -p ExecMainStartTimestampMonotonic instar-a\x2db-c.service`
			if strings.Contains(c.name, "while starting") {
				want += "\n" + `systemctl --user --no-legend --full list-jobs instar-a\x2db-c.service`
			}
			if calls != want {
				t.Errorf("%s, %s: called %q", shell, c.name, calls)
			}
			after, _ := os.ReadFile(record)
			if string(after) != c.after {
				t.Errorf("%s, %s: left %q, want %q", shell, c.name, after, c.after)
			}
			exit, err := readMarker(mark)
			if c.marked && (err != nil || exit.Instance != "a-b" || exit.Name != "c" || exit.Code != 3 || time.Since(exit.At) > time.Minute) {
				t.Errorf("%s, %s: marker %+v, %v", shell, c.name, exit, err)
			}
			if !c.marked && !os.IsNotExist(err) {
				t.Errorf("%s, %s: a marker: %v", shell, c.name, err)
			}
		}
	}
}

func TestWaitScript(t *testing.T) {
	for _, shell := range shells(t) {
		if got := script(t, shell, waitScript, "ActiveState=failed\n\nActiveState=inactive\n\nActiveState=active\n", nil, "systemctl", "x"); got != "systemctl x" {
			t.Errorf("%s: %q", shell, got)
		}
		for _, onItsWay := range []string{"activating", "deactivating"} {
			got := script(t, shell, waitScript, "ActiveState=active\n\nActiveState="+onItsWay+"\n", nil, "once", "x")
			if got != "once x\nsleep 0.3\nonce x" {
				t.Errorf("%s: %s: %q", shell, onItsWay, got)
			}
		}
	}
}

func TestBecomeScript(t *testing.T) {
	for _, shell := range shells(t) {
		words := []string{"-c", becomeScript, "sh", "/tmp", "/usr/bin/env"}
		if strings.HasSuffix(shell, "busybox") {
			words = append([]string{"sh"}, words...)
		}
		cmd := exec.Command(shell, words...)
		cmd.Env = []string{"A=b c"}
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != "A=b c\n" {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
}

func TestRecord(t *testing.T) {
	for text, want := range map[string]record{
		"":                                 {},
		"S d r 3\n":                        {started: true, digest: "d", reloadDigest: "r"},
		"S d - 0\nR r2\nR r3\n":            {started: true, digest: "d", reloadDigest: "r3"},
		"S d r 0\nE exited 3 1\n":          {started: true, digest: "d", reloadDigest: "r", ended: true, code: "exited", status: "3"},
		"S d r 0\nE exited 3 1\nS e f 1\n": {started: true, digest: "e", reloadDigest: "f"},
		"S d r 0\nE exited 0 1\nX\n":       {started: true, digest: "d", reloadDigest: "r", ended: true, final: true, code: "exited", status: "0"},
		"S d":                              {},
		"S d r 0":                          {}, // the number may go on
		"S d r 0\nR r":                     {started: true, digest: "d", reloadDigest: "r"},
		"S d r 0\nQ\n":                     {started: true, digest: "d", reloadDigest: "r"},
		"\x00\x00\x00\x00":                 {},
	} {
		if got := parseRecord(text); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
	path := filepath.Join(t.TempDir(), "x")
	if err := note(path, "R", "r"); err == nil {
		t.Error("noted for what was never started")
	}
	if r, err := readRecord(path); err != nil || r != (record{}) {
		t.Errorf("%+v %v", r, err)
	}
}

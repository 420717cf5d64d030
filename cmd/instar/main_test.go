package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"instar/runtime/state"
)

var update = flag.Bool("update", false, "rewrite what scripts and generated pages expect")

func TestMain(m *testing.M) {
	becomeWatched()
	hiddenModes() // this binary is instar's child, too
	testscript.Main(m, map[string]func(){"instar": main})
}

// TestScripts runs testdata/script: behaviour, seen through the program. They
// have their own state folder ($WORK/state), their user's name in $ME, a name that no other
// script has in $UNIQUE and, besides testscript's own commands:
//
//	code N PROGRAM ARGS...   the program must exit with N
//	json PATH [VALUE]        the last stdout is one JSON document, with VALUE at PATH;
//	                         "a.0.b" goes into objects and lists, "#" or "count" counts
//	lock NAME, unlock NAME   hold an instance's lock
//	snapshot FOLDER FILE     write all there is of a folder into a file
//	stale PATH PLANNED NOW   instar apply p must exit with 6, change nothing, and tell of
//	                         PATH that it was PLANNED and is NOW (regular expressions)
//	nobody N ARGS...         as code, for instar run by another user than root
//	text FILE SIZE           write a text of many kinds of characters, of that many bytes
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("INSTAR_STATE_DIR", filepath.Join(env.WorkDir, "state"))
			env.Setenv("XDG_DATA_HOME", filepath.Join(env.WorkDir, "data"))
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "xdgstate"))
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			me, err := user.Current()
			if err != nil {
				return err
			}
			env.Setenv("ME", me.Username)
			env.Setenv("INSTAR_INIT", os.Getenv("INSTAR_INIT"))
			unique := fmt.Sprintf("u%06x", rand.N(1<<24))
			env.Setenv("UNIQUE", unique)
			if os.Getenv("INSTAR_INIT") != "" {
				env.Defer(func() { removeInitScripts(unique) })
			}
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each program takes a second to end
			env.Values["locks"] = map[string]func(){}
			env.Values["jobs"] = map[string]*job{}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "initscripts": // may be written: .ci/inits/run says so
				return os.Getenv("INSTAR_INIT") != "", nil
			case "booted": // by an init that runs scripts
				_, ok := scriptedInit()
				return os.Getenv("INSTAR_INIT") != "" && ok, nil
			case "mount":
				return canMount(), nil
			case "hardmemory": // not under the race detector, which needs memory of its own
				return runtime.GOOS == "linux" && !raced, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: scriptCommands(),
	})
}

// removeInitScripts removes what a script that failed has left of an instance.
func removeInitScripts(instance string) {
	scripts, _ := filepath.Glob("/etc/init.d/instar-" + instance + "-*")
	for _, script := range scripts {
		_ = exec.Command(script, "stop").Run() // it may have been cut short
	}
	links, _ := filepath.Glob("/etc/*/*instar-" + instance + "-*")
	more, _ := filepath.Glob("/etc/*/*/instar-" + instance + "-*")
	for _, path := range append(links, more...) {
		_ = os.Remove(path)
	}
}

// scriptPatience is how long tests wait for what must come, on a slow machine
// that has much else to do.
const scriptPatience = 2 * time.Minute

// eventually tries again, less and less often, until try succeeds.
func eventually(ts *testscript.TestScript, what string, try func() error) {
	var err error
	pause := 10 * time.Millisecond
	for start := time.Now(); time.Since(start) < scriptPatience; time.Sleep(pause) {
		if err = try(); err == nil {
			return
		}
		pause = min(pause*5/4, 200*time.Millisecond)
	}
	ts.Fatalf("%s: %v", what, err)
}

func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	commands := map[string]func(*testscript.TestScript, bool, []string){
		"code": scriptCode, "json": scriptJSON, "lock": scriptLock, "unlock": scriptUnlock,
		"snapshot": scriptSnapshot, "nobody": scriptNobody, "text": scriptText, "stale": scriptStale,
	}
	maps.Copy(commands, profileCommands)
	maps.Copy(commands, upCommands)
	return commands
}

func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM ARGS...")
	}
	checkCode(ts, args[0], ts.Exec(args[1], args[2:]...))
}

func checkCode(ts *testscript.TestScript, want string, err error) {
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if n, err := strconv.Atoi(want); err != nil || n != got {
		ts.Fatalf("exit code %d, want %s", got, want)
	}
}

func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: json PATH [VALUE]")
	}
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		ts.Fatalf("stdout is no JSON: %v", err)
	}
	if dec.More() {
		ts.Fatalf("stdout holds more than one document")
	}
	value, ok := lookup(doc, args[0])
	if len(args) == 1 {
		if ok == neg {
			ts.Fatalf("%s: exists: %v", args[0], ok)
		}
		return
	}
	if !ok {
		ts.Fatalf("%s: is not there", args[0])
	}
	if got := textOf(value); (got == args[1]) == neg {
		ts.Fatalf("%s is %s", args[0], got)
	}
}

// lookup returns what stands at a path of a document.
func lookup(doc any, path string) (any, bool) {
	for _, part := range strings.Split(path, ".") {
		switch v := doc.(type) {
		case map[string]any:
			if part == "#" || part == "count" {
				doc = json.Number(strconv.Itoa(len(v)))
				continue
			}
			var ok bool
			if doc, ok = v[part]; !ok {
				return nil, false
			}
		case []any:
			if part == "#" || part == "count" {
				doc = json.Number(strconv.Itoa(len(v)))
				continue
			}
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(v) {
				return nil, false
			}
			doc = v[i]
		default:
			return nil, false
		}
	}
	return doc, true
}

func textOf(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(out.String())
}

func scriptLock(ts *testscript.TestScript, _ bool, args []string) {
	unlock, err := state.Home(ts.Getenv("INSTAR_STATE_DIR")).Instance(args[0]).Lock()
	ts.Check(err)
	ts.Value("locks").(map[string]func())[args[0]] = unlock
	ts.Defer(func() { release(ts, args[0]) })
}

func scriptUnlock(ts *testscript.TestScript, _ bool, args []string) { release(ts, args[0]) }

func release(ts *testscript.TestScript, name string) {
	locks := ts.Value("locks").(map[string]func())
	if unlock := locks[name]; unlock != nil {
		unlock()
	}
	delete(locks, name)
}

func scriptSnapshot(ts *testscript.TestScript, _ bool, args []string) {
	var out strings.Builder
	dir := ts.MkAbs(args[0])
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		content := ""
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = fmt.Sprintf("%x", data)
		case info.Mode()&fs.ModeSymlink != 0:
			content, err = os.Readlink(path)
		}
		fmt.Fprintf(&out, "%s %s %d %s\n", strings.TrimPrefix(path, dir), info.Mode(), info.ModTime().UnixNano(), content)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		out.WriteString("absent\n")
	} else {
		ts.Check(err)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(out.String()), 0o666))
}

// scriptNobody runs instar as a user without rights: nobody when this is root,
// else whoever runs the tests.
func scriptNobody(ts *testscript.TestScript, _ bool, args []string) {
	if os.Geteuid() != 0 {
		checkCode(ts, args[0], ts.Exec("instar", args[1:]...))
		return
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil || runtime.GOOS != "linux" {
		ts.Fatalf("needs setpriv")
	}
	program, err := exec.LookPath("instar")
	ts.Check(err)
	for _, dir := range []string{filepath.Dir(program), ts.Getenv("WORK")} {
		for ; strings.HasPrefix(dir, filepath.Clean(os.TempDir())+"/"); dir = filepath.Dir(dir) {
			ts.Check(os.Chmod(dir, 0o755))
		}
	}
	drop := []string{"--reuid=65534", "--regid=65534", "--clear-groups", program}
	checkCode(ts, args[0], ts.Exec(setpriv, append(drop, args[1:]...)...))
}

func scriptText(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	var text strings.Builder
	for r := rune(1); text.Len() < size; r++ {
		switch {
		case r == 0x7f:
			r = 0xa0
		case r == 0x250:
			r = 0x4e00
		case r == 0x4f00:
			r = 1
		}
		text.WriteRune(r)
	}
	for text.Len() > size { // too long by a part of a character
		short := []rune(text.String())
		text.Reset()
		text.WriteString(string(short[:len(short)-1]))
		text.WriteString(strings.Repeat(".", size-text.Len()))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text.String()), 0o666))
}

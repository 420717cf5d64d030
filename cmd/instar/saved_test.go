package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"instar/runtime/report"
)

// scriptStale applies the plan file p, which does not hold any more.
func scriptStale(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: stale PATH PLANNED NOW")
	}
	before := everything(ts)
	checkCode(ts, "6", ts.Exec("instar", "apply", "p", "--json"))
	var r report.Report
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &r))
	if after := everything(ts); before != after {
		ts.Fatalf("something was changed:\n%s\nbefore:\n%s", after, before)
	}
	if r.Error == nil || len(r.Changes) > 0 || r.Summary.Failed != 1 || r.Summary.Changed > 0 {
		ts.Fatalf("it does not tell that nothing was done")
	}
	for _, d := range r.Differences {
		if d.Path != args[0] {
			continue
		}
		if matches(ts, args[1], d.Planned) && matches(ts, args[2], d.Now) {
			return
		}
		ts.Fatalf("%s: planned %s, now %s", d.Path, d.Planned, d.Now)
	}
	ts.Fatalf("nothing is told of %s", args[0])
}

func matches(ts *testscript.TestScript, pattern, text string) bool {
	ok, err := regexp.MatchString("^"+pattern, text)
	ts.Check(err)
	return ok
}

// everything describes all files of a script, and when they were written.
func everything(ts *testscript.TestScript) string {
	var out strings.Builder
	ts.Check(filepath.WalkDir(ts.Getenv("WORK"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s %s", path, info.Mode())
		if !d.IsDir() { // a lock was made in it and removed
			fmt.Fprintf(&out, " %d %d", info.Size(), info.ModTime().UnixNano())
		}
		out.WriteString("\n")
		return nil
	}))
	return out.String()
}

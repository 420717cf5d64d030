// Package rotate puts log files aside.
//
// A [Job] is what one process of instar does, as the user whose logs they are,
// in the instance's root: each file that holds something becomes its first old
// one, NAME.1; that becomes NAME.2.gz, and so on; what is more than is to be kept
// goes. Whoever writes to the file is told afterwards, by others.
//
// The invariant: no line of a log is lost but with an old file that is one too
// many, wherever the process is killed. And nothing outside the root is touched:
// no symbolic link is followed, and root works only in folders that nobody else can
// write.
package rotate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"

	"instar/runtime/fsys"
)

// Job says what is rotated. It is the one argument of the process, so no secret
// may stand in it.
type Job struct {
	Files []string `json:"files"` // patterns as of path.Match, relative to the root
	Keep  int      `json:"keep"`  // old ones of each file, at least 1
	Then  []string `json:"then,omitempty"`
}

// Arguments returns the arguments with which instar does a job.
func Arguments(job string) []string { return []string{"supervise", "--rotate", job} }

// Main does the job in the folder in which the process was started, and returns
// the exit code: 0, or 1 when something could not be done; the rest was.
func Main(job string, output io.Writer) int {
	say := func(format string, args ...any) { fmt.Fprintf(output, "rotate: "+format+"\n", args...) }
	var j Job
	if err := json.Unmarshal([]byte(job), &j); err != nil || j.Keep < 1 {
		say("bad job %q: %v", job, err)
		return 1
	}
	root, err := fsys.OpenRoot(".")
	if err != nil {
		say("%v", err)
		return 1
	}
	defer root.Close()
	r := rotation{root: root, keep: j.Keep, euid: os.Geteuid(), say: say}
	told := r.all(j.Files)
	if told && len(j.Then) > 0 {
		cmd := exec.Command(j.Then[0], j.Then[1:]...)
		cmd.Stdout, cmd.Stderr = output, output
		r.failed(cmd.Run())
	}
	if r.failures > 0 {
		return 1
	}
	return 0
}

// rotation is a job being done.
type rotation struct {
	root     *fsys.Root
	keep     int
	euid     int // 0: root, who trusts nobody's folders
	say      func(format string, args ...any)
	failures int
	// obsolete are the plain files that were compressed: they go at the end.
	obsolete []string
	// step is called before each change; tests fail there.
	step func() error
}

func (r *rotation) failed(err error) bool {
	if err != nil {
		r.say("%v", err)
		r.failures++
	}
	return err != nil
}

// before is where a test stands in for a crash.
func (r *rotation) before() error {
	if r.step == nil {
		return nil
	}
	return r.step()
}

// all rotates all files that patterns name, and reports whether somebody may still
// write to an old one, and should be told.
func (r *rotation) all(patterns []string) (told bool) {
	seen := map[string]bool{}
	for _, pattern := range patterns {
		names, err := r.find(pattern)
		r.failed(err)
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			if r.failed(r.one(name)) {
				continue
			}
			_, err := fsys.Lstat(r.root, name+".1")
			told = told || err == nil
		}
	}
	r.failed(r.settle())
	return told
}

// find returns the files that a pattern names, sorted. A name without a pattern
// is returned whether it is there or not.
func (r *rotation) find(pattern string) ([]string, error) {
	found := []string{"."}
	parts := strings.Split(pattern, "/")
	for i, part := range parts {
		last := i == len(parts)-1
		if !strings.ContainsAny(part, `*?[\`) {
			for j := range found {
				found[j] = path.Join(found[j], part)
			}
			continue
		}
		var next []string
		for _, folder := range found {
			names, err := r.names(folder)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				if ok, _ := path.Match(part, name); !ok || strings.HasPrefix(name, ".") && !strings.HasPrefix(part, ".") {
					continue
				}
				full := path.Join(folder, name)
				info, err := fsys.Lstat(r.root, full)
				switch {
				case err != nil: // it has just gone
				case last && info.Mode().IsRegular() && !isOld(name), !last && info.IsDir():
					next = append(next, full)
				}
			}
		}
		found = next
	}
	return found, nil
}

// names returns what is in a folder, sorted.
func (r *rotation) names(folder string) ([]string, error) {
	f, err := r.root.Open(folder)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// trusted refuses, to root, what is in a folder that others can write: they could
// have files of their own choice renamed, read and removed.
func (r *rotation) trusted(name string) error {
	if r.euid != 0 {
		return nil
	}
	for folder := path.Dir(name); ; folder = path.Dir(folder) {
		info, err := fsys.Lstat(r.root, folder)
		if err != nil {
			return err
		}
		uid, _, ok := fsys.Owner(info)
		switch {
		case ok && uid != 0:
			return fmt.Errorf("%q is left alone: user %d owns %q, and this is root; name the service whose log it is", name, uid, folder)
		case fsys.Unix(info)&0o022 != 0:
			return fmt.Errorf("%q is left alone: others can write %q, and this is root", name, folder)
		case folder == ".":
			return nil
		}
	}
}

package command_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"instar/runtime/command"
	"instar/runtime/plan"
)

// view is a folder of the disk.
type view struct{ root string }

func (v view) Lstat(path string) (plan.Info, error) {
	info, err := os.Lstat(filepath.Join(v.root, path))
	if err != nil {
		return plan.Info{}, err
	}
	kind := plan.KindSpecial
	switch {
	case info.IsDir():
		kind = plan.KindDir
	case info.Mode().IsRegular():
		kind = plan.KindFile
	case info.Mode()&fs.ModeSymlink != 0:
		kind = plan.KindLink
	}
	return plan.Info{Kind: kind, Size: info.Size()}, nil
}

func (v view) Stat(path string) (plan.Info, error)  { return v.Lstat(path) }
func (v view) ReadFile(path string) ([]byte, error) { return os.ReadFile(filepath.Join(v.root, path)) }
func (v view) Readlink(path string) (string, error) { return os.Readlink(filepath.Join(v.root, path)) }

func (v view) ReadDir(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(v.root, path))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func TestDecide(t *testing.T) {
	began := func(status command.Status, clean bool) *command.Record {
		return &command.Record{Name: "c", Status: status, Digest: "old", Reason: "exit status 1", Wipe: map[string]bool{"data": clean}}
	}
	success := &command.Record{Name: "c", Status: command.Succeeded, Digest: "old", Wipe: map[string]bool{"data": true}}
	adopted := &command.Record{Name: "c", Status: command.Adopted, Digest: "old"}
	type result = command.Decision
	tests := []struct {
		name    string
		changed bool
		creates string // space separated
		wipe    string
		there   string // files and, with a slash at the end, folders
		rec     *command.Record
		digest  string
		want    result
		bad     string // the path of a NotEmptyError
	}{
		{name: "never run", want: result{Run: true, Why: "never run"}},
		{name: "changed, never run", changed: true, want: result{Run: true, Why: "never run"}},
		{name: "never run, creates missing", creates: "a b", there: "a", want: result{Run: true, Why: "b does not exist"}},
		{name: "never run, all missing", creates: "a b", want: result{Run: true, Why: "a, b do not exist"}},
		{name: "never run, creates there", creates: "a b/", there: "a b/", want: result{}},
		{name: "changed, never run, creates there", changed: true, creates: "a", there: "a", want: result{Adopt: true}},

		{name: "succeeded", rec: success, want: result{}},
		{name: "succeeded, other digest", rec: success, digest: "new", want: result{}},
		{name: "succeeded, creates there", rec: success, creates: "a", there: "a", want: result{}},
		{name: "succeeded, creates lost", rec: success, creates: "a", want: result{Run: true, Why: "a does not exist"}},
		{name: "changed, succeeded", changed: true, rec: success, want: result{}},
		{name: "changed, other digest", changed: true, rec: success, digest: "new", creates: "a", there: "a",
			want: result{Run: true, Why: "its definition, or a file that it mentions, changed"}},
		{name: "adopted", changed: true, rec: adopted, creates: "a", there: "a", want: result{}},
		{name: "adopted, other digest", changed: true, rec: adopted, digest: "new", creates: "a", there: "a",
			want: result{Run: true, Why: "its definition, or a file that it mentions, changed"}},
		{name: "adopted, lost", rec: adopted, creates: "a", want: result{Run: true, Why: "a does not exist"}},

		{name: "failed", rec: began(command.Failed, false), want: result{Run: true, Why: "the last attempt failed: exit status 1"}},
		{name: "failed, creates there", rec: began(command.Failed, false), creates: "a", there: "a",
			want: result{Run: true, Why: "the last attempt failed: exit status 1"}},
		{name: "interrupted", rec: began(command.Interrupted, false), want: result{Run: true, Why: "the last attempt was interrupted"}},
		{name: "started", rec: began(command.Started, false), want: result{Run: true, Why: "the last attempt was interrupted"}},

		{name: "wipe missing", wipe: "data", want: result{Run: true, Why: "never run"}},
		{name: "wipe empty folder", wipe: "data", there: "data/", want: result{Run: true, Why: "never run"}},
		{name: "wipe not empty, never run", wipe: "data", there: "data/x", bad: "data"},
		{name: "wipe is a file with content, never run", wipe: "data", there: "data=content", bad: "data"},
		{name: "wipe is an empty file", wipe: "data", there: "data", want: result{Run: true, Why: "never run"}},
		{name: "wipe after failure that began clean", wipe: "data", there: "data/x", rec: began(command.Failed, true),
			want: result{Run: true, Why: "the last attempt failed: exit status 1", Wipe: []string{"data"}}},
		{name: "wipe after interruption that began clean", wipe: "data", there: "data/x", rec: began(command.Started, true),
			want: result{Run: true, Why: "the last attempt was interrupted", Wipe: []string{"data"}}},
		{name: "nothing to wipe after failure", wipe: "data", there: "data/", rec: began(command.Failed, true),
			want: result{Run: true, Why: "the last attempt failed: exit status 1"}},
		{name: "failure that did not begin clean", wipe: "data", there: "data/x", rec: began(command.Failed, false), bad: "data"},
		{name: "failure that knew nothing of the path", wipe: "other", there: "other/x", rec: began(command.Failed, true), bad: "other"},
		{name: "lost after success", wipe: "data", creates: "data/made", there: "data/x", rec: success, bad: "data"},
		{name: "changed after success", changed: true, digest: "new", wipe: "data", there: "data/x", rec: success, bad: "data"},
		{name: "lost after adoption", wipe: "data", creates: "data/made", there: "data/x", rec: adopted, bad: "data"},
		{name: "not empty, but nothing to do", wipe: "data", creates: "data/made", there: "data/made", want: result{}},
		{name: "one of two", wipe: "data other", there: "data/x other/x", rec: began(command.Failed, true), bad: "other"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			for _, path := range strings.Fields(test.there) {
				put(t, filepath.Join(root, filepath.Dir(path+"x")), path, root)
			}
			cmd := &plan.Command{Name: "c", Changed: test.changed, Creates: strings.Fields(strings.ReplaceAll(test.creates, "/ ", " ")), Wipe: strings.Fields(test.wipe)}
			digest := test.digest
			if digest == "" {
				digest = "old"
			}
			got, err := command.Decide(cmd, digest, test.rec, view{root})
			var notEmpty *command.NotEmptyError
			if test.bad != "" {
				if !errors.As(err, &notEmpty) || notEmpty.Path != test.bad || !strings.Contains(err.Error(), test.bad+" is not empty") || notEmpty.Hint() == "" {
					t.Errorf("decision %+v, error %v", got, err)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
}

// put makes the folder parent, and in it what path says.
func put(t *testing.T, parent, path, root string) {
	t.Helper()
	if err := os.MkdirAll(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, "/") {
		return
	}
	name, content, _ := strings.Cut(path, "=")
	if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// broken is a view that can't be read.
type broken struct{ view }

func (broken) Lstat(string) (plan.Info, error) { return plan.Info{}, fs.ErrPermission }

func TestDecideUnreadable(t *testing.T) {
	for _, cmd := range []*plan.Command{{Name: "c", Creates: []string{"a"}}, {Name: "c", Wipe: []string{"a"}}} {
		if d, err := command.Decide(cmd, "", nil, broken{}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("decision %+v, error %v", d, err)
		}
	}
}

func TestAdopt(t *testing.T) {
	b := newBench(t)
	cmd := &plan.Command{Name: "c", Changed: true, Creates: []string{"a"}}
	if _, err := command.Adopt(b.dir, b.root, cmd, "d1"); err == nil || !strings.Contains(err.Error(), "a does not exist") {
		t.Errorf("error %v", err)
	}
	if err := os.WriteFile(b.path("a"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := command.Adopt(b.dir, b.root, cmd, "d1"); err != nil {
		t.Fatal(err)
	}
	rec, err := command.Load(b.dir, "c")
	if err != nil || rec.Status != command.Adopted || rec.Digest != "d1" || !strings.HasPrefix(rec.Creates["a"], "sha256:") {
		t.Errorf("record %+v, %v", rec, err)
	}
}

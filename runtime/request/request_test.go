package request

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"instar/runtime/state"
)

// Settings survive the way through a request's file, byte for byte.
func TestSettingsRoundTrip(t *testing.T) {
	text, bytes := "a \"b\"\n<&>", "\xff\x00"
	home := state.Home(t.TempDir())
	for _, want := range []state.Settings{
		{Profile: "/p", Root: "/r", Release: "/usr"},
		{Profile: "/p/x.star", Root: "/r", Release: "/usr", User: "u", Manager: "none", Wait: 90 * time.Second,
			Params: map[string]state.Given{"t": {Text: &text}, "b": {Text: &bytes}, "l": {Value: []any{"x", true, nil}}, "e": {Value: nil}}},
		{Profile: "/p", Root: "/r", Release: "/usr", Wait: -1},
	} {
		digest, err := Write(home, Of("web", want, "stopped"))
		if err != nil {
			t.Fatal(err)
		}
		r, same, err := Read(home, "web")
		if err != nil || same != digest || r.State != "stopped" {
			t.Fatalf("%+v, %v", r, err)
		}
		if got := r.Settings(); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	info, err := os.Stat(Path(home, "web"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestRetention(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "7d": 7 * 24 * time.Hour, "36h": 36 * time.Hour, "0d": 0, "90m": 90 * time.Minute} {
		if got, err := ParseRetention(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"7", "d", "-1d", "-1h", "1.5d", "99999999999d", "week"} {
		if got, err := ParseRetention(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

// A copy holds what belongs to the profile and nothing else, and stays as it was
// when the source changes.
func TestCopy(t *testing.T) {
	dir := t.TempDir()
	source, folder := filepath.Join(dir, "web"), state.Folder(filepath.Join(dir, "web", "state", "instances", "web"))
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(source, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode)); err != nil {
			t.Fatal(err)
		}
	}
	write("instance.star", "1", 0o644)
	write("lib/x.sh", "x", 0o755)
	write(".git/HEAD", "x", 0o644)
	if err := errors.Join(folder.Make(), os.Symlink("../../etc/passwd", filepath.Join(source, "link"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Current(folder); !errors.Is(err, ErrNoCopy) {
		t.Errorf("current: %v", err)
	}
	skip := filepath.Join(dir, "web", "state")
	if _, err := Store(folder, source, skip); err != nil {
		t.Fatal(err)
	}
	write("instance.star", "2", 0o644)
	c, err := Current(folder)
	if err != nil || c.Source != source {
		t.Fatalf("%+v, %v", c, err)
	}
	if data, err := os.ReadFile(filepath.Join(c.Path(), "instance.star")); string(data) != "1" {
		t.Errorf("%q, %v", data, err)
	}
	if info, err := os.Stat(filepath.Join(c.Path(), "lib", "x.sh")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", info, err)
	}
	if target, err := os.Readlink(filepath.Join(c.Path(), "link")); target != "../../etc/passwd" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
	for _, name := range []string{".git", "state"} {
		if _, err := os.Lstat(filepath.Join(c.Path(), name)); !os.IsNotExist(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	seen, err := See(source, skip)
	if err != nil || seen == c.Seen {
		t.Errorf("the change is not seen: %v", err)
	}
	next, err := Stage(folder, source, skip)
	if err != nil || next.Digest == c.Digest {
		t.Fatalf("%+v, %v", next, err)
	}
	if now, _ := Current(folder); now.Digest != c.Digest {
		t.Error("what is staged is run")
	}
	if err := next.Use(); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * staged)
	if err := os.Chtimes(c.Path(), old, old); err != nil {
		t.Fatal(err)
	}
	next.Prune()
	if _, err := os.Lstat(c.Path()); !os.IsNotExist(err) {
		t.Errorf("the old copy: %v", err)
	}
	if now, err := Current(folder); err != nil || now.Digest != next.Digest {
		t.Errorf("%+v, %v", now, err)
	}
}

// Of a profile in one file, the entry is that file.
func TestCopyOfAFile(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "p", "x.star")
	if err := errors.Join(os.Mkdir(filepath.Dir(source), 0o755), os.WriteFile(source, []byte("1"), 0o644)); err != nil {
		t.Fatal(err)
	}
	c, err := Store(state.Folder(filepath.Join(dir, "web")), source)
	if err != nil || filepath.Base(c.Path()) != "x.star" {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := os.Stat(c.Path()); err != nil {
		t.Error(err)
	}
}

// Root follows what root alone can write; a user what that user, or root, can.
func TestTrust(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files to others")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Skip(err)
	}
	root, user := Trust{0}, Trust{65534}
	if err := root.Way(home); err != nil {
		t.Skipf("needs a home that only root can write: %v", err)
	}
	base, err := os.MkdirTemp(home, ".instar-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	dir := filepath.Join(base, "a", "web")
	entry, link := filepath.Join(dir, "instance.star"), filepath.Join(base, "link")
	reset := func() {
		t.Helper()
		err := errors.Join(os.RemoveAll(filepath.Join(base, "a")), os.RemoveAll(link), os.MkdirAll(filepath.Join(dir, "lib"), 0o755),
			os.WriteFile(entry, nil, 0o644), os.WriteFile(filepath.Join(dir, "lib", "x.star"), nil, 0o644), os.Symlink("a/web", link))
		if err != nil {
			t.Fatal(err)
		}
	}
	for what, c := range map[string]struct {
		spoil      func() error
		root, user bool
	}{
		"as it is":         {func() error { return nil }, true, true},
		"the user's file":  {func() error { return os.Chown(entry, 65534, -1) }, false, true},
		"the user's way":   {func() error { return os.Chown(filepath.Join(base, "a"), 65534, -1) }, false, true},
		"the user's link":  {func() error { return os.Lchown(link, 65534, -1) }, false, true},
		"another's file":   {func() error { return os.Chown(entry, 12345, -1) }, false, false},
		"another's module": {func() error { return os.Chown(filepath.Join(dir, "lib", "x.star"), 12345, -1) }, false, false},
		"a group's file":   {func() error { return os.Chmod(entry, 0o664) }, false, false},
		"a group's folder": {func() error { return os.Chmod(filepath.Join(dir, "lib"), 0o775) }, false, false},
		"everybody's way":  {func() error { return os.Chmod(filepath.Join(base, "a"), os.ModeSticky|0o777) }, false, false},
		"a link to /tmp": {func() error {
			return errors.Join(os.RemoveAll(dir), os.Mkdir("/tmp/"+filepath.Base(base), 0o755), os.WriteFile("/tmp/"+filepath.Base(base)+"/instance.star", nil, 0o644),
				os.Symlink("/tmp/"+filepath.Base(base), dir))
		}, false, false},
	} {
		reset()
		if err := c.spoil(); err != nil {
			t.Fatal(err)
		}
		if err := root.Profile(link); (err == nil) != c.root || err != nil && !Untrusted(err) {
			t.Errorf("%s: root: %v", what, err)
		}
		if err := user.Profile(link); (err == nil) != c.user {
			t.Errorf("%s: the user: %v", what, err)
		}
	}
	os.RemoveAll("/tmp/" + filepath.Base(base))
	if err := root.Profile("/nowhere/at/all"); err == nil || !strings.Contains(err.Error(), "cannot find") {
		t.Errorf("nowhere: %v", err)
	}
}

package apply

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"instar/runtime/fsys"
	"instar/runtime/plan"
)

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// edits compares a plan of r with an empty root, performs what is needed, and
// returns it as "op path".
func edits(t *testing.T, disk *fsys.Overlay, r plan.Resource) []string {
	t.Helper()
	v := NewView(root, disk)
	c, err := Compare(&plan.Plan{Resources: []plan.Resource{r}}, nil, v)
	if err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for _, e := range c.Steps[0].Edits {
		if _, err := Do(disk, v, e); err != nil {
			t.Fatal(err)
		}
		list = append(list, string(e.Op)+" "+e.Path)
	}
	return list
}

func TestCopyOfAFolder(t *testing.T) {
	src := t.TempDir()
	writeFile(t, src+"/bin/tool", "#!/bin/sh\n")
	if err := os.Chmod(src+"/bin/tool", 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, src+"/readme", "hello")
	if err := os.Symlink("bin/tool", src+"/link"); err != nil {
		t.Fatal(err)
	}
	disk := fsys.NewOverlay(nil).NoFollow()
	m := at("opt")
	m.Mode = plan.KeepMode
	c := &plan.Copy{Meta: m, From: src}
	want := []string{"mkdir opt", "mkdir opt/bin", "copy opt/bin/tool", "link opt/link", "copy opt/readme"}
	if diff := cmp.Diff(want, edits(t, disk, c)); diff != "" {
		t.Errorf("first (-want +got):\n%s", diff)
	}
	if fi, err := disk.Stat("opt/bin/tool"); err != nil || fsys.Unix(fi) != 0o755 {
		t.Errorf("the mode of the source is lost: %v, %v", fi, err)
	}
	if again := edits(t, disk, c); len(again) > 0 {
		t.Errorf("a second time: %v", again)
	}
	writeFile(t, src+"/readme", "hullo") // of the same size
	if diff := cmp.Diff([]string{"copy opt/readme"}, edits(t, disk, c)); diff != "" {
		t.Errorf("an edited source (-want +got):\n%s", diff)
	}
}

func TestEmpty(t *testing.T) {
	disk := fsys.NewOverlay(nil).NoFollow()
	v := NewView(root, disk)
	if err := Empty(disk, v, "data"); err != nil {
		t.Errorf("what is missing: %v", err)
	}
	for _, name := range []string{"data/deep/er", "file"} {
		if err := disk.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := fsys.WriteFile(disk, name, []byte("x"), 0o640, -1, -1); err != nil {
			t.Fatal(err)
		}
	}
	for name, stays := range map[string]bool{"data": true, "file": false} {
		if err := Empty(disk, v, name); err != nil {
			t.Error(err)
		}
		_, ok, err := plan.Lookup(v, name)
		if err != nil || ok != stays {
			t.Errorf("%s: stands there %v, %v", name, ok, err)
		}
	}
	if names, err := v.ReadDir("data"); err != nil || len(names) > 0 {
		t.Errorf("data holds %v, %v", names, err)
	}
}

func TestViewKeepsInsideAndOutsideApart(t *testing.T) {
	outside := t.TempDir()
	writeFile(t, outside+"/f", "outside")
	if err := os.Symlink(outside+"/f", outside+"/l"); err != nil {
		t.Fatal(err)
	}
	disk := fsys.NewOverlay(nil).NoFollow()
	v := NewView(root, disk)
	if err := fsys.WriteFile(disk, "in", []byte("inside"), 0o640, -1, -1); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"in": "inside", root + "/in": "inside", outside + "/f": "outside", outside + "/l": "outside"} {
		if got, err := v.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if info, err := v.Lstat(outside + "/l"); err != nil || info.Kind != plan.KindLink {
		t.Errorf("Lstat of a link: %v, %v", info, err)
	}
	if info, err := v.Stat(outside + "/l"); err != nil || info.Kind != plan.KindFile {
		t.Errorf("Stat of a link: %v, %v", info, err)
	}
	saw := v.Outside()
	if saw[outside+"/f"] != Hash([]byte("outside")) {
		t.Errorf("what was read outside is not noted: %v", saw)
	}
	if _, noted := saw[root+"/in"]; noted {
		t.Error("what was read inside is noted as outside")
	}
}

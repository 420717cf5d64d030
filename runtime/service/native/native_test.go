package native

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDetectLinux(t *testing.T) {
	for _, c := range []struct {
		comm    string
		folders string
		want    string
	}{
		{"systemd", "run/systemd/system etc/init.d etc/rc2.d", "systemd"},
		{"systemd", "etc/init.d etc/rc2.d", "none"},                        // not booted: something merely called so
		{"process_api", "run/systemd/system etc/init.d etc/rc2.d", "none"}, // installed, not running
		{"init", "run/openrc etc/init.d", "openrc"},
		{"openrc-init", "run/openrc", "openrc"},
		{"init", "etc/init.d etc/rc2.d", "sysv"},
		{"init", "etc/init.d etc/rc.d/rc2.d", "sysv"},
		{"init", "etc/init.d", "none"}, // busybox
		{"docker-init", "etc/init.d etc/rc2.d", "none"},
		{"", "", "none"},
	} {
		root := t.TempDir()
		for _, dir := range append(strings.Fields(c.folders), "proc/1") {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if c.comm != "" {
			if err := os.WriteFile(filepath.Join(root, "proc/1/comm"), []byte(c.comm+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := detectLinux(root); got != c.want {
			t.Errorf("%q with %q: %s, want %s", c.comm, c.folders, got, c.want)
		}
	}
}

func TestNewSaysWhatItCannot(t *testing.T) {
	for platform, want := range map[string]string{
		"none": "no service manager", "launchd": "path of instar is not known", "windows": "this is another system", "upstart": `called "upstart"`,
	} {
		if _, err := New(platform, Options{StateDir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", platform, err)
		}
	}
	if _, err := New("systemd", Options{StateDir: "x"}); err == nil || !strings.Contains(err.Error(), "not absolute") {
		t.Errorf("a relative state folder: %v", err)
	}
}

func TestUnsupported(t *testing.T) {
	spec := sample()
	if got := missingControllers("cpuset cpu io memory pids\n", spec); len(got) > 0 {
		t.Errorf("all are there: %q", got)
	}
	if got := missingControllers("pids\n", spec); len(got) != 2 || !strings.Contains(got[0], "memory=1073741824") || !strings.Contains(got[1], "cpu=0.5") {
		t.Errorf("%q", got)
	}
	spec.Limits.CPU, spec.Limits.Memory = 0, 0
	if got := missingControllers("", spec); len(got) > 0 {
		t.Errorf("no limits: %q", got)
	}
}

func TestHint(t *testing.T) {
	old := lingerDir
	defer func() { lingerDir = old }()
	lingerDir = t.TempDir()
	m := paper(t)
	if got := Hint(m); got != "" {
		t.Errorf("the system's: %q", got)
	}
	m.user, m.userName = true, "joe"
	if got := Hint(m); !strings.Contains(got, "when joe logs out: loginctl enable-linger joe keeps") {
		t.Errorf("%q", got)
	}
	if err := os.WriteFile(filepath.Join(lingerDir, "joe"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Hint(m); got != "" {
		t.Errorf("joe lingers: %q", got)
	}
}

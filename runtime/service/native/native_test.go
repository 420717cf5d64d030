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
		"none": "no service manager", "openrc": "under openrc yet", "sysv": "under sysv yet", "launchd": "under launchd yet", "windows": "under windows yet", "upstart": `called "upstart"`,
	} {
		if _, err := New(platform, Options{StateDir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", platform, err)
		}
	}
	if _, err := New("systemd", Options{StateDir: "x"}); err == nil || !strings.Contains(err.Error(), "not absolute") {
		t.Errorf("a relative state folder: %v", err)
	}
}

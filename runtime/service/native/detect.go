package native

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"

	kardianos "github.com/kardianos/service"
)

// Detect names the service manager that runs this machine: "systemd",
// "openrc", "sysv", "launchd", "windows", or "none". Having one installed is
// not enough: it must be what the machine was booted with.
func Detect() string {
	if runtime.GOOS == "linux" {
		return detectLinux("/")
	}
	for _, system := range kardianos.AvailableSystems() {
		name, known := kardianosNames[system.String()]
		if known && system.Detect() {
			return name
		}
	}
	return "none"
}

// kardianosNames translates. On Linux the library is not asked: it takes a
// machine for SysV when it finds nothing else, and for OpenRC when that is
// merely installed.
var kardianosNames = map[string]string{
	"darwin-launchd":  "launchd",
	"windows-service": "windows",
}

// detectLinux looks at what process 1 is, and at the traces that each manager
// leaves when it boots, below root.
func detectLinux(root string) string {
	comm, err := os.ReadFile(filepath.Join(root, "proc/1/comm"))
	if err != nil {
		return "none"
	}
	switch init := strings.TrimSpace(string(comm)); {
	case init == "systemd" && isDir(root, "run/systemd/system"):
		return "systemd"
	case (init == "init" || init == "openrc-init") && isDir(root, "run/openrc"):
		return "openrc"
	case init == "init" && isDir(root, "etc/init.d") && (isDir(root, "etc/rc2.d") || isDir(root, "etc/rc.d/rc2.d")):
		return "sysv"
	default:
		return "none"
	}
}

func isDir(elem ...string) bool {
	info, err := os.Stat(filepath.Join(elem...))
	return err == nil && info.IsDir()
}

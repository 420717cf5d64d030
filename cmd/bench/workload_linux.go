package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A unit is a folder, a file rendered from a template with five variables, and a
// wrapper. The profile declares n of them; level is a parameter of the first one
// alone, so that another value changes one file.
const (
	unitFolder  = "srv/unit-%d"
	confName    = "app.conf"
	wrapperName = "run"
	confMode    = 0o640
	wrapperMode = 0o755
	folderMode  = 0o750
)

const profileText = `"""Units: a folder, a rendered file and a wrapper each."""

n = param("n", 10)
level = param("level", "info")

for i in range(n):
    dir = mkdir("srv/unit-%d" % i)
    conf = template(dir / "app.conf", source = "app.conf.tmpl", vars = {
        "name": "unit-%d" % i,
        "port": 10000 + i,
        "dir": dir,
        "level": level if i == 0 else "info",
        "workers": 4,
    })
    wrapper(dir / "run", ["/bin/true", conf], mode = 0o755)
`

// templateText renders to about 400 bytes.
const templateText = `# Configuration of {{.name}}: made by the deployer, changes are undone.
[server]
name = {{.name}}
listen = 127.0.0.1:{{.port}}
workers = {{.workers}}
keepalive_timeout = 65
client_max_body_size = 16m

[storage]
data = {{.dir}}/data
temporary = {{.dir}}/tmp
pid_file = {{.dir}}/app.pid

[log]
level = {{.level}}
file = {{.dir}}/app.log
format = combined
rotate = daily
`

// vars are the variables of unit i below the absolute folder root.
func vars(root string, i int, level string) map[string]any {
	if i > 0 {
		level = "info"
	}
	return map[string]any{
		"name":    "unit-" + strconv.Itoa(i),
		"port":    10000 + i,
		"dir":     filepath.Join(root, fmt.Sprintf(unitFolder, i)),
		"level":   level,
		"workers": 4,
	}
}

// wrapperText is what `wrapper` writes for the unit in dir.
func wrapperText(root, dir string) string {
	return "#!/bin/sh\n# Made by instar: changes are undone.\ncd '" + root + "' || exit 1\n" +
		"exec '/bin/true' '" + dir + "/" + confName + "' \"$@\"\n"
}

// writeProfile puts the profile into a new folder.
func writeProfile(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "instance.star"), []byte(profileText), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, confName+".tmpl"), []byte(templateText), 0o644)
}

// plainTemplate is the template in the syntax of another tool: to returns what
// stands for a variable.
func plainTemplate(to func(name string) string) string {
	text := templateText
	for _, name := range []string{"name", "port", "dir", "level", "workers"} {
		text = strings.ReplaceAll(text, "{{."+name+"}}", to(name))
	}
	return text
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// benchUnits is a profile of units: a folder, a rendered file and a wrapper each.
const benchUnits = `
n = param("n", 10)
level = param("level", "info")
for i in range(n):
    dir = mkdir("srv/unit-%d" % i)
    conf = template(dir / "app.conf", text = text, vars = {
        "name": "unit-%d" % i, "port": 10000 + i, "dir": dir, "level": level if i == 0 else "info", "workers": 4})
    wrapper(dir / "run", ["/bin/true", conf], mode = 0o755)
`

// benchTemplate renders to about 400 bytes.
const benchTemplate = "text = \"\"\"# {{.name}}\nname = {{.name}}\nport = {{.port}}\nworkers = {{.workers}}\ndata = {{.dir}}/data\n" +
	"pid = {{.dir}}/pid\nlog = {{.dir}}/log\nlevel = {{.level}}\nfiller = ................................................" +
	"....................................................................................................................\n\"\"\"\n"

// BenchmarkApply converges 10,000 units within this process, for profiles:
// go test ./cmd/instar -run '^$' -bench Apply/first -cpuprofile FILE. What a user
// waits for, `make bench` measures.
func BenchmarkApply(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	stdout, stderr := os.Stdout, os.Stderr
	defer func() { os.Stdout, os.Stderr = stdout, stderr }()
	os.Stdout, os.Stderr = null, null

	dir := b.TempDir()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		if dir, err = os.MkdirTemp("/dev/shm", "instar-bench-"); err != nil {
			b.Fatal(err)
		}
		defer os.RemoveAll(dir)
	}
	profile := filepath.Join(dir, "bench.star")
	if err := os.WriteFile(profile, []byte(benchTemplate+benchUnits), 0o600); err != nil {
		b.Fatal(err)
	}
	converge := func(b *testing.B, place, verb string, args ...string) {
		b.Helper()
		place = filepath.Join(dir, place)
		args = append([]string{verb, profile, "--name", "bench", "--root", place + ".root", "--state-dir", place + ".state",
			"--manager", "none", "--set", "n=10000"}, args...)
		if code := run(args); code != exitOK {
			b.Fatalf("instar %v: exit code %d", args, code)
		}
	}
	turn := 0
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			converge(b, fmt.Sprint("first", turn), "apply")
			turn++
		}
	})
	converge(b, "same", "apply")
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			converge(b, "same", "apply")
		}
	})
	b.Run("changed", func(b *testing.B) {
		for b.Loop() {
			converge(b, "same", "apply", "--set", fmt.Sprint("level=", turn))
			turn++
		}
	})
	b.Run("plan", func(b *testing.B) {
		for b.Loop() {
			converge(b, "same", "plan", "--set", "level=other")
		}
	})
}

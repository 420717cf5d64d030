package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkStart tells what it costs to start instar, against a program of Go
// that does nothing: `instar version` must start in milliseconds.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	build := func(name, source string) string {
		program := filepath.Join(dir, name)
		cmd := exec.Command("go", "build", "-trimpath", "-o", program, source)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		return program
	}
	hello := filepath.Join(dir, "hello.go")
	if err := os.WriteFile(hello, []byte("package main\n\nfunc main() { println() }\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, p := range []struct {
		name, program string
		args          []string
	}{
		{"hello", build("hello", hello), nil},
		{"version", build("instar", "."), []string{"version"}},
	} {
		b.Run(p.name, func(b *testing.B) {
			for b.Loop() {
				if err := exec.Command(p.program, p.args...).Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package supervise

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// masked hides the word "secret".
func masked(line []byte) []byte {
	return bytes.ReplaceAll(line, []byte("secret"), []byte("******"))
}

func newLog(dir string, mask func([]byte) []byte) *logFile {
	return &logFile{path: filepath.Join(dir, "a.log"), size: 10 << 20, keep: 3, mask: func() func([]byte) []byte { return mask }}
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLogRotates(t *testing.T) {
	dir := t.TempDir()
	l := newLog(dir, nil)
	l.size = 100
	w := l.lines()
	for i := range 50 {
		fmt.Fprintf(w, "line %03d of eighteen\n", i) // 21 bytes: 4 to a file
	}
	l.close()
	for name, want := range map[string]string{"a.log": "048", "a.log.1": "044", "a.log.2": "040", "a.log.3": "036"} {
		if text := read(t, filepath.Join(dir, name)); !strings.HasPrefix(text, "line "+want) || len(text) > 100 {
			t.Errorf("%s begins %.10q, has %d bytes", name, text, len(text))
		}
	}
	if names, _ := os.ReadDir(dir); len(names) != 4 {
		t.Errorf("%d files are kept", len(names))
	}
	again := newLog(dir, nil) // goes on where the file ends
	again.size = 100
	fmt.Fprintf(again.lines(), "more\n")
	again.close()
	if text := read(t, again.path); !strings.HasPrefix(text, "line 048") || !strings.HasSuffix(text, "\nmore\n") {
		t.Errorf("after reopening: %q", text)
	}
}

func TestLogIsPrivateAndFollowsNoLink(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := makeLogDir(dir); err != nil {
		t.Fatal(err)
	}
	l := newLog(dir, nil)
	fmt.Fprintln(l.lines(), "x")
	l.close()
	d, _ := os.Stat(dir)
	f, err := os.Stat(l.path)
	if err != nil || f.Mode().Perm() != 0o600 || d.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v, %v", d.Mode(), f.Mode(), err)
	}
	victim := filepath.Join(t.TempDir(), "victim")
	os.WriteFile(victim, []byte("ours"), 0o644)
	os.Remove(l.path)
	if err := os.Symlink(victim, l.path); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(l.lines(), "x")
	l.close()
	if text := read(t, victim); text != "ours" {
		t.Errorf("written through a link: %q", text)
	}
}

func TestLongLineIsNotCutWithinASecret(t *testing.T) {
	for before := range len("secret") + 2 {
		l := newLog(t.TempDir(), masked)
		fmt.Fprintf(l.lines(), "%s\n", strings.Repeat("y", maxLine-before)+"secret"+strings.Repeat("y", lookAhead+10))
		l.close()
		if text := read(t, l.path); strings.Count(text, "*") != len("secret") || strings.Count(text, "\n") != 2 {
			t.Errorf("%d bytes before the cut: %d lines, %d bytes masked", before, strings.Count(text, "\n"), strings.Count(text, "*"))
		}
	}
}

// TestLogMasksWhateverThePieces: however the output is cut into writes, no
// secret gets through, and nothing else is lost but the cutting of long lines.
func TestLogMasksWhateverThePieces(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		for range rapid.IntRange(0, 6).Draw(t, "parts") {
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				text.WriteString("secret")
			case 1:
				text.WriteString("\n")
			case 2:
				text.WriteString(strings.Repeat("y", rapid.SampledFrom([]int{1, 7, 8190, maxLine - 3, maxLine + lookAhead}).Draw(t, "n")))
			case 3:
				text.WriteString(strings.Repeat("secret", rapid.SampledFrom([]int{2, 100}).Draw(t, "n")))
			}
		}
		l := newLog(dir, masked)
		os.Remove(l.path)
		w := l.lines()
		for rest := text.String(); rest != ""; {
			n := min(len(rest), rapid.SampledFrom([]int{1, 5, 8192, 70000}).Draw(t, "piece"))
			if n == 1 {
				n = min(len(rest), 3)
			}
			w.Write([]byte(rest[:n]))
			rest = rest[n:]
			if len(rest) > 10000 {
				w.Write([]byte(rest[:9000]))
				rest = rest[9000:]
			}
		}
		w.Flush()
		l.close()
		got, _ := os.ReadFile(l.path)
		if bytes.Contains(bytes.ReplaceAll(got, []byte("\n"), nil), []byte("secret")) {
			t.Fatalf("a secret got through")
		}
		want := strings.ReplaceAll(strings.ReplaceAll(text.String(), "secret", "******"), "\n", "")
		if strings.ReplaceAll(string(got), "\n", "") != want {
			t.Fatalf("output was altered")
		}
		for line := range strings.SplitSeq(string(got), "\n") {
			if len(line) > maxLine+lookAhead {
				t.Fatalf("a line has %d bytes", len(line))
			}
		}
	})
}

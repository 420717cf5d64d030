package native

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"instar/runtime/service"
)

// A unit begins with two lines: the mark, and the hash of all that follows.
const (
	mark     = "# Made by instar: changes are undone.\n"
	hashMark = "# sha256: "
)

// seal puts the mark and the hash before the text of a unit.
func seal(text string) []byte {
	return []byte(mark + hashMark + hashOf(text) + "\n" + text)
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// facts is what a unit says about the Spec it was rendered from.
type facts struct {
	Format       string            `json:"format"` // what else the unit depends on
	StateDir     string            `json:"state_dir"`
	Name         string            `json:"name"`
	Run          bool              `json:"run,omitempty"`
	Schedule     string            `json:"schedule,omitempty"` // of a timer
	Private      string            `json:"private,omitempty"`  // hash of the file of its variables
	Restart      string            `json:"restart"`
	After        []string          `json:"after,omitempty"`
	Digest       string            `json:"digest"`
	ReloadDigest string            `json:"reload_digest,omitempty"`
	Definition   string            `json:"definition"`
	Inputs       map[string]string `json:"inputs,omitempty"`
	ReloadInputs map[string]string `json:"reload_inputs,omitempty"`
}

// maxInputs bounds the inputs that a unit names, in bytes: they only explain.
const maxInputs = 256 << 10

func (m *systemd) facts(s service.Spec) facts {
	f := facts{
		Format: m.format(), StateDir: m.stateDir, Name: s.Name, Run: s.Run, Schedule: s.Schedule, Restart: s.Restart, After: s.After,
		Digest: s.Digest, ReloadDigest: s.ReloadDigest, Definition: s.Definition(),
	}
	size := 0
	for _, inputs := range []map[string]string{s.Inputs, s.ReloadInputs} {
		for path, digest := range inputs {
			size += len(path) + len(digest)
		}
	}
	if size <= maxInputs {
		f.Inputs, f.ReloadInputs = s.Inputs, s.ReloadInputs
	}
	return f
}

// format says what a unit depends on beside its Spec.
func (m *systemd) format() string { return fmt.Sprint(unitFormat, " ", m.systemctl) }

// line returns the facts as one line of ASCII: systemd reads past it.
func (f facts) line() string {
	data, err := json.Marshal(f)
	if err != nil {
		panic(err) // plain texts
	}
	var b strings.Builder
	for _, r := range string(data) {
		if r < 0x80 {
			b.WriteRune(r)
		} else if r < 0x10000 {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		}
	}
	return b.String()
}

// A ForeignError is a unit that stands where one of ours should, and that
// another instar made, or none.
type ForeignError struct {
	Path string
	// StateDir is that of the instar that made it, else "".
	StateDir string
}

func (e *ForeignError) Error() string {
	if e.StateDir != "" {
		return fmt.Sprintf("%s belongs to the instar whose state is in %s", e.Path, e.StateDir)
	}
	return fmt.Sprintf("%s is not instar's", e.Path)
}

// Hint says what the operator can do.
func (e *ForeignError) Hint() string {
	if e.StateDir != "" {
		return "give the instance another name, or use that state folder: --state-dir " + e.StateDir
	}
	return "move it away, or give the service another name"
}

// installed is a unit of ours as it stands on the disk.
type installed struct {
	facts
	data []byte
	// intact is set when it is as instar wrote it.
	intact bool
}

// readUnit returns the unit at path: nil when there is none, and a
// [*ForeignError] when it isn't ours. What a crash left of one is ours.
func (m *systemd) readUnit(path string) (*installed, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &ForeignError{Path: path}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	in, err := parseUnit(path, data)
	if err == nil && in.StateDir != "" && in.StateDir != m.stateDir {
		return nil, &ForeignError{Path: path, StateDir: in.StateDir}
	}
	return in, err
}

func parseUnit(path string, data []byte) (*installed, error) {
	in := &installed{data: data}
	if bytes.HasPrefix([]byte(mark), data) {
		return in, nil // cut short
	}
	rest, ok := strings.CutPrefix(string(data), mark)
	if !ok {
		return nil, &ForeignError{Path: path}
	}
	line, text, _ := strings.Cut(rest, "\n")
	in.intact = line == hashMark+hashOf(text)
	if _, after, ok := strings.Cut(text, "\n[X-Instar]\nFacts="); ok {
		line, _, _ := strings.Cut(after, "\n")
		if err := json.Unmarshal([]byte(line), &in.facts); err != nil {
			in.facts = facts{}
		}
	}
	return in, nil
}

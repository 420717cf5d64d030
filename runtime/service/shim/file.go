package shim

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unicode/utf8"

	"instar/runtime/plan"
	"instar/runtime/service"
)

// fileFormat is the version of what is written.
const fileFormat = 1

// File is what a shim is told. It may hold secrets: nobody but its owner can
// read it.
type File struct {
	Spec     service.Spec
	StateDir string
	LogDir   string // of the instance; the service's log is in it
	Marker   string // written for an exit that nobody asked for; "" for none

	// Hash names what was read or written.
	Hash string
	// Intact is set when the file is as instar wrote it.
	Intact bool
}

// envelope is how a File is stored.
type envelope struct {
	Note string          `json:"note"`
	Hash string          `json:"sha256"` // of Body
	Body json.RawMessage `json:"body"`
}

const note = "Made by instar: changes are undone."

// body is the content. The texts that must arrive byte for byte stand beside
// the Spec, which has none of them.
type body struct {
	Format     int          `json:"format"`
	StateDir   exact        `json:"state_dir"`
	LogDir     exact        `json:"log_dir"`
	Marker     exact        `json:"marker,omitempty"`
	Argv       []exact      `json:"argv"`
	Env        []exact      `json:"env"`
	PrivateEnv []exact      `json:"private_env,omitempty"`
	ReloadArgv []exact      `json:"reload_argv,omitempty"`
	Dir        exact        `json:"dir"`
	Home       exact        `json:"home"`
	Spec       service.Spec `json:"spec"`
}

// exact is a text of any bytes: JSON itself would replace what is no UTF-8.
type exact string

func (e exact) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(e)) {
		return json.Marshal(string(e))
	}
	return json.Marshal(map[string]string{"base64": base64.StdEncoding.EncodeToString([]byte(e))})
}

func (e *exact) UnmarshalJSON(data []byte) error {
	var text string
	if len(data) > 0 && data[0] == '"' {
		err := json.Unmarshal(data, &text)
		*e = exact(text)
		return err
	}
	var coded struct{ Base64 []byte }
	err := json.Unmarshal(data, &coded)
	*e = exact(coded.Base64)
	return err
}

func exactly(texts []string) []exact {
	var all []exact
	for _, t := range texts {
		all = append(all, exact(t))
	}
	return all
}

func plainly(texts []exact) []string {
	var all []string
	for _, t := range texts {
		all = append(all, string(t))
	}
	return all
}

// encode returns the bytes of f and their name.
func (f File) encode() (data []byte, hash string, err error) {
	s := f.Spec
	b := body{Format: fileFormat, StateDir: exact(f.StateDir), LogDir: exact(f.LogDir), Marker: exact(f.Marker),
		Argv: exactly(s.Argv), Env: exactly(s.Env), PrivateEnv: exactly(s.PrivateEnv), ReloadArgv: exactly(s.ReloadArgv),
		Dir: exact(s.Dir), Home: exact(s.Identity.Home), Spec: s}
	b.Spec.Argv, b.Spec.Env, b.Spec.PrivateEnv, b.Spec.ReloadArgv = nil, nil, nil, nil
	b.Spec.Dir, b.Spec.Identity.Home = "", ""
	b.Spec.At = plan.Pos{} // where it is declared may move without a change
	text, err := json.Marshal(b)
	if err != nil {
		return nil, "", err
	}
	hash = hashOf(text)
	data, err = json.Marshal(envelope{Note: note, Hash: hash, Body: text})
	return append(data, '\n'), hash, err
}

func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Write writes f, unless it stands there already.
func (p Place) Write(f File) (changed bool, err error) {
	data, _, err := f.encode()
	if err != nil {
		return false, fmt.Errorf("cannot write %s: %w", p.SpecPath(), err)
	}
	if old, err := readFile(p.SpecPath()); err == nil && bytes.Equal(old, data) {
		if info, err := os.Lstat(p.SpecPath()); err == nil && private(info) == nil {
			return false, nil
		}
	}
	if err := os.MkdirAll(string(p), 0o700); err != nil {
		return false, err
	}
	return true, writeFile(p.SpecPath(), data, true)
}

// Read returns the place's file; nil when there is none. It must be nobody
// else's to write, nor to read. One that was edited is not intact, and what it
// says counts all the same.
func (p Place) Read() (*File, error) {
	info, err := os.Lstat(p.SpecPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = private(info)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", p.SpecPath(), err)
	}
	data, err := readFile(p.SpecPath())
	if err != nil {
		return nil, err
	}
	f, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", p.SpecPath(), err)
	}
	return f, nil
}

func decode(data []byte) (*File, error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, err
	}
	var b body
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return nil, err
	}
	if b.Format != fileFormat {
		return nil, fmt.Errorf("it has format %d; this instar knows %d", b.Format, fileFormat)
	}
	s := b.Spec
	s.Argv, s.Env, s.PrivateEnv, s.ReloadArgv = plainly(b.Argv), plainly(b.Env), plainly(b.PrivateEnv), plainly(b.ReloadArgv)
	s.Dir, s.Identity.Home = string(b.Dir), string(b.Home)
	f := &File{Spec: s, StateDir: string(b.StateDir), LogDir: string(b.LogDir), Marker: string(b.Marker), Hash: hashOf(e.Body)}
	whole, _, err := f.encode()
	f.Intact = err == nil && bytes.Equal(whole, data)
	return f, nil
}

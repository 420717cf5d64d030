// Package planfile is a plan in a file: what `instar plan -o` saves, and `instar
// apply FILE` performs if it still holds.
//
// A [File] has the settings of the plan and a [Forecast]: what the plan found,
// and what it would do about it, as plain texts and digests. Two forecasts of the
// same instance are compared by [Forecast.Differences]: a saved plan holds when
// there are none.
//
// The invariant: no secret stands in a file, nor a digest by which one could be
// guessed. Who makes a forecast puts placeholders in the place of secrets, and of
// values that the apply will choose, before it takes a digest.
package planfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"instar/runtime/plan"
	"instar/runtime/state"
)

// Format is the value of the first field of every plan file: by it the file is
// recognized.
const Format = "instar-plan"

// FormatVersion is the version of the files that this program writes. A newer one
// is refused.
const FormatVersion = 1

// MaxSize bounds a plan file, in bytes.
const MaxSize = 48 << 20

// File is a saved plan.
type File struct {
	Format        string `json:"format"`
	FormatVersion int    `json:"format_version"`
	// Digest is "sha256:" and the hex digest of the file's bytes, with zeros in
	// place of its own 64 digits: it finds damage, not malice.
	Digest string `json:"digest"`

	MadeBy   string    `json:"made_by"` // the version of instar, for people
	MadeAt   time.Time `json:"made_at"`
	StateDir string    `json:"state_dir"`
	// Settings are what the apply goes by, but for the parameters in Withheld.
	Settings state.Settings `json:"settings"`
	Withheld []Withheld     `json:"withheld,omitempty"`

	Forecast Forecast `json:"forecast"`
}

// Withheld is a parameter with a secret value, which the file does not hold.
type Withheld struct {
	Name string `json:"name"`
	// Remembered is set when the value is the one that the instance remembers.
	// Any other one must be given again.
	Remembered bool `json:"remembered,omitempty"`
}

// Forecast is what a plan found and what it would do. Secrets, and values that
// an apply chooses, have placeholders in all of its texts and in what its digests
// are of.
type Forecast struct {
	Instance   string `json:"instance"`
	User       string `json:"user"`       // "web 1000:1000": as whom the instance runs
	Requested  string `json:"requested"`  // the remembered state
	Generation int    `json:"generation"` // that the plan began with
	Release    string `json:"release"`    // where its folder really is
	// Remembered are the settings before the plan: "root", "param port" and the
	// like.
	Remembered map[string]string `json:"remembered"`
	// Inputs is what evaluation saw outside the root, by path: the digest of a
	// file that it read, or what stood there. "//x" is x in the profile's folder.
	Inputs map[string]string `json:"inputs"`

	// Edits are the changes in order, those of all rounds.
	Edits []Edit `json:"edits"`
	// Paths is what stood at each path that an edit touches.
	Paths map[string]Found `json:"paths"`

	Complete bool   `json:"complete"`
	Pending  string `json:"pending,omitempty"` // why it is not complete
}

// Edit is one change of a plan: of a path, or, by name, of a command or service.
type Edit struct {
	Op    plan.Op `json:"op"`
	Path  string  `json:"path,omitempty"`
	Name  string  `json:"name,omitempty"`
	Mode  string  `json:"mode,omitempty"`  // "0640"
	Owner string  `json:"owner,omitempty"` // "1000:1000"
	// Content is the digest of what a file will hold, or [Varies].
	Content string `json:"content,omitempty"`
	To      string `json:"to,omitempty"`   // a link's text
	From    string `json:"from,omitempty"` // the source of a copy
	// Definition is the digest of what a command or service is started with, or
	// [Varies].
	Definition string `json:"definition,omitempty"`
	// StartedWith says what a service was started with that runs.
	StartedWith string `json:"started_with,omitempty"`
	Why         string `json:"why"`
	At          string `json:"at"`
}

// Varies is in place of a digest of something that was computed from a secret, or
// from a value that is yet to be chosen.
const Varies = "varies"

// Found is what stands at a path. Which fields count depends on Kind.
type Found struct {
	Kind  string `json:"kind"`            // as plan.Kind, "nothing", or what went wrong
	Mode  string `json:"mode,omitempty"`  // "0640"
	Owner string `json:"owner,omitempty"` // "1000:1000"
	// Content of a file is its digest; or, where it may hold a secret or something
	// computed from one, its size, times and inode.
	Content string `json:"content,omitempty"`
	To      string `json:"to,omitempty"` // a link's text
}

// Nothing is the kind of a path at which nothing stands.
const Nothing = "nothing"

// BrokenError is a plan file that cannot be understood.
type BrokenError struct {
	Path string
	Err  error
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("cannot read plan file %s: %v", e.Path, e.Err)
}
func (e *BrokenError) Unwrap() error { return e.Err }

// Hint says what the operator can do.
func (e *BrokenError) Hint() string { return "plan again: instar plan PROFILE -o " + e.Path }

// NewerError is a plan file written by a later version of instar.
type NewerError struct {
	Path string
	Got  int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("plan file %s has format %d; this instar knows up to %d", e.Path, e.Got, FormatVersion)
}

// Hint says what the operator can do.
func (e *NewerError) Hint() string {
	return "use the version of instar that wrote it, or a later one; or plan again"
}

var (
	header      = regexp.MustCompile(`^\s*\{\s*"format"\s*:\s*"` + Format + `"`)
	digestField = regexp.MustCompile(`"digest":\s*"sha256:([0-9a-f]{64})"`)
	digestForm  = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// headSize is how many bytes of a file hold its header and its digest.
const headSize = 512

// Recognize reports whether data, a file's content or the beginning of it, is
// that of a plan file.
func Recognize(data []byte) bool { return header.Match(data[:min(len(data), headSize)]) }

// Encode returns the bytes of the file. It sets f's format and digest.
func Encode(f *File) ([]byte, error) {
	f.Format, f.FormatVersion = Format, FormatVersion
	f.Digest = "sha256:" + string(bytes.Repeat([]byte("0"), 2*sha256.Size))
	if err := f.Check(); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(f); err != nil {
		return nil, err
	}
	data := out.Bytes()
	at := digestField.FindSubmatchIndex(data[:min(len(data), headSize)])
	if at == nil {
		return nil, errors.New("its digest has no place")
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("it would have %d bytes, and at most %d are read", len(data), MaxSize)
	}
	copy(data[at[2]:at[3]], hexSum(data))
	f.Digest = "sha256:" + string(data[at[2]:at[3]])
	return data, nil
}

// Decode understands the bytes of a file. The error is a [NewerError] without a
// path for a later format.
func Decode(data []byte) (*File, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("it has more than %d bytes", MaxSize)
	}
	if !Recognize(data) {
		return nil, errors.New("it is no plan file")
	}
	var version struct {
		FormatVersion int `json:"format_version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("it is damaged or cut short: %w", err)
	}
	if version.FormatVersion > FormatVersion {
		return nil, &NewerError{Got: version.FormatVersion}
	}
	if err := verify(data); err != nil {
		return nil, err
	}
	f := &File{}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	dec.DisallowUnknownFields() // what is not understood cannot be checked
	if err := dec.Decode(f); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows it")
	}
	return f, f.Check()
}

// verify compares the digest in data with that of data.
func verify(data []byte) error {
	at := digestField.FindSubmatchIndex(data[:min(len(data), headSize)])
	if at == nil {
		return errors.New("it has no digest")
	}
	blank := bytes.Clone(data)
	copy(blank[at[2]:at[3]], bytes.Repeat([]byte("0"), 2*sha256.Size))
	if hexSum(blank) != string(data[at[2]:at[3]]) {
		return errors.New("it was changed since it was saved: its digest differs")
	}
	return nil
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// ops are the operations that an edit may have.
var ops = []plan.Op{plan.OpMkdir, plan.OpWrite, plan.OpChmod, plan.OpChown, plan.OpLink, plan.OpCopy, plan.OpRemove,
	plan.OpRun, plan.OpStart, plan.OpStop, plan.OpRestart, plan.OpReload, plan.OpUpdate, plan.OpUnload,
	plan.OpRequest, plan.OpRelease}

// Check says what in f cannot be meant.
func (f *File) Check() error {
	switch {
	case f.Format != Format:
		return fmt.Errorf("its format is %q", f.Format)
	case f.FormatVersion != FormatVersion:
		return fmt.Errorf("its format_version is %d", f.FormatVersion)
	case !digestForm.MatchString(f.Digest):
		return fmt.Errorf("its digest is %q", f.Digest)
	}
	for _, one := range []struct{ field, path string }{
		{"state_dir", f.StateDir}, {"settings.profile", f.Settings.Profile},
		{"settings.root", f.Settings.Root}, {"settings.release", f.Settings.Release},
	} {
		if !filepath.IsAbs(one.path) {
			return fmt.Errorf("its %s, %q, is no absolute path", one.field, one.path)
		}
	}
	seen := map[string]bool{}
	for _, w := range f.Withheld {
		if _, given := f.Settings.Params[w.Name]; given || seen[w.Name] || w.Name == "" {
			return fmt.Errorf("parameter %q is withheld, and given or named twice", w.Name)
		}
		seen[w.Name] = true
	}
	return f.Forecast.check()
}

func (f *Forecast) check() error {
	if err := state.CheckName(f.Instance); err != nil {
		return err
	}
	if f.Generation < 0 {
		return fmt.Errorf("its generation is %d", f.Generation)
	}
	for i, e := range f.Edits {
		if err := e.check(); err != nil {
			return fmt.Errorf("edit %d: %w", i+1, err)
		}
		if _, found := f.Paths[e.Path]; e.Path != "" && !found {
			return fmt.Errorf("edit %d: it is not said what stood at %q", i+1, e.Path)
		}
	}
	for _, name := range plan.SortedKeys(f.Paths) {
		if !fs.ValidPath(name) {
			return fmt.Errorf("%q is no path below the root", name)
		}
		if f.Paths[name].Kind == "" {
			return fmt.Errorf("it is not said what stood at %q", name)
		}
	}
	return nil
}

func (e Edit) check() error {
	if !slices.Contains(ops, e.Op) {
		return fmt.Errorf("unknown op %q", e.Op)
	}
	if (e.Path == "") == (e.Name == "") {
		return errors.New("it has either a path or a name")
	}
	for _, digest := range []string{e.Content, e.Definition} {
		if digest != "" && digest != Varies && !digestForm.MatchString(digest) {
			return fmt.Errorf("%q is no digest", digest)
		}
	}
	return nil
}

// Package request is how instances are asked of a node: a [Request] is one JSON
// file per instance in the folder requests of the state, which instar writes and
// other tools may write, and a [Copy] is the profile that the node runs for it.
//
// The node does not run the source of a profile, since whoever may write that
// would command the node: it runs a copy, stored when somebody with the rights
// of the node asked for the instance. The source is followed only where nobody
// but the node's own user can write it ([Trust]).
//
// The invariant: both are replaced as a whole, so that whoever reads one sees
// the old or the new, and a node that was killed finds either.
package request

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"instar/runtime/state"
)

// FormatVersion is the version of the files that this program writes. Newer ones
// are refused.
const FormatVersion = 1

// Request says what an instance shall be.
type Request struct {
	FormatVersion int    `json:"format_version"`
	Instance      string `json:"instance"`
	Profile       string `json:"profile"` // absolute path of the folder or .star file
	Root          string `json:"root,omitempty"`
	Release       string `json:"release,omitempty"`
	User          string `json:"user,omitempty"`
	Manager       string `json:"manager,omitempty"`
	Wait          string `json:"wait,omitempty"` // for runs and promises: "90s"; "0s" does not wait
	// Params are the parameters' values. Set are texts, as --set gives them,
	// which the profile's declarations give their types; SetBytes are texts that
	// are not UTF-8.
	Params   map[string]any    `json:"params,omitempty"`
	Set      map[string]string `json:"set,omitempty"`
	SetBytes map[string][]byte `json:"set_bytes,omitempty"`
	// Requester is the instance whose profile requests this one: then the file is
	// the node's, and the copy of the profile comes from there. Secrets are texts
	// in Params that are secret.
	Requester *state.Requester `json:"requester,omitempty"`
	Secrets   []string         `json:"secrets,omitempty"`

	State string `json:"state"` // "started" where a file says nothing, "stopped", "destroyed"
	// Purge has a destruction remove what was made once, too: at once, or when
	// the Retention has passed.
	Purge     bool   `json:"purge,omitempty"`
	Retention string `json:"retention,omitempty"` // "7d", "36h"
}

// maxSize bounds a request's file, in bytes.
const maxSize = 64 << 20

const suffix = ".json"

// Dir is the folder of the requests.
func Dir(home state.Home) string { return filepath.Join(string(home), "requests") }

// Path is the file of an instance's request.
func Path(home state.Home, name string) string { return filepath.Join(Dir(home), name+suffix) }

// Error is a request that cannot be meant.
type Error struct {
	Path string
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("request %s: %v", e.Path, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Read reads an instance's request, and the digest of its bytes, by which two
// are compared. Where there is none the error is [fs.ErrNotExist]; one that
// cannot be meant is an [*Error], and has its digest all the same.
func Read(home state.Home, name string) (*Request, string, error) {
	path := Path(home, name)
	data, err := readOwn(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", err
	}
	if err != nil {
		return nil, "", &Error{path, err}
	}
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	r, err := decode(data)
	if err == nil {
		err = r.Check(name)
	}
	if err != nil {
		return nil, digest, &Error{path, err}
	}
	return r, digest, nil
}

// readOwn reads a file that nobody but the node's user, or root, can have
// written.
func readOwn(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a file")
	case info.Size() > maxSize:
		return nil, fmt.Errorf("it has %d bytes, and at most %d are read", info.Size(), maxSize)
	}
	if err := Mine().owned(path, info); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

func decode(data []byte) (*Request, error) {
	var version struct {
		FormatVersion int `json:"format_version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, unreadable(err)
	}
	if v := version.FormatVersion; v != FormatVersion {
		return nil, fmt.Errorf("format_version is %d, and this instar knows %d", v, FormatVersion)
	}
	r := &Request{}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	if err := dec.Decode(r); err != nil {
		return nil, unreadable(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	r.State = cmp.Or(r.State, state.Started)
	return r, nil
}

// unreadable says what JSON cannot be read for, in the words of who wrote it.
func unreadable(err error) error {
	var t *json.UnmarshalTypeError
	switch {
	case errors.As(err, &t) && t.Field != "":
		return fmt.Errorf("%s cannot be a JSON %s", t.Field, t.Value)
	case errors.As(err, &t):
		return fmt.Errorf("it is no JSON object but a JSON %s", t.Value)
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("unknown field %s", field)
	}
	return fmt.Errorf("it is no JSON object: %w", err)
}

// Check says what is wrong with the request of the instance called name.
func (r *Request) Check(name string) error {
	if err := state.CheckName(name); err != nil {
		return err
	}
	if r.Instance != name {
		return fmt.Errorf("instance is %q, and the file is that of %q", r.Instance, name)
	}
	if !slices.Contains([]string{state.Started, state.Stopped, state.Destroyed}, r.State) {
		return fmt.Errorf("state is %q: it is started, stopped or destroyed", r.State)
	}
	if r.Profile == "" {
		return errors.New("profile is missing")
	}
	for _, p := range []struct{ field, path string }{{"profile", r.Profile}, {"root", r.Root}, {"release", r.Release}} {
		if p.path != "" && (!filepath.IsAbs(p.path) || filepath.Clean(p.path) != p.path) {
			return fmt.Errorf("%s is %q: it is an absolute path without .. and double slashes", p.field, p.path)
		}
	}
	if r.State != state.Destroyed && (r.Purge || r.Retention != "") {
		return fmt.Errorf("purge and retention go with the state destroyed, and it is %q", r.State)
	}
	if _, err := r.Keep(); err != nil {
		return err
	}
	if r.Wait != "" {
		if d, err := time.ParseDuration(r.Wait); err != nil || d < 0 {
			return fmt.Errorf("wait is %q: it is a duration such as 90s", r.Wait)
		}
	}
	return r.checkParams()
}

func (r *Request) checkParams() error {
	for name := range r.Set {
		if _, twice := r.Params[name]; twice {
			return fmt.Errorf("parameter %q stands in params and in set", name)
		}
	}
	for name := range r.SetBytes {
		_, inParams := r.Params[name]
		_, inSet := r.Set[name]
		if inParams || inSet {
			return fmt.Errorf("parameter %q stands in set_bytes and elsewhere", name)
		}
	}
	return nil
}

// Keep is the retention: how long what was made once stays after a destruction.
func (r *Request) Keep() (time.Duration, error) { return ParseRetention(r.Retention) }

// ParseRetention reads "7d", "36h" or "" (0).
func ParseRetention(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(n) * 24 * time.Hour
		if n > 36500 {
			err = errors.New("too long")
		}
	}
	if err != nil || d < 0 {
		return 0, fmt.Errorf("retention is %q: it is a duration such as 7d or 36h", text)
	}
	return d, nil
}

// noWait is what [state.Settings] hold for not waiting at all.
const noWait = -1

// Of returns the request for an instance with the given settings.
func Of(name string, s state.Settings, requested string) *Request {
	r := &Request{FormatVersion: FormatVersion, Instance: name, Profile: s.Profile, Root: s.Root, Release: s.Release,
		User: s.User, Manager: s.Manager, Requester: s.Requester, Secrets: s.Secrets, State: requested}
	switch {
	case s.Wait < 0:
		r.Wait = "0s"
	case s.Wait > 0:
		r.Wait = s.Wait.String()
	}
	for param, given := range s.Params {
		switch {
		case given.Text == nil:
			r.Params = with(r.Params, param, given.Value)
		case utf8.ValidString(*given.Text):
			r.Set = with(r.Set, param, *given.Text)
		default:
			r.SetBytes = with(r.SetBytes, param, []byte(*given.Text))
		}
	}
	return r
}

func with[T any](m map[string]T, key string, value T) map[string]T {
	if m == nil {
		m = map[string]T{}
	}
	m[key] = value
	return m
}

// Settings are what an instance that is requested so remembers. What the request
// leaves out is empty.
func (r *Request) Settings() state.Settings {
	s := state.Settings{Profile: r.Profile, Root: r.Root, Release: r.Release, User: r.User, Manager: r.Manager,
		Requester: r.Requester, Secrets: r.Secrets}
	if d, err := time.ParseDuration(r.Wait); err == nil {
		if s.Wait = d; d == 0 {
			s.Wait = noWait
		}
	}
	for param, value := range r.Params {
		s.Params = with(s.Params, param, state.Given{Value: value})
	}
	for param, text := range r.Set {
		s.Params = with(s.Params, param, state.Given{Text: &text})
	}
	for param, data := range r.SetBytes {
		text := string(data)
		s.Params = with(s.Params, param, state.Given{Text: &text})
	}
	return s
}

// Write replaces the request of an instance and returns its digest.
func Write(home state.Home, r *Request) (digest string, err error) {
	if err := r.Check(r.Instance); err != nil {
		return "", err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", fmt.Errorf("cannot encode the request: %w", err)
	}
	data = append(data, '\n')
	if err := os.MkdirAll(Dir(home), 0o700); err != nil {
		return "", fmt.Errorf("cannot create the folder of requests: %w", err)
	}
	sum := sha256.Sum256(data)
	digest = hex.EncodeToString(sum[:])
	if old, err := os.ReadFile(Path(home, r.Instance)); err == nil && bytes.Equal(old, data) {
		return digest, nil
	}
	return digest, state.WriteFile(Path(home, r.Instance), data, 0o600)
}

// Ask is [Write] for somebody who wants the instance: a node that watches the file
// looks also whether another profile was stored, although the request is the same.
func Ask(home state.Home, r *Request) error {
	if _, err := Write(home, r); err != nil {
		return err
	}
	now := time.Now()
	return os.Chtimes(Path(home, r.Instance), now, now)
}

// Remove forgets the request of an instance; none is fine.
func Remove(home state.Home, name string) error {
	if err := os.Remove(Path(home, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Names returns the instances that are requested, in order. Files whose names
// are no instance's are passed over.
func Names(home state.Home) ([]string, error) {
	entries, err := os.ReadDir(Dir(home))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && state.CheckName(name) == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

package builtins

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
	"instar/runtime/secret"
	"instar/starlark/interp"
)

// Requested is what an instance that the profile requests has published so far.
type Requested struct {
	Published map[string]json.RawMessage `json:"published,omitempty"`
	Secrets   []string                   `json:"secrets,omitempty"` // texts that are secret in it
}

var requestName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@-]{0,60}$`)

// maxRequests bounds the instances that one profile requests.
const maxRequests = 1000

// request(name, profile, params={}, release=None, state="started")
//
// Another instance on this node, which follows what the profile says of it. It
// returns a handle at once: r["url"] is what that instance publishes as url, or
// ends the evaluation as pending; r.get("url", default) never does.
func request(c *call) (starlark.Value, error) {
	var profile, params, release starlark.Value
	r := plan.Request{State: "started", At: c.at()}
	if err := c.unpack(&r.Name, &profile, &params, &release, &r.State); err != nil {
		return nil, err
	}
	if !requestName.MatchString(r.Name) {
		return nil, fmt.Errorf("name: %q does not match [A-Za-z0-9][A-Za-z0-9_.@-]{0,60}", shorten(r.Name))
	}
	if r.State != "started" && r.State != "stopped" {
		return nil, hinted("an instance that is no longer requested is destroyed", `state: want "started" or "stopped", got %q`, shorten(r.State))
	}
	var err error
	if r.Profile, err = c.requestedProfile(profile); err != nil {
		return nil, prefixed("profile", err)
	}
	if r.Release, err = c.requestedRelease(release); err != nil {
		return nil, prefixed("release", err)
	}
	if r.Params, err = requestedParams(params); err != nil {
		return nil, prefixed("params", err)
	}
	if err := c.claimName("request", r.Name, r.At); err != nil {
		return nil, err
	}
	if len(c.plan.Requests) == maxRequests {
		return nil, fmt.Errorf("a profile can request at most %d instances", maxRequests)
	}
	c.plan.Requests = append(c.plan.Requests, r)
	return c.requested(r.Name)
}

// requestedProfile returns the profile that v means in the calling file: its
// path within the profile's folder, one that leads out of it ("../web"), or an
// absolute one.
func (c *call) requestedProfile(v starlark.Value) (string, error) {
	if p, ok := v.(*Path); ok {
		if p.base != c.release {
			return "", fmt.Errorf("%q lies in the instance, where its user can write: a profile cannot", p.abs)
		}
		return p.abs, nil
	}
	ref, ok := v.(starlark.String)
	switch {
	case !ok:
		return "", want("the path of a profile", v)
	case ref == "":
		return "", errors.New("is empty")
	case isAbs(string(ref)) && !strings.HasPrefix(string(ref), "//"):
		return strings.TrimSuffix(path.Clean(string(ref)), "/instance.star"), nil
	}
	name := path.Join(path.Dir(interp.CallerFile(c.thread)), string(ref))
	if name != ".." && !strings.HasPrefix(name, "../") {
		var err error
		if name, err = c.resolve(string(ref)); err != nil {
			return "", err
		}
		if isStd(name) {
			return "", fmt.Errorf("%q is no profile", shorten(string(ref)))
		}
		if err := c.isProfile(string(ref), name); err != nil {
			return "", err
		}
	}
	if path.Base(name) == "instance.star" {
		name = path.Dir(name)
	}
	return name, nil
}

// isProfile refuses what stands in the profile's folder and is no profile.
func (c *call) isProfile(ref, name string) error {
	entry := name
	info, err := fs.Stat(c.profile, name)
	if err == nil && info.IsDir() {
		entry = path.Join(name, "instance.star")
		info, err = fs.Stat(c.profile, entry)
		if errors.Is(err, fs.ErrNotExist) {
			return hinted("a profile is a folder with instance.star, or a .star file", "%q is a folder without instance.star", shorten(ref))
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c.noSuchFile(ref, name)
	case err != nil:
		return err
	case !info.Mode().IsRegular() || path.Ext(entry) != ".star":
		return hinted("a profile is a folder with instance.star, or a .star file", "%q is no profile", shorten(ref))
	}
	c.input(plan.Input{Path: c.profilePath(entry), What: "exists", Answer: standing(info)})
	return nil
}

func (c *call) requestedRelease(v starlark.Value) (string, error) {
	if v == nil || v == starlark.None {
		return "", nil
	}
	text, ok := asText(v)
	if !ok {
		return "", want("the absolute path of a folder", v)
	}
	if !isAbs(text) || strings.ContainsRune(text, 0) {
		return "", fmt.Errorf("%q is not an absolute path", shorten(text))
	}
	return path.Clean(text), nil
}

// requestedParams takes a dict of any JSON values; path handles are text.
func requestedParams(v starlark.Value) (map[string]any, error) {
	if v == nil || v == starlark.None {
		return nil, nil
	}
	if _, ok := v.(*starlark.Dict); !ok {
		return nil, want("a dict", v)
	}
	value, err := plain(v)
	if err == nil {
		err = notUTF8(value)
	}
	if err != nil {
		return nil, err
	}
	params, _ := maps(value).(map[string]any)
	for name := range params {
		if !paramName.MatchString(name) {
			return nil, fmt.Errorf("the key %q is no parameter's name", shorten(name))
		}
	}
	if len(params) == 0 {
		return nil, nil
	}
	return params, nil
}

// requested returns the handle of a request. What is secret in the values stays
// secret here.
func (c *call) requested(name string) (starlark.Value, error) {
	h := &requestHandle{name: name, thread: c.thread, values: map[string]starlark.Value{}}
	from := c.in.Requested[name]
	for _, key := range plan.SortedKeys(from.Published) {
		value, err := fromJSON(from.Published[key])
		if err != nil {
			return nil, fmt.Errorf("cannot understand what %q publishes as %q: %w", name, key, err)
		}
		value.Freeze()
		h.values[key] = value
		h.keys = append(h.keys, key)
	}
	for _, text := range from.Secrets {
		masker := secret.New([]string{text})
		for key, raw := range from.Published {
			if masker.Contains(raw) || masker.Contains([]byte(key)) {
				c.addSecret(text)
				break
			}
		}
	}
	return h, nil
}

// requestHandle is what request returns.
type requestHandle struct {
	name   string
	thread *starlark.Thread // of the evaluation
	keys   []string
	values map[string]starlark.Value
}

func (h *requestHandle) String() string        { return fmt.Sprintf("request(%q)", h.name) }
func (h *requestHandle) Type() string          { return "request" }
func (h *requestHandle) Freeze()               {}
func (h *requestHandle) Truth() starlark.Bool  { return true }
func (h *requestHandle) Hash() (uint32, error) { return 0, errors.New("unhashable: request") }

// AttrNames implements [starlark.HasAttrs].
func (h *requestHandle) AttrNames() []string { return []string{"get", "name"} }

// Attr implements [starlark.HasAttrs].
func (h *requestHandle) Attr(name string) (starlark.Value, error) {
	switch name {
	case "name":
		return starlark.String(h.name), nil
	case "get":
		return starlark.NewBuiltin("get", h.get), nil
	}
	return nil, noAttr("a request", name, h.AttrNames())
}

func (h *requestHandle) get(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var key string
	var fallback starlark.Value = starlark.None
	if err := starlark.UnpackArgs("get", args, kwargs, "key", &key, "default?", &fallback); err != nil {
		return nil, err
	}
	if value, ok := h.values[key]; ok {
		return value, nil
	}
	return fallback, nil
}

// Get implements [starlark.Mapping]: r[key].
func (h *requestHandle) Get(key starlark.Value) (starlark.Value, bool, error) {
	name, ok := key.(starlark.String)
	if !ok {
		return nil, false, fmt.Errorf("request(%q): the key %s is no name", h.name, key)
	}
	if value, ok := h.values[string(name)]; ok {
		return value, true, nil
	}
	return nil, false, &stopped{&plan.Pending{
		Why: fmt.Sprintf("request(%q): %q is not published yet", h.name, string(name)), At: position(h.thread)}}
}

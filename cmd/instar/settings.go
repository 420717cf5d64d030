package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"instar/runtime/plan"
	"instar/runtime/state"
)

// defaultWait is how long runs and promises are waited for.
const defaultWait = 60 * time.Second

// noWait is what Settings.Wait holds for --wait 0, since 0 means that nothing
// was said.
const noWait = -1

// waitOf returns how long the settings say to wait.
func waitOf(s state.Settings) time.Duration {
	switch {
	case s.Wait == 0:
		return defaultWait
	case s.Wait < 0:
		return 0
	}
	return s.Wait
}

// settings returns what the instance remembers, changed by the flags. They are
// remembered in turn once an evaluation with them has succeeded.
func (a *app) settings(t target, st *state.State) (state.Settings, error) {
	o, s := &a.opts, st.Settings
	s.Profile = t.profile
	var err error
	if s.Root, err = a.rootSetting(t, st); err != nil {
		return s, err
	}
	if o.release != "" {
		if s.Release, err = filepath.Abs(o.release); err != nil {
			return s, err
		}
	} else if s.Release == "" {
		s.Release = defaultRelease
	}
	if info, err := os.Stat(s.Release); s.Release != defaultRelease && (err != nil || !info.IsDir()) {
		return s, hinted("name the folder that holds the software's bin and sbin with --release", "release %s is not a folder", s.Release)
	}
	if o.user != "" {
		s.User = o.user
	}
	if o.manager != "" {
		s.Manager = o.manager
	}
	if o.given("wait") {
		if s.Wait = o.wait; s.Wait == 0 {
			s.Wait = noWait
		}
	}
	s.Params, err = a.paramSettings(st.Settings.Params)
	return s, err
}

// rootSetting decides where the root is. It never moves while it holds
// something of the instance.
func (a *app) rootSetting(t target, st *state.State) (string, error) {
	root, old := a.opts.root, st.Settings.Root
	if root == "" && old != "" {
		return old, nil
	}
	if root == "" {
		dir, err := defaultFolder("/srv/instar", "XDG_DATA_HOME", ".local/share")
		if err != nil {
			return "", hinted("name one with --root", "cannot find a folder for the instance: %w", err)
		}
		root = filepath.Join(dir, t.name)
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	if root == old {
		return root, nil
	}
	full, err := t.folder.Load()
	if err != nil {
		return "", err
	}
	if old != "" && len(full.Owned) > 0 {
		return "", hinted(
			"--name makes another instance there; instar destroy "+t.name+" --purge gives this one up, with its data",
			"instance %q has its root at %s: it cannot move to %s", t.name, old, root)
	}
	return root, a.checkRoot(t, root)
}

// checkRoot refuses a root that would hold another instance's files, or the
// state.
func (a *app) checkRoot(t target, root string) error {
	if root == filepath.Dir(root) {
		return hinted("name a folder of the instance's own with --root", "%s cannot be the root of an instance", root)
	}
	if inside(string(a.home), root) {
		return hinted("choose another --root or --state-dir: the instance's user must not be able to write the state",
			"the state folder %s lies in the root %s", a.home, root)
	}
	var shares []string
	err := a.home.Index().Others(t.name, func(other state.Holding) {
		if (inside(other.Root, root) || inside(root, other.Root)) && !(other.Destroyed && !exists(other.Root)) {
			shares = append(shares, other.Name)
		}
	})
	if err != nil || len(shares) == 0 {
		return err
	}
	slices.Sort(shares)
	return hinted("choose another folder with --root", "instance %q already has its root at %s: %s would share it", shares[0], shares[0], root)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// inside reports whether path is folder or lies below it.
func inside(path, folder string) bool {
	rest, below := strings.CutPrefix(path, strings.TrimSuffix(folder, string(filepath.Separator)))
	return below && (rest == "" || rest[0] == filepath.Separator)
}

// paramSettings returns the parameters: those remembered, then what the flags
// say, in the order --reset, --unset, --params, --set-file and --set.
func (a *app) paramSettings(old map[string]state.Given) (map[string]state.Given, error) {
	o := &a.opts
	params := maps.Clone(old)
	if params == nil || o.reset {
		params = map[string]state.Given{}
	}
	if err := a.unset(params); err != nil {
		return nil, err
	}
	if o.params != "" {
		values, err := readParams(o.params, os.Stdin)
		if err != nil {
			return nil, err
		}
		for name, value := range values {
			params[name] = state.Given{Value: value}
		}
	}
	texts, err := o.texts()
	if err != nil {
		return nil, err
	}
	for name, text := range texts {
		params[name] = state.Given{Text: &text}
	}
	if len(params) == 0 {
		return nil, nil
	}
	return params, nil
}

func (a *app) unset(params map[string]state.Given) error {
	for _, name := range a.opts.unset {
		if strings.Contains(name, "=") {
			return usagef("--unset takes the name alone", "--unset %q", name)
		}
		if _, ok := params[name]; !ok && !a.opts.reset {
			note := fmt.Sprintf("--unset %s: no such parameter is remembered", name)
			if near := didYouMean(name, plan.SortedKeys(params)); near != "" {
				note += "; " + near
			}
			a.ui.warn(note)
		}
		delete(params, name)
	}
	return nil
}

// readBounded reads a file, or what a pipe or device has, up to [maxParams].
func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxParams+1))
	if err == nil && len(data) > maxParams {
		err = fmt.Errorf("%s is larger than 16 MiB", path)
	}
	return data, err
}

// texts returns what --set and --set-file give, byte for byte.
func (o *options) texts() (map[string]string, error) {
	texts := map[string]string{}
	for _, arg := range o.setFile {
		name, path, err := splitPair("--set-file", arg)
		if err != nil {
			return nil, err
		}
		if path == "" {
			return nil, usagef("it is KEY=PATH", "--set-file %s: no path", arg)
		}
		data, err := readBounded(path)
		if err != nil {
			return nil, fmt.Errorf("--set-file %s: %w", name, err)
		}
		texts[name] = string(data)
	}
	fromFile := maps.Clone(texts)
	for _, arg := range o.set {
		name, text, err := splitPair("--set", arg)
		if err != nil {
			return nil, err
		}
		if _, twice := fromFile[name]; twice {
			return nil, usagef("leave one of them out", "parameter %q is given by --set and by --set-file", name)
		}
		texts[name] = text
	}
	for _, name := range o.unset {
		if _, both := texts[name]; both {
			return nil, usagef("leave one of them out", "parameter %q is both set and unset", name)
		}
	}
	return texts, nil
}

func splitPair(flag, arg string) (name, text string, err error) {
	name, text, ok := strings.Cut(arg, "=")
	if !ok || name == "" {
		return "", "", usagef("write "+flag+" KEY=VALUE", "%s %q has no name before a =", flag, arg)
	}
	return name, text, nil
}

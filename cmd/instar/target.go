package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	requests "instar/runtime/request"
	"instar/runtime/state"
	"instar/starlark/eval"
)

// target is what the argument PROFILE|NAME means.
type target struct {
	name    string       // of the instance
	profile string       // absolute path of the folder or .star file
	folder  state.Folder // of its state, which may not exist
}

// target finds out what arg means: something that exists as a path (it has a
// slash, ends in .star or is a folder with instance.star) is a profile, anything
// else the name of an instance.
func (a *app) target(arg string) (target, error) {
	known := state.CheckName(arg) == nil && a.known(arg)
	if isPath(arg) || !known {
		if err := savedTarget(arg); err != nil {
			return target{}, err
		}
	}
	another := a.opts.name != "" && a.opts.name != arg && hasEntry(arg)
	if !isPath(arg) && known && !another {
		return a.named(arg)
	}
	if !isPath(arg) && !hasEntry(arg) {
		return target{}, a.nothingCalled(arg)
	}
	profile, name, err := profilePath(arg)
	if err != nil {
		return target{}, err
	}
	if a.opts.name != "" {
		name = a.opts.name
	}
	if err := state.CheckName(name); err != nil {
		return target{}, usagef("choose one with --name", "%w", err)
	}
	return target{name, profile, a.home.Instance(name)}, nil
}

// named is the instance called arg, unless a profile here is called so too.
func (a *app) named(arg string) (target, error) {
	if a.opts.name != "" && a.opts.name != arg {
		return target{}, usagef("give the profile's path to make another instance of it", "--name %q does not fit instance %q", a.opts.name, arg)
	}
	folder := a.home.Instance(arg)
	st, err := folder.Brief()
	if err == nil {
		err = a.onlyRequested(st, arg)
	}
	if err != nil {
		return target{}, err
	}
	if hasEntry(arg) {
		if here, err := filepath.Abs(arg); err != nil || here != st.Settings.Profile {
			return target{}, hinted(
				"write ./"+arg+" for the profile, or "+st.Settings.Profile+" --name "+arg+" for the instance",
				"%q is an instance and also a profile in this folder", arg)
		}
	}
	return target{arg, st.Settings.Profile, folder}, nil
}

// existing finds an instance by its name. One that is only requested, and was
// never applied, has an empty state but for the settings requested.
func (a *app) existing(name string) (target, *state.State, error) {
	if err := a.openHome(); err != nil {
		return target{}, nil, err
	}
	folder := a.home.Instance(name)
	if state.CheckName(name) != nil || !a.known(name) {
		return target{}, nil, a.noInstance(name)
	}
	st, err := folder.Load()
	if err == nil {
		err = a.onlyRequested(st, name)
	}
	if err != nil {
		return target{}, nil, err
	}
	a.ui.learn(st.Secrets)
	return target{name, st.Settings.Profile, folder}, st, nil
}

// known reports whether there is an instance of that name, or a request for it.
func (a *app) known(name string) bool {
	return a.home.Instance(name).Exists() || exists(requests.Path(a.home, name))
}

// onlyRequested completes the state of an instance that no apply has reached yet
// by what is requested.
func (a *app) onlyRequested(st *state.State, name string) error {
	if st.Settings.Profile != "" {
		return nil
	}
	r, _, err := requests.Read(a.home, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		st.Settings, err = a.requestSettings(r)
	}
	return err
}

// noInstance is the error of a name that no instance has. Where the state
// cannot be read, that is the error.
func (a *app) noInstance(name string) error {
	names, err := a.names()
	if err != nil {
		return err
	}
	if err := readable(a.home, name); err != nil {
		return err
	}
	hint := didYouMean(name, names)
	if hint == "" {
		hint = "instar status lists the instances in " + string(a.home)
	}
	return hinted(hint, "no instance %q", name)
}

// readable says why the state of an instance cannot be looked for, if so.
func readable(home state.Home, name string) error {
	if state.CheckName(name) != nil {
		return nil
	}
	if _, err := os.Lstat(home.Instance(name).Path("state.json")); errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// nothingCalled is the error of an argument that is neither path nor name.
func (a *app) nothingCalled(arg string) error {
	if err := readable(a.home, arg); err != nil {
		return err
	}
	if info, err := os.Stat(arg); err == nil && info.IsDir() {
		_, _, err := profilePath(arg)
		return err
	}
	candidates, _ := a.names() // only for the hint
	folders, _ := filepath.Glob(filepath.Join("*", eval.Entry))
	for _, f := range folders {
		candidates = append(candidates, filepath.Dir(f))
	}
	scripts, _ := filepath.Glob("*.star")
	candidates = append(candidates, scripts...)
	hint := didYouMean(arg, candidates)
	if hint == "" {
		hint = "a profile is a folder with " + eval.Entry + " or a .star file; instar status lists the instances"
	}
	return hinted(hint, "%q is neither a profile nor an instance", arg)
}

// isPath reports whether arg can only be a path.
func isPath(arg string) bool {
	return strings.ContainsAny(arg, `/`+string(filepath.Separator)) || strings.HasSuffix(arg, ".star") || arg == "." || arg == ".."
}

func hasEntry(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, eval.Entry))
	return err == nil && info.Mode().IsRegular()
}

// profilePath returns the absolute path of a profile, a folder or a file, and
// the name that an instance of it has when nobody chose one.
func profilePath(arg string) (path, name string, err error) {
	_, _, name, err = eval.Locate(arg)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			if abs, absErr := filepath.Abs(arg); absErr == nil {
				return "", "", hinted(siblings(abs), "%w", err)
			}
		}
		return "", "", err
	}
	path, err = filepath.Abs(arg)
	if filepath.Base(path) == eval.Entry {
		path = filepath.Dir(path)
	}
	return path, name, err
}

// siblings is the hint for a path of which only the last part is wrong.
func siblings(abs string) string {
	entries, err := os.ReadDir(filepath.Dir(abs))
	if err != nil {
		return "there is no folder " + filepath.Dir(abs)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return didYouMean(filepath.Base(abs), names)
}

package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"instar/runtime/apply"
	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/service"
)

// Folders whose executables are services and runs by that alone. etc/service is
// SlapOS's habit.
var dropInFolders = []struct {
	path string
	run  bool
}{
	{"etc/services", false},
	{"etc/service", false},
	{"etc/run", true},
}

var serviceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@-]{0,60}$`)

// DropInError is a file in a folder of services or runs that cannot be one.
type DropInError struct {
	Path, Why, Remedy string
}

func (e *DropInError) Error() string { return fmt.Sprintf("%s: %s", e.Path, e.Why) }

// Hint says what to do about it.
func (e *DropInError) Hint() string { return e.Remedy }

// dropIns returns the programs that stand in the drop-in folders without being
// declared by service or run.
func (w *work) dropIns(declared map[string]bool) ([]service.Spec, error) {
	var specs []service.Spec
	for _, folder := range dropInFolders {
		scripts, err := w.programsIn(folder.path)
		if err != nil {
			return nil, err
		}
		for _, script := range scripts {
			if declared[script] || w.leaving(script) {
				continue
			}
			spec, err := w.dropIn(script, path.Base(script), folder.run)
			if err != nil {
				return nil, err
			}
			specs = append(specs, spec)
		}
	}
	return specs, nil
}

// programsIn returns what stands in a folder of programs, by name. It refuses a
// folder in which others could put programs.
func (w *work) programsIn(folder string) ([]string, error) {
	info, ok, err := plan.Lookup(w.view, folder)
	if err != nil || !ok {
		return nil, err
	}
	if err := w.safeFolder(folder, info); err != nil {
		return nil, err
	}
	names, err := w.view.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var scripts []string
	for _, name := range names {
		if !fsys.IsTemp(name) {
			scripts = append(scripts, folder+"/"+name)
		}
	}
	return scripts, nil
}

// leaving reports whether a script is one that this apply will remove.
func (w *work) leaving(script string) bool {
	rec, owned := w.state.Owned[script]
	if !owned || rec.Once || rec.Foreign || !w.plan.Complete() {
		return false
	}
	_, declared := w.cmp.Declared[script]
	_, created := w.cmp.Created[script]
	return !declared && !created
}

// safeFolder refuses a folder in which others than root and the instance's user
// could put programs.
func (w *work) safeFolder(name string, info plan.Info) error {
	shown := filepath.Join(w.Settings.Root, name)
	if info.Kind != plan.KindDir {
		return &DropInError{shown, "is not a folder", "it is the folder of the instance's programs"}
	}
	if plan.UnixModes && info.Mode&0o022 != 0 {
		return &DropInError{shown, fmt.Sprintf("has mode %04o: others could put programs there", info.Mode),
			"let only its owner write it: chmod go-w " + shown}
	}
	if info.UID > 0 && w.Identity.UID >= 0 && info.UID != w.Identity.UID {
		return &DropInError{shown, fmt.Sprintf("is owned by user %d: others could put programs there", info.UID),
			"it must be owned by root or by the instance's user"}
	}
	return nil
}

func (w *work) dropIn(script, name string, isRun bool) (service.Spec, error) {
	program := filepath.Join(w.Settings.Root, script)
	if !serviceName.MatchString(name) {
		return service.Spec{}, badName(program, "a service or run")
	}
	at := plan.Pos{File: script}
	if r, ok := w.cmp.Resource(script); ok {
		at = r.Declared()
	}
	spec := w.identify(name, plan.Exec{Argv: []string{program}, Dir: w.Settings.Root, Identity: w.Identity}, at)
	spec.Run = isRun
	if isRun {
		spec.Restart = "on-failure"
	}
	info, err := w.view.Lstat(script)
	if err != nil {
		return spec, err
	}
	own, err := w.ownDigest(script, info)
	if err != nil {
		return spec, err
	}
	if err := w.executable(script, info); err != nil {
		return spec, err
	}
	if err := w.digestSpec(&spec, plan.Exec{Argv: spec.Argv, Dir: spec.Dir}, nil, nil); err != nil {
		return spec, err
	}
	spec.Inputs[script] = own
	spec.Digest = apply.Digest([]byte(spec.Digest), spec.Inputs)
	return spec, nil
}

// executable refuses what stands in a drop-in folder and cannot be started: it
// would silently never be.
func (w *work) executable(script string, info plan.Info) error {
	shown := filepath.Join(w.Settings.Root, script)
	if info.Kind == plan.KindLink {
		to, err := w.view.Readlink(script)
		if err != nil {
			return err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(shown), to)
		}
		shown += " (a link to " + to + ")"
		info, err = w.view.Stat(to)
		if errors.Is(err, fs.ErrNotExist) {
			return &DropInError{shown, "leads nowhere", "make what it leads to, or remove the link"}
		}
		if err != nil {
			return err
		}
	}
	switch {
	case info.Kind == plan.KindFile && !isProgram(script, info):
		return &DropInError{shown, "is not executable", "make it executable (mode 0750), or move it elsewhere"}
	case info.Kind != plan.KindFile && info.Kind != plan.KindLink:
		return &DropInError{shown, "is a " + string(info.Kind), "only executables and links to them may stand here"}
	}
	return nil
}

// isProgram reports whether a file can be started.
func isProgram(script string, info plan.Info) bool {
	if plan.UnixModes {
		return info.Mode&0o111 != 0
	}
	return slices.Contains(plan.ProgramSuffixes[1:], strings.ToLower(filepath.Ext(script)))
}

// ownDigest is the digest of a drop-in: its bytes, or its link's text.
func (w *work) ownDigest(script string, info plan.Info) (string, error) {
	switch info.Kind {
	case plan.KindFile:
		data, err := w.view.ReadFile(script)
		return apply.Hash(data), err
	case plan.KindLink:
		text, err := w.view.Readlink(script)
		return apply.Hash([]byte(text)), err
	}
	return "", nil
}

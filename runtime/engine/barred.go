package engine

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/service"
)

// warnBarred tells of programs that cannot start, since their user may not enter
// the folder that they start in, or the one that they are in. It goes by modes,
// which an access control list can overrule: so it is no error.
func (w *work) warnBarred(specs []service.Spec) {
	if !plan.UnixModes {
		return
	}
	type way struct {
		uid, gid int
		dir      string
	}
	known := map[way]string{}
	for _, spec := range specs {
		for _, dir := range []string{spec.Dir, filepath.Dir(spec.Argv[0])} {
			to := way{spec.Identity.UID, spec.Identity.GID, dir}
			why, done := known[to]
			if !done {
				why = w.barred(spec.Identity, dir)
				known[to] = why
			}
			if why != "" {
				w.warn(fmt.Sprintf("%s: %s cannot start: %s", spec.At, spec.Name, why))
				break
			}
		}
	}
}

// barred says which folder on the way to dir keeps a user out, and why; "" when
// none does, as far as can be seen.
func (w *work) barred(id plan.Identity, dir string) string {
	if id.UID <= 0 || !filepath.IsAbs(dir) {
		return ""
	}
	folder := ""
	for _, part := range strings.Split(filepath.Clean(dir), "/")[1:] {
		folder += "/" + part
		sig, err := w.lookAt(folder)
		if err != nil || !sig.Type().IsDir() || sig.UID < 0 {
			return ""
		}
		may := sig.Mode
		switch {
		case sig.UID == id.UID:
			may >>= 6
		case sig.GID == id.GID || slices.Contains(id.Groups, sig.GID):
			may >>= 3
		}
		if may&1 == 0 {
			return fmt.Sprintf("its user %q may not enter %s (mode %04o, user %d, group %d)", id.User, folder, sig.Mode&0o7777, sig.UID, sig.GID)
		}
	}
	return ""
}

// lookAt tells of a folder as it is, or in a plan will be.
func (w *work) lookAt(folder string) (fsys.Sig, error) {
	rel, inside := strings.CutPrefix(folder+"/", w.Settings.Root+"/")
	look := os.Stat
	if inside {
		folder = filepath.Clean(rel)
		look = func(name string) (fs.FileInfo, error) { return fsys.Lstat(w.view.Disk(), name) }
	}
	info, err := look(folder)
	if err != nil {
		return fsys.Sig{}, err
	}
	sig, _ := fsys.Stat(info)
	return sig, nil
}

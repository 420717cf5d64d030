package builtins

import (
	"fmt"
	"path"
	"strings"

	"instar/runtime/plan"
	"instar/runtime/secret"
)

// argv is a command that anybody can see in the list of processes.
type argv struct {
	who  string // "service nginx"
	name string // shown in quotes behind who, unless it is ""
	args []string
	at   plan.Pos
}

// reference is a path that uses or reload_on names.
type reference struct {
	argument string
	path     string
	at       plan.Pos
}

// afterNames are the names that something is started after.
type afterNames struct {
	who   string // "service nginx"
	names []string
	at    plan.Pos
}

// check refuses what can be judged only when all is declared.
func (s *Session) check() error {
	if err := s.checkSecrets(); err != nil {
		return err
	}
	if s.plan.Pending != nil {
		return nil // what is missing may come
	}
	for _, ref := range s.refs {
		if !s.known(ref.path) {
			return failure(ref.at, didYouMean(ref.path, plan.SortedKeys(s.declared)),
				"%s: nothing declares %q", ref.argument, ref.path)
		}
	}
	if err := s.checkRotations(); err != nil {
		return err
	}
	return s.checkAfter()
}

// checkSecrets refuses secrets where others could read them.
func (s *Session) checkSecrets() error {
	if len(s.plan.Secrets) == 0 {
		return nil
	}
	masker := secret.New(s.plan.Secrets)
	for _, r := range s.plan.Resources {
		file, ok := r.(*plan.File)
		if ok && file.Mode&0o004 != 0 && masker.Contains(file.Content) {
			return failure(file.At, fmt.Sprintf("mode = 0o%o", file.Mode&^0o007),
				"%q contains a secret, and its mode, %04o, lets everybody read it", file.Path, file.Mode)
		}
	}
	for _, p := range s.copies {
		if err := s.checkCopy(p, masker); err != nil {
			return err
		}
	}
	for _, a := range s.argvs {
		for i, arg := range a.args {
			if masker.Contains([]byte(arg)) {
				if a.name != "" {
					a.who += fmt.Sprintf(" %q", a.name)
				}
				return failure(a.at, "pass it in env, in a file, or as stdin",
					"%s: item %d of the command contains a secret, and everybody can see the arguments of a process", a.who, i+1)
			}
		}
	}
	return nil
}

// known reports whether a path is declared, holds or is below something
// declared.
func (s *Session) known(rel string) bool {
	if _, ok := s.declared[rel]; ok {
		return true
	}
	if _, ok := s.below[rel]; ok {
		return true
	}
	for dir := path.Dir(rel); dir != "."; dir = path.Dir(dir) {
		if d, ok := s.declared[dir]; ok && (d.kind == aCopy || d.kind == aProduct) {
			return true
		}
	}
	return false
}

// checkAfter refuses names that nothing has, and circles.
func (s *Session) checkAfter() error {
	if len(s.afters) == 0 {
		return nil
	}
	programs := s.programNames()
	edges := map[string][]string{}
	for _, a := range s.afters {
		kind, name, _ := strings.Cut(a.who, " ")
		for _, before := range a.names {
			folder, ok := programs[before]
			switch {
			case !ok:
				return failure(a.at, didYouMean(before, plan.SortedKeys(programs)), "%s: after: no service is called %q", a.who, before)
			case kind == "service" && folder == "etc/run":
				return failure(a.at, "", "%s: after: %q is a run, and a service can only be started after services", a.who, before)
			}
		}
		edges[name] = a.names
	}
	for _, a := range s.afters {
		_, name, _ := strings.Cut(a.who, " ")
		if circle := findCircle(edges, name); circle != nil {
			return failure(a.at, "", "after: each waits for the next: %s", strings.Join(circle, " → "))
		}
	}
	return nil
}

// programNames returns what is started by standing in its folder, by name.
func (s *Session) programNames() map[string]string {
	programs := map[string]string{}
	for rel, d := range s.declared {
		dir, name := path.Split(rel)
		dir = strings.TrimSuffix(dir, "/")
		for _, folder := range programFolders {
			if dir == folder && d.kind != aFolder {
				programs[name] = folder
			}
		}
	}
	return programs
}

// findCircle returns a path along edges from start back to it, or nil.
func findCircle(edges map[string][]string, start string) []string {
	seen := map[string]bool{}
	var walk func(name string, way []string) []string
	walk = func(name string, way []string) []string {
		for _, next := range edges[name] {
			if next == start {
				return append(way, next)
			}
			if seen[next] {
				continue
			}
			seen[next] = true
			if circle := walk(next, append(way[:len(way):len(way)], next)); circle != nil {
				return circle
			}
		}
		return nil
	}
	return walk(start, []string{start})
}

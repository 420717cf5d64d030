package generation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	pathpkg "path"
	"path/filepath"
	"slices"
	"strings"

	"instar/runtime/fsys"
	"instar/runtime/plan"
)

// sources enters the files of the profile that the evaluation read. When one of
// them is not what it was then, the generation is torn.
func (k Keeper) sources(w *writer) error {
	if k.Profile == nil {
		w.Torn = "it was not evaluated from files"
		return nil
	}
	dir, entry, err := k.Profile()
	if err != nil {
		w.Torn = err.Error()
		return nil
	}
	w.Entry = entry
	s := &sourcing{dir: dir, skip: k.Skip, found: map[string]Source{}, content: map[string][]byte{}}
	if err := s.all(w.made.Plan); err != nil {
		w.Torn = err.Error()
		return nil
	}
	for _, name := range plan.SortedKeys(s.found) {
		one := s.found[name]
		if one.Kind == plan.KindFile {
			h, err := rawHash(one.Hash)
			if err != nil {
				return err
			}
			one.Pack = w.content(h, s.content[one.Hash])
			w.Packs[one.Pack] += one.Size
		}
		w.Sources = append(w.Sources, one)
	}
	return nil
}

// Bounds of a profile, as they are for one that is copied.
const (
	maxFiles = 10000
	maxBytes = 256 << 20
)

// sourcing collects the files of one profile.
type sourcing struct {
	dir     string
	skip    []string
	files   int
	size    int64
	found   map[string]Source
	content map[string][]byte // by hash
}

// all looks at what the evaluation read, and at what the plan copies.
func (s *sourcing) all(p *plan.Plan) error {
	for _, in := range p.Inputs {
		name, ok := s.inside(in.Path)
		if !ok || in.What != "content" || in.Answer == "" {
			continue
		}
		info, err := os.Stat(in.Path)
		if err != nil {
			return changed(name, err)
		}
		if err := s.file(name, in.Path, info); err != nil {
			return err
		}
		if s.found[name].Hash != in.Answer {
			return changed(name, errors.New("its content is another one"))
		}
	}
	for _, r := range p.Resources {
		from, ok := r.(*plan.Copy)
		if !ok || from.Inside {
			continue
		}
		if name, ok := s.inside(from.From); ok {
			if err := s.tree(name, from.From); err != nil {
				return err
			}
		}
	}
	return s.requested(p)
}

// requested enters the profiles that are requested, as far as they are part of
// this one. What these read is not known here, so all of their folders is.
func (s *sourcing) requested(p *plan.Plan) error {
	for _, r := range p.Requests {
		name := filepath.ToSlash(filepath.Clean(filepath.FromSlash(r.Profile)))
		if !filepath.IsLocal(r.Profile) {
			continue
		}
		path := filepath.Join(s.dir, r.Profile)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			name, path = pathpkg.Dir(name), filepath.Dir(path)
		}
		if err := s.tree(name, path); err != nil {
			return err
		}
	}
	return nil
}

// changed says that a profile is not what was evaluated any more.
func changed(name string, err error) error {
	return fmt.Errorf("%s changed while it was applied: %w", name, err)
}

// inside returns an absolute path relative to the profile's folder.
func (s *sourcing) inside(path string) (string, bool) {
	rel, ok := strings.CutPrefix(path, strings.TrimSuffix(filepath.ToSlash(s.dir), "/")+"/")
	return rel, ok && filepath.IsLocal(rel)
}

func (s *sourcing) file(name, path string, info fs.FileInfo) error {
	if _, known := s.found[name]; known {
		return nil
	}
	s.files++
	s.size += info.Size()
	switch {
	case info.Size() > MaxContent:
		return fmt.Errorf("%s is larger than %d MiB", name, MaxContent>>20)
	case s.files > maxFiles || s.size > maxBytes:
		return fmt.Errorf("it has more than %d files or %d MiB", maxFiles, maxBytes>>20)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return changed(name, err)
	}
	hash := hashOf(data)
	s.content[hash] = data
	s.found[name] = Source{Path: name, Kind: plan.KindFile, Mode: plan.Mode(fsys.Unix(info)), Hash: hash, Size: int64(len(data))}
	return nil
}

// tree enters what is copied: the first link is followed, as the copying does.
func (s *sourcing) tree(name, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return changed(name, err)
	}
	return s.walk(name, path, info)
}

func (s *sourcing) walk(name, path string, info fs.FileInfo) error {
	switch {
	case info.Mode().IsRegular():
		return s.file(name, path, info)
	case info.Mode()&fs.ModeSymlink != 0:
		text, err := os.Readlink(path)
		s.found[name] = Source{Path: name, Kind: plan.KindLink, Link: text}
		return err
	case !info.IsDir() || filepath.Base(path) == ".git" || slices.Contains(s.skip, path):
		return nil
	}
	s.found[name] = Source{Path: name, Kind: plan.KindDir, Mode: plan.Mode(fsys.Unix(info))}
	entries, err := os.ReadDir(path)
	if err != nil {
		return changed(name, err)
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return changed(name, err)
		}
		if err := s.walk(name+"/"+e.Name(), filepath.Join(path, e.Name()), info); err != nil {
			return err
		}
	}
	return nil
}

package generation

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"instar/runtime/plan"
)

// place is where a content stands.
type place struct {
	pack     int
	at, size int64
}

// Verify reads all contents that are kept of the generation, and fails with a
// [*DamagedError] when one is missing or not what it was.
func (g *Generation) Verify() error {
	wanted := map[int]map[string]bool{}
	want := func(pack int, hash string) {
		if pack == 0 {
			return
		}
		if wanted[pack] == nil {
			wanted[pack] = map[string]bool{}
		}
		wanted[pack][hash] = true
	}
	for _, p := range g.Paths {
		want(p.Pack, p.Hash)
	}
	for _, s := range g.Sources {
		want(s.Pack, s.Hash)
	}
	index := map[string]place{}
	for pack, hashes := range wanted {
		if err := g.store.scan(pack, hashes, index); err != nil {
			return err
		}
	}
	for _, hashes := range wanted {
		for hash := range hashes {
			if _, ok := index[hash]; !ok {
				return &DamagedError{g.store.path(g.Number), fmt.Errorf("the content with SHA-256 %s is missing", hash)}
			}
		}
	}
	g.index = index
	return nil
}

// scan reads the contents in the file of one generation, checks those that are
// wanted, and enters them into index.
func (s Store) scan(pack int, wanted map[string]bool, index map[string]place) error {
	before, err := s.front(pack, true)
	if err != nil {
		return err
	}
	at := before.at
	f, err := os.Open(s.path(pack))
	if err != nil {
		return s.unreadable(pack, err)
	}
	defer f.Close()
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return err
	}
	c := &counted{bufio.NewReaderSize(f, 256<<10), io.Discard, at}
	for {
		sum, err := c.bytes(hashLen)
		if err != nil && c.at == at {
			return nil // the end
		}
		size, sizeErr := binary.ReadUvarint(c)
		if err != nil || sizeErr != nil || size > MaxContent {
			return &DamagedError{s.path(pack), errShort}
		}
		hash, start := hex.EncodeToString(sum), c.at
		check := sha256.New()
		n, err := io.CopyN(check, c.Reader, int64(size))
		c.at += n
		if err != nil {
			return &DamagedError{s.path(pack), errShort}
		}
		if wanted[hash] {
			if hex.EncodeToString(check.Sum(nil)) != hash {
				return &DamagedError{s.path(pack), fmt.Errorf("the content with SHA-256 %s is another one", hash)}
			}
			index[hash] = place{pack, start, int64(size)}
		}
		at = c.at
	}
}

// ErrNotKept says that a content was too large to be kept, or made by a command.
var ErrNotKept = errors.New("its content is not kept")

// Content returns the content of a file, or the text of a link, by its hash. The
// generation was verified.
func (g *Generation) Content(hash string) ([]byte, error) {
	at, ok := g.index[hash]
	if !ok {
		return nil, ErrNotKept
	}
	f, err := os.Open(g.store.path(at.pack))
	if err != nil {
		return nil, g.store.unreadable(at.pack, err)
	}
	defer f.Close()
	data := make([]byte, at.size)
	if _, err := f.ReadAt(data, at.at); err != nil {
		return nil, &DamagedError{f.Name(), err}
	}
	if hashOf(data) != hash {
		return nil, &DamagedError{f.Name(), fmt.Errorf("the content with SHA-256 %s is another one", hash)}
	}
	return data, nil
}

// TornError says that nothing can return to a generation.
type TornError struct {
	Number int
	Why    string
}

func (e *TornError) Error() string {
	return fmt.Sprintf("the profile of generation %d is not kept: %s", e.Number, e.Why)
}

// Unpack writes the profile's files below dir, an empty folder. The generation
// was verified.
func (g *Generation) Unpack(dir string) error {
	if g.Torn != "" {
		return &TornError{g.Number, g.Torn}
	}
	for _, s := range g.Sources {
		if !filepath.IsLocal(filepath.FromSlash(s.Path)) {
			return &DamagedError{g.store.path(g.Number), fmt.Errorf("%q is no path in a profile", s.Path)}
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, s := range g.Sources {
		if err := g.unpack(root, s); err != nil {
			return fmt.Errorf("cannot unpack the profile of generation %d: %w", g.Number, err)
		}
	}
	for _, s := range g.Sources { // a copy takes modes from here
		if s.Kind == plan.KindDir {
			if err := root.Chmod(filepath.FromSlash(s.Path), os.FileMode(s.Mode).Perm()|0o700); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *Generation) unpack(root *os.Root, s Source) error {
	name := filepath.FromSlash(s.Path)
	folder := filepath.Dir(name)
	if s.Kind == plan.KindDir {
		folder = name
	}
	if err := makeFolders(root, folder); err != nil {
		return err
	}
	switch s.Kind {
	case plan.KindDir:
		return nil
	case plan.KindLink:
		return root.Symlink(s.Link, name)
	}
	data, err := g.Content(s.Hash)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Path, err)
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(os.FileMode(s.Mode).Perm() | 0o400)
	}
	return errors.Join(err, f.Close())
}

func makeFolders(root *os.Root, folder string) error {
	if folder == "." {
		return nil
	}
	at := ""
	for part := range strings.SplitSeq(folder, string(filepath.Separator)) {
		at = filepath.Join(at, part)
		if err := root.Mkdir(at, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

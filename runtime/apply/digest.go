package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"

	"instar/runtime/plan"
)

// Digester computes what processes depend on: the contents of the declared
// files that a definition mentions, directly or through another declared file.
//
// A mention is a declared file's absolute path with no path character on either
// side. A link counts as its target, a folder mentions nothing below it, and
// what was made once is never mentioned.
type Digester struct {
	root  string
	view  plan.View
	files map[string]plan.PathResource // declared files and links, by relative path
	dirs  map[string]bool
	// made holds the hash of every file that a command makes, as the command's
	// record has it.
	made   map[string]string
	direct map[string][]string // mentions of one file's content, once computed
	hashes map[string]string
}

// NewDigester returns a digester for what c declares below the absolute folder
// root. made gives the hashes of the files that commands make.
func NewDigester(root string, c *Comparison, made map[string]string) *Digester {
	d := &Digester{
		root: root, view: c.view.View, made: made,
		files: map[string]plan.PathResource{}, dirs: map[string]bool{},
		direct: map[string][]string{}, hashes: map[string]string{},
	}
	for name, decl := range c.Declared {
		d.declare(name, decl.Resource)
	}
	for _, r := range c.Same {
		if r, ok := r.(plan.PathResource); ok {
			d.declare(r.Target().Path, r)
		}
	}
	return d
}

func (d *Digester) declare(name string, r plan.PathResource) {
	if _, ok := r.(*plan.Dir); ok {
		d.dirs[name] = true
	} else if !r.Target().Once {
		d.files[name] = r
	}
}

// isPathChar reports whether b can be part of a path in running text.
func isPathChar(b byte) bool {
	return b == '/' || b == '_' || b == '-' || b == '.' || b >= 0x80 ||
		'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
}

// mentions returns the declared files whose absolute paths stand in text.
func (d *Digester) mentions(text string) []string {
	var found []string
	prefix := d.root + "/"
	for at := 0; ; {
		i := strings.Index(text[at:], prefix)
		if i < 0 {
			return found
		}
		start := at + i
		at = start + len(prefix)
		if start > 0 && isPathChar(text[start-1]) {
			continue
		}
		if name, ok := d.longest(text[at:]); ok {
			found = append(found, name)
		}
	}
}

// longest returns the longest declared path that text begins with and that
// ends there.
func (d *Digester) longest(text string) (string, bool) {
	const longestPath = 4096
	best := ""
	for end := 1; end <= len(text) && end <= longestPath; end++ {
		if end < len(text) && isPathChar(text[end]) {
			continue
		}
		if name := text[:end]; d.known(name) {
			best = name
		}
		if end < len(text) && (text[end] == '\n' || text[end] == 0) {
			break
		}
	}
	return best, best != ""
}

func (d *Digester) known(name string) bool {
	if _, ok := d.files[name]; ok {
		return true
	}
	_, ok := d.made[name]
	return ok
}

// Inputs returns, by path, the hash of everything that a process with these
// texts in its definition depends on. Paths in uses are relative to the root,
// or absolute in the release; a folder there means all that is declared below
// it. Nothing in except is followed or listed.
func (d *Digester) Inputs(texts []string, uses []string, except map[string]bool) (map[string]string, error) {
	in := map[string]string{}
	var queue []string
	for _, t := range texts {
		queue = append(queue, d.mentions(t)...)
	}
	for _, u := range uses {
		names, err := d.used(u, in)
		if err != nil {
			return nil, err
		}
		queue = append(queue, names...)
	}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		if _, seen := in[name]; seen || except[name] {
			continue
		}
		more, err := d.follow(name, in)
		if err != nil {
			return nil, err
		}
		queue = append(queue, more...)
	}
	return in, nil
}

// Listed returns the declared files that a list of paths means.
func (d *Digester) Listed(uses []string) (map[string]bool, error) {
	listed := map[string]bool{}
	for _, u := range uses {
		names, err := d.used(u, map[string]string{})
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			listed[name] = true
		}
	}
	return listed, nil
}

// follow enters name into in and returns what it mentions in turn.
func (d *Digester) follow(name string, in map[string]string) ([]string, error) {
	if hash, ok := d.made[name]; ok {
		in[name] = hash
		return nil, nil
	}
	switch r := d.files[name].(type) {
	case nil:
		return nil, nil
	case *plan.Link:
		in[name] = Hash([]byte(r.To))
		return d.target(name, r.To), nil
	default:
		hash, ok := d.hashes[name]
		if !ok {
			data, err := plan.Bytes(r, d.view)
			if err != nil {
				return nil, err
			}
			hash = Hash(data)
			d.hashes[name] = hash
			d.direct[name] = d.mentions(string(data))
		}
		in[name] = hash
		return d.direct[name], nil
	}
}

// target returns the declared path that a link at name leads to, if any.
func (d *Digester) target(name, to string) []string {
	if !path.IsAbs(to) {
		to = path.Join(d.root, path.Dir(name), to)
	}
	rel, ok := strings.CutPrefix(path.Clean(to), d.root+"/")
	if !ok || !d.known(rel) {
		return nil
	}
	return []string{rel}
}

// used resolves one path of a `uses` list: to the declared files it means, or,
// outside the root, into in at once.
func (d *Digester) used(u string, in map[string]string) ([]string, error) {
	if path.IsAbs(u) {
		rel, inside := strings.CutPrefix(u, d.root+"/")
		if !inside {
			hash, err := d.outside(u)
			in[u] = hash
			return nil, err
		}
		u = rel
	}
	if !d.dirs[u] {
		return []string{u}, nil
	}
	var below []string
	for name := range d.files {
		if strings.HasPrefix(name, u+"/") {
			below = append(below, name)
		}
	}
	for name := range d.made {
		if strings.HasPrefix(name, u+"/") {
			below = append(below, name)
		}
	}
	sort.Strings(below)
	return below, nil
}

// outside is the hash of a file of the release, or of all that lies in a folder
// of it. What is missing has a hash too: when it appears, that is a change.
func (d *Digester) outside(name string) (string, error) {
	info, err := d.view.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "missing", nil
	}
	if err != nil {
		return "", err
	}
	return d.content(name, info)
}

func (d *Digester) content(name string, info plan.Info) (string, error) {
	if info.Kind != plan.KindDir {
		return hashOf(d.view, name, info.Kind)
	}
	names, err := d.view.ReadDir(name)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, n := range names {
		info, err := d.view.Lstat(path.Join(name, n))
		if err != nil {
			return "", err
		}
		hash, err := d.content(path.Join(name, n), info)
		if err != nil {
			return "", err
		}
		_, _ = io.WriteString(sum, n+"\x00"+hash+"\x00")
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Digest joins a definition and its inputs into one hex SHA-256.
func Digest(definition []byte, inputs map[string]string) string {
	sum := sha256.New()
	sum.Write(definition)
	for _, name := range plan.SortedKeys(inputs) {
		_, _ = io.WriteString(sum, "\x00"+name+"\x00"+inputs[name])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

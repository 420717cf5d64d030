package engine

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/afero"

	"instar/runtime/apply"
	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/service"
	"instar/runtime/state"
)

// unchanged recognizes an instance of which nothing has changed since it was
// last verified: no input of the evaluation, no path below the root, no
// service. Then only the promises are left to be checked. It evaluates nothing
// and writes nothing; in any doubt it says no.
func (r *run) unchanged(ctx context.Context) (bool, error) {
	if r.Cache == nil || r.Verify {
		return false, nil
	}
	c := r.Cache.LoadCache()
	r.cache = c
	if c == nil || r.Requested != "" && r.Requested != c.Brief.Requested {
		return false, nil
	}
	r.see(c.Brief)
	key, err := r.cacheKey(c.Brief)
	if err != nil || key != c.Key {
		return false, nil
	}
	disk, err := r.Disk.Peek()
	if err != nil || !outsideMatches(c.Outside) || !insideMatches(disk, c, len(c.Inside)) {
		return false, nil
	}
	var specs []service.Spec
	if json.Unmarshal(c.Specs, &specs) != nil || !r.servicesMatch(ctx, specs, c.Brief) {
		return false, nil
	}
	r.specs, r.Specs, r.known = specs, specs, c.Brief
	r.Mask.Add(c.Brief.Secrets...)
	if err := r.fulfil(ctx, c.Brief, &plan.Plan{}); err != nil || r.requests.news {
		return false, err
	}
	r.warnUnsupported(specs)
	p := &plan.Plan{Published: c.Brief.Published, Promises: c.Brief.Promises}
	r.report.Generation = c.Brief.Generation
	r.report.Summary.OK = c.OK
	return true, r.finish(ctx, p)
}

// cacheKey covers all inputs that are no files.
func (r *run) cacheKey(st *state.State) (string, error) {
	if r.Key == nil {
		return "", errors.New("no key")
	}
	key, err := r.Key(st)
	if err != nil {
		return "", err
	}
	settings, err := json.Marshal(r.Settings)
	// The paths of what was read are those that links led to.
	profile, _ := filepath.EvalSymlinks(r.Settings.Profile) // one that is gone differs from all others
	return apply.Digest(settings, map[string]string{"key": key, "profile": profile}), err
}

func outsideMatches(entries []state.Entry) bool {
	for _, e := range entries {
		look := os.Lstat
		if e.How == state.Stat || e.How == state.Kind {
			look = os.Stat
		}
		if !matches(e, look) {
			return false
		}
	}
	return true
}

func matches(e state.Entry, look func(string) (fs.FileInfo, error)) bool {
	fi, err := look(e.Path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) && e.How == state.Absent
	}
	sig, _ := fsys.Stat(fi)
	return e.Matches(sig, true)
}

var errDiffers = errors.New("differs")

// insideMatches looks at so many paths at once.
func insideMatches(disk afero.Fs, c *state.Cache, atOnce int) bool {
	from := 0
	for paths := range slices.Chunk(c.Paths(), max(1, atOnce)) {
		err := fsys.LstatEach(disk, paths, func(i int, sig fsys.Sig, err error) error {
			if err != nil && !missing(err) {
				return err
			}
			if !c.Inside[from+i].Matches(sig, err == nil) {
				return errDiffers
			}
			return nil
		})
		if err != nil {
			return false
		}
		from += len(paths)
	}
	for _, l := range c.Folders {
		now, err := listing(disk, l.Path)
		if err != nil || now.Absent != l.Absent || !slices.Equal(now.Names, l.Names) {
			return false
		}
	}
	return true
}

// missing reports whether err says that nothing stands at a path, be it that its
// folder is a file.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func listing(disk afero.Fs, name string) (state.Listing, error) {
	l := state.Listing{Path: name}
	f, err := disk.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		l.Absent = true
		return l, nil
	}
	if err != nil {
		return l, err
	}
	defer f.Close()
	l.Names, err = f.Readdirnames(-1)
	slices.Sort(l.Names)
	return l, err
}

func (r *run) servicesMatch(ctx context.Context, specs []service.Spec, st *state.State) bool {
	if r.Manager == nil {
		return true
	}
	have, err := r.Manager.Observe(ctx, r.Name)
	if err != nil {
		return false
	}
	for _, c := range service.Reconcile(specs, have, r.requested(st) == state.Started) {
		if !(c.Op == service.Start && r.Held[c.Name]) {
			return false
		}
	}
	return true
}

// tick is longer than the grain of any clock that stamps files: of what was
// changed within it, nobody can say whether it was changed once more.
const tick = 20 * time.Millisecond

// remember saves, after a complete round, what lets the next one be spared, as g
// has gathered it. It is an optimization: when anything is in doubt, there is none.
func (w *work) remember(g *gathering) {
	if w.Cache == nil || w.Planning {
		return
	}
	if g == nil || !w.cacheIt(g) {
		w.Cache.DropCache()
	}
}

func (w *work) cacheIt(g *gathering) bool {
	key, err := w.cacheKey(w.state)
	if err != nil {
		return false
	}
	specs, err := json.Marshal(w.specs)
	if err != nil {
		return false
	}
	g.wait()
	c := &state.Cache{Key: key, Brief: w.state, OK: w.resources(), Specs: specs}
	c.Inside, c.Outside, c.Folders = g.entries, g.outside(), g.folders()
	if !g.ok || !g.verified() || w.publishedBy(w.state) != w.requests.told {
		return false
	}
	if w.Cache.SaveCache(c) != nil {
		return false
	}
	if p := g.planned(); p != nil {
		_ = w.Cache.SavePlanned(c, p) // the one before it does not count for c
	}
	return true
}

// resources counts what the summary counts.
func (w *work) resources() int {
	n := 0
	for _, res := range w.plan.Resources {
		if dir, _ := res.(*plan.Dir); dir == nil || !dir.Implicit {
			n++
		}
	}
	return n
}

// gathering collects what lstat says of everything that a run depends on.
type gathering struct {
	*work
	disk    afero.Fs
	owned   map[string]state.Owned // as it is about to be settled
	sources map[string]string      // see apply.View
	done    chan struct{}          // closed when entries are those of the root
	entries []state.Entry
	moved   []int          // of a part: see part.merge
	index   map[string]int // of entries, by path; nil of a part
	ok      bool
	// verify holds, by path, the hash that a file has to have which was changed
	// so short a time ago that lstat cannot vouch for it.
	verify map[string]string
	young  int64 // the last time, in nanoseconds, at which something outside was changed
}

// gather begins to look at what the next state owns, while that is saved; nil when
// nothing is to be remembered. The caller waits for it.
func (w *work) gather(next *state.State) *gathering {
	if w.Cache == nil || w.Planning || !w.plan.Complete() {
		return nil
	}
	g := &gathering{work: w, disk: w.view.Disk(), owned: next.Owned, sources: maps.Clone(w.view.Sources()),
		done: make(chan struct{}), ok: true, verify: map[string]string{}}
	go func() {
		defer close(g.done)
		g.settleClock()
		g.back.wait()
		g.entries = g.inside()
		if g.part == nil && g.last {
			g.index = make(map[string]int, len(g.entries))
			for i := range g.entries {
				g.index[g.entries[i].Path] = i
			}
		}
	}()
	return g
}

// wait returns when nothing is looked at any more.
func (g *gathering) wait() {
	if g != nil {
		<-g.done
	}
}

// settleClock waits until the clock has left the tick of the last write, where that
// matters.
func (g *gathering) settleClock() {
	if g.did > 0 && !fsys.Vouches(g.disk) {
		time.Sleep(tick - time.Since(g.wrote))
	}
}

// recent reports whether sig is of something that changed since this run began.
func (g *gathering) recent(sig fsys.Sig) bool {
	return sig.Ctime >= g.start.Add(-tick).UnixNano()
}

func (g *gathering) inside() []state.Entry {
	how := make(map[string]byte, len(g.owned)+few)
	for name, rec := range g.owned {
		switch {
		case rec.Once:
			how[name] = state.Exists
		case rec.Kind == plan.KindDir:
			how[name] = state.Meta
		default:
			how[name] = state.Exact
		}
	}
	for _, name := range g.plan.Observed {
		how[name] = state.Exact
	}
	for _, folder := range programFolders() {
		how[folder] = state.Meta
	}
	for _, res := range g.plan.Resources {
		if cmd, ok := res.(*plan.Command); ok {
			for _, name := range cmd.Creates {
				if _, known := how[name]; !known {
					how[name] = state.Exists
				}
			}
		}
	}
	for _, spec := range g.specs {
		for name := range spec.Inputs {
			if _, known := how[name]; !known && name[0] != '/' {
				how[name] = state.Exact
			}
		}
	}
	for name := range g.sources {
		how[name] = state.Exact
	}
	names := plan.SortedKeys(how)
	entries := make([]state.Entry, len(names))
	for i, name := range names {
		entries[i] = state.Entry{Path: name, How: how[name]}
	}
	g.describe(entries)
	if g.part != nil {
		entries, g.moved = g.part.merge(entries)
	}
	return entries
}

// describe fills in what lstat says of the entries. What this run did not change
// it had looked at before it compared, and what was compared need not be read
// again, unless it was changed so shortly before that lstat cannot vouch for it.
func (g *gathering) describe(entries []state.Entry) {
	sources := g.sources
	var look, read []int
	for i := range entries {
		e := &entries[i]
		rec := g.owned[e.Path]
		sig, seen := g.view.Seen(e.Path)
		again, verified := g.vouched[e.Path]
		if !verified {
			again, verified = g.back.sig(e.Path)
		}
		switch {
		case verified && e.How == state.Exact && sources[e.Path] == "":
			e.Sig = again
		case seen && !g.dirty && !g.changed[e.Path]:
			_ = g.describeOne(e, sig, nil) // there is no error
		case g.changed[e.Path] && e.How == state.Exact && rec.Kind == plan.KindFile && rec.Hash != "" && sources[e.Path] == "":
			read = append(read, i)
		default:
			look = append(look, i)
		}
	}
	err := fsys.LstatEach(g.disk, pathsOf(entries, look), func(k int, sig fsys.Sig, err error) error {
		return g.describeOne(&entries[look[k]], sig, err)
	})
	var differs atomic.Bool
	fsys.ReadEach(g.disk, pathsOf(entries, read), maxVerified, func(k int, sig fsys.Sig, data []byte, err error) {
		e := &entries[read[k]]
		e.Sig = sig
		if err != nil || apply.Hash(data) != g.owned[e.Path].Hash {
			differs.Store(true)
		}
	})
	g.ok = g.ok && err == nil && !differs.Load()
}

// maxVerified bounds what is read of one file, in bytes.
const maxVerified = 1 << 30

func pathsOf(entries []state.Entry, which []int) []string {
	paths := make([]string, len(which))
	for k, i := range which {
		paths[k] = entries[i].Path
	}
	return paths
}

func (g *gathering) describeOne(e *state.Entry, sig fsys.Sig, err error) error {
	switch {
	case missing(err):
		e.How = state.Absent
		return nil
	case err != nil:
		return err
	}
	e.Sig = sig
	if e.How == state.Exact && g.recent(sig) {
		g.verify[e.Path] = g.owned[e.Path].Hash
		if hash := g.sources[e.Path]; hash != "" {
			g.verify[e.Path] = hash
		}
		if _, observed := slices.BinarySearch(g.plan.Observed, e.Path); observed {
			g.verify[e.Path] = g.saw[e.Path]
		}
	}
	return nil
}

// outside looks at what evaluation and comparison looked at, and at the records
// of commands.
func (g *gathering) outside() []state.Entry {
	read, looked := map[string]string{}, map[string]bool{}
	for name, hash := range g.view.Outside() {
		read[name] = hash
	}
	for _, in := range g.plan.Inputs {
		if in.What == "exists" {
			looked[in.Path] = true
		} else {
			read[in.Path] = in.Answer
		}
	}
	var entries []state.Entry
	for _, name := range plan.SortedKeys(read) {
		delete(looked, name)
		entries = append(entries, g.lookOutside(name, state.Stat, read[name])...)
	}
	for _, name := range plan.SortedKeys(looked) {
		entries = append(entries, g.lookOutside(name, state.Kind, "")...)
	}
	for _, res := range g.plan.Resources {
		if cmd, ok := res.(*plan.Command); ok {
			// A record is replaced as a whole, so that it never changes unseen.
			entries = append(entries, g.lookOutside(g.Commands.Path(cmd.Name), state.Exact, "")...)
		}
	}
	state.SortEntries(entries)
	return entries
}

// lookOutside returns what lstat, and for a link stat too, say of name. hash is
// that of what was read there.
func (g *gathering) lookOutside(name string, how byte, hash string) []state.Entry {
	link, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return []state.Entry{{Path: name, How: state.Absent}}
	}
	if err != nil {
		g.ok = false
		return nil
	}
	var entries []state.Entry
	if link.Mode()&fs.ModeSymlink != 0 || how == state.Exact {
		sig, _ := fsys.Stat(link)
		entries = append(entries, state.Entry{Path: name, How: state.Exact, Sig: sig})
	}
	fi, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || how == state.Exact {
		return entries // a link that leads nowhere
	}
	if err != nil {
		g.ok = false
		return nil
	}
	sig, _ := fsys.Stat(fi)
	if how == state.Stat && g.recent(sig) {
		g.ok = g.ok && hash != ""
		g.verify[name] = hash
		g.young = max(g.young, sig.Ctime)
	}
	return append(entries, state.Entry{Path: name, How: how, Sig: sig})
}

// programFolders are the folders of what runs by standing there.
func programFolders() []string {
	names := []string{prermFolder}
	for _, folder := range dropInFolders {
		names = append(names, folder.path)
	}
	return names
}

// folders lists those whose very names matter: of drop-ins, and those that go
// once they are empty.
func (g *gathering) folders() []state.Listing {
	names := programFolders()
	for name, rec := range g.state.Owned {
		if _, declared := g.cmp.Declared[name]; !declared && rec.Kind == plan.KindDir && !rec.Once && name != "." {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var list []state.Listing
	for _, name := range names {
		l, err := listing(g.disk, name)
		g.ok = g.ok && err == nil
		list = append(list, l)
	}
	return list
}

// pauseAfter returns how long it takes until the clock that has stamped a file has left
// the tick of that. What is stamped in the future was so by a clock that is ahead, or
// before ours was put back: a tick from now, that clock has gone on by as much.
func pauseAfter(stamp, now time.Time) time.Duration {
	return min(tick, tick-now.Sub(stamp))
}

// verified reads again what changed while this run went on.
func (g *gathering) verified() bool {
	if g.young > 0 { // the clock has to leave the tick of that, too
		time.Sleep(pauseAfter(time.Unix(0, g.young), time.Now()))
	}
	for name, want := range g.verify {
		if got, err := g.hash(name); err != nil || got != want {
			return false
		}
	}
	return true
}

// hash is that of a file's content, a link's text or a folder's names.
func (g *gathering) hash(name string) (string, error) {
	info, err := g.view.Stat(name)
	if err != nil {
		return "", err
	}
	switch info.Kind {
	case plan.KindDir:
		names, err := g.view.ReadDir(name)
		return apply.HashNames(names), err
	case plan.KindLink:
		text, err := g.view.Readlink(name)
		return apply.Hash([]byte(text)), err
	}
	data, err := g.view.ReadFile(name)
	return apply.Hash(data), err
}

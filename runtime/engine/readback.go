package engine

import (
	"bytes"
	"sort"
	"time"

	"github.com/spf13/afero"

	"instar/runtime/fsys"
	"instar/runtime/plan"
)

// Where timestamps are no finer than a tick of the clock, what was written has to be
// read once more, after the clock has left the tick of the last write, before lstat can
// vouch for it. Where it is much, that happens while the state is being settled.

// readBack is what was read again: by path, what lstat said of a file that holds
// what was written.
type readBack struct {
	done     chan struct{}
	verified map[string]fsys.Sig
}

// startReadBack begins to read what the plan's files say, as far as this round has
// written them. The caller waits for it. It is nil where there is too little.
func (w *work) startReadBack() *readBack {
	if w.Cache == nil || w.Planning || w.dirty || w.disk == nil || !w.plan.Complete() {
		return nil
	}
	var files []*plan.File
	for _, r := range w.plan.Resources {
		if f, ok := r.(*plan.File); ok && !f.Once && w.changed[f.Path] {
			if _, known := w.vouched[f.Path]; !known {
				files = append(files, f)
			}
		}
	}
	if len(files) < togetherLeast {
		return nil
	}
	b := &readBack{done: make(chan struct{}), verified: make(map[string]fsys.Sig, len(files))}
	go b.read(w.disk, files, tick-time.Since(w.wrote))
	return b
}

func (b *readBack) read(disk afero.Fs, files []*plan.File, wait time.Duration) {
	defer close(b.done)
	time.Sleep(wait)
	sort.Slice(files, func(i, j int) bool { return files[i].Path < files[j].Path })
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = f.Path
	}
	sigs := make([]fsys.Sig, len(files))
	same := make([]bool, len(files))
	fsys.ReadEach(disk, paths, maxVerified, func(i int, sig fsys.Sig, data []byte, err error) {
		sigs[i], same[i] = sig, err == nil && bytes.Equal(data, files[i].Content)
	})
	for i, path := range paths {
		if same[i] {
			b.verified[path] = sigs[i]
		}
	}
}

// wait returns when nothing is read any more.
func (b *readBack) wait() {
	if b != nil {
		<-b.done
	}
}

// sig returns what lstat said of a file that was read again, and holds what was
// written.
func (b *readBack) sig(path string) (fsys.Sig, bool) {
	if b == nil {
		return fsys.Sig{}, false
	}
	sig, ok := b.verified[path]
	return sig, ok
}

package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// files notices changes of requests, and of the sources of profiles. It makes
// things quick: a scan finds what it misses.
type files struct {
	dir     string // of the requests
	watcher *fsnotify.Watcher
	wake    chan struct{} // holds a token when there is something to take
	work    sync.WaitGroup

	mu       sync.Mutex
	folders  map[string]map[string]bool // of sources: the instances, by folder
	requests map[string]bool            // instances whose request may have changed
	sources  map[string]bool            // and whose source
	lost     bool                       // events were lost
}

// watchFiles begins to watch the folder of the requests, which is made.
func watchFiles(dir string) (*files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create the folder of requests: %w", err)
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("cannot watch for requests: %w", err)
	}
	f := &files{dir: dir, watcher: w, wake: make(chan struct{}, 1), folders: map[string]map[string]bool{},
		requests: map[string]bool{}, sources: map[string]bool{}}
	if err := w.Add(dir); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("cannot watch for requests: %w", err)
	}
	f.work.Go(f.run)
	return f, nil
}

func (f *files) close() {
	_ = f.watcher.Close()
	f.work.Wait()
}

func (f *files) run() {
	var settle *time.Timer
	for {
		select {
		case ev, ok := <-f.watcher.Events:
			if !ok {
				if settle != nil {
					settle.Stop()
				}
				return
			}
			if !f.note(ev.Name) {
				continue
			}
		case _, ok := <-f.watcher.Errors:
			if !ok {
				continue // so is Events
			}
			f.mu.Lock()
			f.lost = true
			f.mu.Unlock()
		}
		if settle == nil {
			settle = time.AfterFunc(settleTime, f.tell)
		} else {
			settle.Reset(settleTime)
		}
	}
}

func (f *files) tell() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// note remembers what a change of path may mean.
func (f *files) note(path string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir := filepath.Dir(path)
	if dir == f.dir {
		name, ok := strings.CutSuffix(filepath.Base(path), ".json")
		if ok {
			f.requests[name] = true
		}
		return ok
	}
	any := false
	for _, folder := range []string{dir, path} {
		for name := range f.folders[folder] {
			f.sources[name] = true
			any = true
		}
	}
	return any
}

// noticed delivers when there is something to take.
func (f *files) noticed() <-chan struct{} { return f.wake }

// take returns the instances whose requests, or sources, may have changed; all
// means any.
func (f *files) take() (requests, sources []string, all bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.requests {
		requests = append(requests, name)
	}
	for name := range f.sources {
		sources = append(sources, name)
	}
	all = f.lost
	f.requests, f.sources, f.lost = map[string]bool{}, map[string]bool{}, false
	return requests, sources, all
}

// again watches the folder of requests anew: it may have been replaced.
func (f *files) again() {
	if os.MkdirAll(f.dir, 0o700) == nil {
		_ = f.watcher.Add(f.dir) // a scan does what this cannot
	}
}

// watch replaces the folders of an instance's source.
func (f *files) watch(name string, folders []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted := map[string]bool{}
	for _, folder := range folders {
		wanted[folder] = true
		if f.folders[folder] == nil {
			f.folders[folder] = map[string]bool{}
		}
		f.folders[folder][name] = true
		_ = f.watcher.Add(folder) // a scan does what this cannot
	}
	for folder, names := range f.folders {
		if wanted[folder] {
			continue
		}
		delete(names, name)
		if len(names) == 0 {
			delete(f.folders, folder)
			_ = f.watcher.Remove(folder) // it may be gone
		}
	}
}

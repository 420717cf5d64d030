package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// files notices changes of requests, and of the sources of profiles. It makes
// things quick: a scan finds what it misses.
type files struct {
	dir     string // of the requests
	log     func(text string)
	watcher *fsnotify.Watcher // nil: the system gives none
	wake    chan struct{}     // holds a token when there is something to take
	work    sync.WaitGroup

	mu       sync.Mutex
	folders  map[string]map[string]bool // of sources: the instances, by folder
	of       map[string][]string        // the folders, by instance
	failed   bool                       // something could not be watched, which was told
	requests map[string]bool            // instances whose request may have changed
	sources  map[string]bool            // and whose source
	lost     bool                       // events were lost
}

// newWatcher is replaced by tests.
var newWatcher = fsnotify.NewWatcher

// watchFiles begins to watch the folder of the requests, which is made. Log tells
// the operator what cannot be watched.
func watchFiles(dir string, log func(text string)) (*files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create the folder of requests: %w", err)
	}
	f := &files{dir: dir, log: log, wake: make(chan struct{}, 1), folders: map[string]map[string]bool{}, of: map[string][]string{},
		requests: map[string]bool{}, sources: map[string]bool{}}
	w, err := newWatcher()
	if err != nil {
		f.unwatched(fmt.Errorf("cannot watch for requests: %w", err))
		return f, nil
	}
	f.watcher = w
	f.work.Go(f.run)
	return f, nil
}

func (f *files) close() {
	if f.watcher != nil {
		_ = f.watcher.Close()
	}
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
		f.mu.Lock()
		defer f.mu.Unlock()
		f.add(f.dir)
	}
}

// watch replaces the folders of an instance's source.
func (f *files) watch(name string, folders []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, folder := range folders {
		if f.folders[folder] == nil {
			f.folders[folder] = map[string]bool{}
		}
		f.folders[folder][name] = true
		f.add(folder)
	}
	for _, folder := range f.of[name] {
		if slices.Contains(folders, folder) {
			continue
		}
		delete(f.folders[folder], name)
		if len(f.folders[folder]) == 0 {
			delete(f.folders, folder)
			if f.watcher != nil {
				_ = f.watcher.Remove(folder) // it may be gone
			}
		}
	}
	if f.of[name] = folders; len(folders) == 0 {
		delete(f.of, name)
	}
}

// add watches a folder. Where the system has no more watches to give, a scan does
// what they would. The caller holds mu.
func (f *files) add(folder string) {
	if f.watcher == nil {
		return
	}
	err := f.watcher.Add(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.unwatched(fmt.Errorf("cannot watch %s: %w", folder, err))
	}
}

// unwatched says once that changes are found later than usual. The caller holds mu.
func (f *files) unwatched(err error) {
	if f.failed {
		return
	}
	f.failed = true
	text := fmt.Sprintf("%v: some changes are noticed only when all is looked at, once a minute", err)
	if runtime.GOOS == "linux" && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EMFILE)) {
		text += "; the sysctls fs.inotify.max_user_watches and max_user_instances raise what there is"
	}
	f.log(text)
}

package native

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"instar/runtime/service"
)

const (
	markerSuffix = ".json"
	// takenSuffix ends the name of a marker that is being delivered. It counts
	// as one, for whoever delivers after a crash.
	takenSuffix = ".taken"
	// scanPeriod is how often the folder is read although nothing was noticed.
	scanPeriod = time.Minute
)

// exitsDir is where markers are.
func exitsDir(stateDir string) string { return filepath.Join(stateDir, "exits") }

// markerPath is the marker of a service's last end that nobody asked for. An
// instance's name has no dot.
func markerPath(stateDir, instance, name string) string {
	return filepath.Join(exitsDir(stateDir), instance+"."+name+markerSuffix)
}

// marker is what a marker says.
type marker struct {
	Instance string `json:"instance"`
	Service  string `json:"service"`
	Code     string `json:"code"`   // "exited", "killed", "dumped"; else it was never started
	Status   string `json:"status"` // number, or name of the signal
	Reason   string `json:"reason"` // of a shim: what happened, where the two don't tell
}

// watchExits delivers what the markers in a folder say, the old ones first,
// until ctx ends. A marker is gone once it has been delivered; of several exits
// of one service between two deliveries the last one is told. One watcher at a
// time.
func watchExits(ctx context.Context, dir string) (<-chan service.Exit, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot watch for exits: %w", err)
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("cannot watch for exits: %w", err)
	}
	if err := watcher.Add(dir); err != nil {
		_ = watcher.Close()
		return nil, fmt.Errorf("cannot watch for exits: %w", err)
	}
	exits := make(chan service.Exit)
	go func() {
		defer close(exits)
		defer watcher.Close()
		for {
			if !deliver(ctx, dir, exits) {
				return
			}
			if !noticed(ctx, watcher) {
				return
			}
		}
	}()
	return exits, nil
}

// noticed waits until the folder should be read again.
func noticed(ctx context.Context, watcher *fsnotify.Watcher) bool {
	scan := time.NewTimer(scanPeriod)
	defer scan.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-scan.C:
			return true
		case event, ok := <-watcher.Events:
			if !ok {
				return false
			}
			if event.Has(fsnotify.Create) && strings.HasSuffix(event.Name, markerSuffix) {
				return true
			}
		case _, ok := <-watcher.Errors: // events were lost, perhaps
			return ok
		}
	}
}

// deliver sends what all markers in dir say. False means that ctx ended.
func deliver(ctx context.Context, dir string, exits chan<- service.Exit) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return true // it may come back
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if strings.HasSuffix(path, markerSuffix) {
			if os.Rename(path, path+takenSuffix) != nil {
				continue
			}
			path += takenSuffix
		}
		if !strings.HasSuffix(path, markerSuffix+takenSuffix) {
			continue
		}
		if exit, err := readMarker(path); err == nil {
			select {
			case exits <- exit:
			case <-ctx.Done():
				return false
			}
		}
		_ = os.Remove(path)
	}
	return true
}

func readMarker(path string) (service.Exit, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return service.Exit{}, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return service.Exit{}, err
	}
	var m marker
	if err := json.Unmarshal(data, &m); err != nil {
		return service.Exit{}, err
	}
	code, reason := ending(m.Code, m.Status)
	if m.Reason != "" {
		reason = m.Reason
	}
	return service.Exit{Instance: m.Instance, Name: m.Service, Code: code, Reason: reason, At: info.ModTime()}, nil
}

// removeMarkers forgets the exits of a service.
func removeMarkers(stateDir, instance, name string) error {
	path := markerPath(stateDir, instance, name)
	for _, p := range []string{path, path + takenSuffix} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ending translates $EXIT_CODE and $EXIT_STATUS: the exit code, -1 for a
// signal, and how that is said.
func ending(code, status string) (int, string) {
	n, err := strconv.Atoi(status)
	switch {
	case code == "exited" && err == nil:
		return n, exitText(n)
	case code == "killed":
		return -1, "signal: " + status
	case code == "dumped":
		return -1, "signal: " + status + " (core dumped)"
	default:
		return -1, "could not be started"
	}
}

// exitText says a status as people know it, and what systemd means by those
// that it makes up itself for what it could not start.
func exitText(status int) string {
	text := "exit status " + strconv.Itoa(status)
	if meaning := systemdStatus[status]; meaning != "" {
		text += " (" + meaning + ")"
	}
	return text
}

var systemdStatus = map[int]string{
	200: "its folder cannot be entered", 208: "the file of its environment cannot be read", 203: "its program cannot be executed", 216: "its group is unknown",
	217: "its user is unknown", 218: "its capabilities cannot be set", 226: "its file systems cannot be set up",
}

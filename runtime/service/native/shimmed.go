package native

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"instar/runtime/plan"
	"instar/runtime/process"
	"instar/runtime/service"
	"instar/runtime/service/shim"
)

// shimmed is the [service.Manager] of a machine whose init does no more than
// run scripts. Each service has a script of its own, which has a shim run it:
// what is to run stands in the shim's file, what runs in its status.
type shimmed struct {
	init     initSystem
	stateDir string
	binary   string // instar
}

var _ service.Manager = (*shimmed)(nil)

// initSystem is what differs between those that run scripts.
type initSystem interface {
	platform() string
	// usable says why the manager cannot be used, if so: by root, or by another
	// user for services of their own.
	usable(root bool) error
	// store is where scripts are kept.
	store() scriptStore
	// head is what a script begins with, before the mark.
	head() string
	// text returns a script without its head and mark.
	text(s initScript) string
	// specOf finds in such a text the path of the shim's file.
	specOf(text string) (path string, found bool)
	// booted returns those scripts that are started with the machine as they
	// should be.
	booted(levels map[string]int) (map[string]bool, error)
	// enable has scripts be started with the machine, those of lower levels
	// before others, and disable no longer.
	enable(ctx context.Context, levels map[string]int) error
	disable(ctx context.Context, names []string) error
	// restart starts a service, after stopping it if it runs, and stop stops it;
	// the error has what was said about it. A place of "" is no shim's.
	restart(ctx context.Context, name string, place shim.Place) error
	stop(ctx context.Context, name string, place shim.Place) error
}

// scriptStore keeps what makes services known to an init, each by a path, which
// need not be one of a file.
type scriptStore interface {
	// path is where the script called name belongs.
	path(name string) string
	// read returns what stands at a path, with its mode; nil when there is
	// nothing. Something that can be nobody's script is a [*ForeignError].
	read(path string) ([]byte, fs.FileMode, error)
	// write replaces what differs, by path: each one whole, and durable before
	// it counts.
	write(scripts map[string][]byte) error
	remove(path string) error
	// list returns the paths of all scripts whose names begin with prefix.
	list(prefix string) ([]string, error)
	mode() fs.FileMode
}

// errNotRoot keeps a user from the scripts of a machine.
var errNotRoot = errors.New("only root can install its scripts")

func newShimmed(init initSystem, options Options) (*shimmed, error) {
	if !filepath.IsAbs(options.Binary) {
		return nil, fmt.Errorf("cannot use %s: the path of instar is not known", init.platform())
	}
	for _, path := range []string{options.StateDir, options.Binary} {
		if hasControl(path) || !utf8.ValidString(path) {
			return nil, fmt.Errorf("cannot use %s: %q is no line of UTF-8, which a script could hold", init.platform(), path)
		}
	}
	if err := init.usable(!options.User && Elevated()); err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", init.platform(), err)
	}
	return &shimmed{init: init, stateDir: filepath.Clean(options.StateDir), binary: options.Binary}, nil
}

// Platform implements [service.Manager].
func (m *shimmed) Platform() string { return m.init.platform() }

// Render implements [service.Manager]: one script. What the shim is told holds
// secrets, and is not shown.
func (m *shimmed) Render(spec service.Spec) ([]service.Artifact, error) {
	if err := checkScript(spec); err != nil {
		return nil, fmt.Errorf("cannot make a script for %q of %s: %w", spec.Name, spec.Instance, err)
	}
	sc := m.script(spec)
	return []service.Artifact{{Path: m.init.store().path(sc.name), Data: m.render(sc), Mode: uint32(m.init.store().mode())}}, nil
}

func (m *shimmed) render(sc initScript) []byte {
	return append([]byte(m.init.head()), seal(m.init.text(sc))...)
}

// file is what the shim of a service is told.
func (m *shimmed) file(spec service.Spec) shim.File {
	f := shim.File{Spec: spec, StateDir: m.stateDir, LogDir: filepath.Join(m.stateDir, "instances", spec.Instance, "logs")}
	if !spec.Run {
		f.Marker = markerPath(m.stateDir, spec.Instance, spec.Name)
	}
	return f
}

func (m *shimmed) place(instance, name string) shim.Place { return shim.At(m.stateDir, instance, name) }

// lostPeriod is how often shims are looked for that were killed together with
// what starts them again.
const lostPeriod = 10 * time.Second

// Exits implements [service.Manager]. Only one caller at a time gets them, all
// of them, of whatever instance. A service whose shim was killed counts as one
// that has ended, so that whoever hears of it looks after it.
func (m *shimmed) Exits(ctx context.Context) (<-chan service.Exit, error) {
	exits, err := watchExits(ctx, exitsDir(m.stateDir))
	if err != nil {
		return nil, err
	}
	go m.watchLost(ctx)
	return exits, nil
}

// watchLost marks those whose shim is gone, once each.
func (m *shimmed) watchLost(ctx context.Context) {
	told := map[shim.Place]process.Tree{}
	for {
		m.markLost(told)
		select {
		case <-ctx.Done():
			return
		case <-time.After(lostPeriod):
		}
	}
}

func (m *shimmed) markLost(told map[shim.Place]process.Tree) {
	instances, _ := shim.Instances(m.stateDir) // what can't be read now may be the next time
	for _, instance := range instances {
		names, _ := shim.Names(m.stateDir, instance)
		for _, name := range names {
			place := m.place(instance, name)
			s, err := place.Status()
			if err != nil {
				continue
			}
			lost, coming := s.Lost(place)
			if !lost || coming || told[place] == s.Shim || s.State.Run {
				continue
			}
			exit := service.Exit{Instance: instance, Name: name, Code: -1, Reason: "its supervisor was killed"}
			if shim.WriteMarker(markerPath(m.stateDir, instance, name), shim.MarkerOf(exit)) == nil {
				told[place] = s.Shim
			}
		}
	}
}

// run executes a command of the system in an environment of its own. The error
// has what it wrote: what instar said, if it was that.
func run(ctx context.Context, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=" + plan.DefaultPath, "LC_ALL=C", "HOME=/", "EINFO_QUIET=yes"}
	cmd.Dir = "/"
	cmd.WaitDelay = 2 * time.Second
	out := head{most: 16 << 10}
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	var said, other []string
	for line := range bytes.Lines(out.text) {
		text := strings.TrimSpace(string(line))
		if ours, ok := strings.CutPrefix(text, "instar: "); ok {
			said = append(said, ours)
		} else if text != "" {
			other = append(other, text)
		}
	}
	switch {
	case len(said) > 0:
		return errors.New(strings.Join(said, "\n"))
	case len(other) > 0:
		return fmt.Errorf("%s: %s", strings.Join(argv, " "), strings.Join(other, "\n"))
	}
	return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
}

// together calls do for all names, a bounded number at once, and returns what
// went wrong in the order of names.
func together(names []string, do func(name string) error) error {
	failed := make([]error, len(names))
	slots := make(chan struct{}, 4*runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for i, name := range names {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			failed[i] = do(name)
		})
	}
	all.Wait()
	return errors.Join(failed...)
}

package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"instar/runtime/control"
	"instar/runtime/engine"
	"instar/runtime/request"
	"instar/runtime/service"
	"instar/runtime/state"
)

// DaemonOptions say what a daemon serves, and with what.
type DaemonOptions struct {
	Home state.Home
	// Subject returns how one instance is processed.
	Subject func(name string) Subject
	// Manager returns the service manager that a setting means: nil when services
	// are left alone, [ErrNoManager] where none runs this machine.
	Manager func(setting string) (service.Manager, error)
	// Embedded makes the manager of those whose machine has none: it is asked once,
	// and tells changed of every change of a service.
	Embedded func(changed func(instance string, s service.State)) (Embedded, error)
	// Settings completes what a request says by what it leaves out.
	Settings func(*request.Request) (state.Settings, error)
	// Merge returns the settings now with the changes that were made to base.
	Merge func(now, base, changed state.Settings) state.Settings
	// Parallel is how many instances are processed at once; 0: as many as there
	// are CPUs, and at least two.
	Parallel int
	// Calm, if not nil, is called when nothing is at work any more, after much was.
	Calm    func()
	Trust   request.Trust
	Version string // of this program, for metrics
	// Log tells the operator what happens, masked; it may be called from several
	// goroutines.
	Log func(instance, text string)
}

// Subject is one instance as whoever runs the daemon wires it up.
type Subject struct {
	// Options are those of the instance, but for those that the daemon sets: Engine, Manager, Sink, Unasked and Hurry.
	Options Options
	// Build returns what processes the instance with settings, by the profile at
	// the path profile, its services under manager (nil leaves them alone).
	Build func(s state.Settings, profile string, manager service.Manager, action control.Action) (e *engine.Engine, closeEngine func(), err error)
	// Alone takes the lock of those who serve the instance, or fails with
	// [state.ErrLocked].
	Alone func() (release func(), err error)
	// Asked, if not nil, is told that a processing is wanted, before it waits for
	// its turn.
	Asked func()
}

// Embedded is a service manager that lives in the daemon.
type Embedded interface {
	service.Manager
	Close(ctx context.Context) error
}

// ErrNoManager says that no service manager of this machine can be used.
var ErrNoManager = errors.New("no service manager of this machine can be used")

// Daemon serves all instances that are requested of this node, each by an
// [Instance] of its own. What it knows stands in files: requests, states, and
// copies of profiles. So it may be killed at any time.
type Daemon struct {
	options DaemonOptions
	slots   *slots
	looks   *slots // at sources of profiles
	work    sync.WaitGroup
	files   *files
	took    *took
	end     context.CancelFunc
	endTime time.Duration // see the constant

	mu       sync.Mutex
	ctx      context.Context // while it runs
	kept     map[string]*kept
	managers map[string]service.Manager // by setting
	embedded Embedded                   // nil until it is needed
}

// NewDaemon returns a daemon that Run will run.
func NewDaemon(options DaemonOptions) *Daemon {
	if options.Parallel <= 0 {
		options.Parallel = max(2, runtime.NumCPU())
	}
	if options.Log == nil {
		options.Log = func(string, string) {}
	}
	return &Daemon{options: options, slots: newSlots(options.Parallel, options.Calm), looks: newSlots(looking, nil), took: newTook(), endTime: endTime,
		kept: map[string]*kept{}, managers: map[string]service.Manager{}}
}

// Times of a daemon.
const (
	scanPeriod = time.Minute            // how often everything is looked at although nothing was noticed
	settleTime = 100 * time.Millisecond // how long after an event files are read
	slotTime   = 5 * time.Second        // how long a processing keeps others out at most
	endTime    = 5 * time.Second        // how long processings have when the daemon ends
	closeTime  = 4 * time.Second        // and its own services then
)

// Run serves until ctx ends. It calls ready when all requests were read: from
// then on the methods of [control.Server] answer. It returns within ten seconds
// of the end of ctx: what has not ended by then is abandoned, and continued by
// the next Run.
func (d *Daemon) Run(ctx context.Context, ready func()) error {
	var err error
	if d.files, err = watchFiles(request.Dir(d.options.Home), func(text string) { d.options.Log("", text) }); err != nil {
		return err
	}
	defer d.files.close()
	running, cancel := context.WithCancel(ctx)
	d.end = cancel
	d.mu.Lock()
	d.ctx = running
	d.mu.Unlock()
	d.scan()
	ready()
	d.loop(running)
	return d.close()
}

// loop notices what changes until ctx ends.
func (d *Daemon) loop(ctx context.Context) {
	scan := time.NewTicker(scanPeriod)
	defer scan.Stop()
	due := time.NewTimer(d.untilDue())
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-scan.C:
			d.scan()
		case <-due.C:
			d.each((*kept).consider)
		case <-d.files.noticed():
			d.noticed()
		}
		due.Reset(d.untilDue())
	}
}

// noticed looks at what files have changed.
func (d *Daemon) noticed() {
	requests, sources, all := d.files.take()
	if all {
		d.scan()
		return
	}
	for _, name := range requests {
		d.look(name)
	}
	var list []*kept
	for _, name := range sources {
		if k := d.find(name); k != nil {
			list = append(list, k)
		}
	}
	d.follow(list)
}

// scan looks at everything.
func (d *Daemon) scan() {
	d.files.again()
	names, err := request.Names(d.options.Home)
	if err != nil {
		d.options.Log("", fmt.Sprintf("cannot read the requests: %v", err))
		return // what is known goes on
	}
	all := map[string]bool{}
	for _, name := range names {
		all[name] = true
	}
	d.each(func(k *kept) { all[k.name] = true })
	for _, name := range slices.Sorted(maps.Keys(all)) {
		d.look(name)
	}
	var list []*kept
	d.each(func(k *kept) { list = append(list, k) })
	d.follow(list)
	for _, k := range list {
		k.reconsider()
	}
}

// look reads one request, and has the instance processed when it has changed.
func (d *Daemon) look(name string) {
	if _, err := os.Lstat(request.Path(d.options.Home, name)); errors.Is(err, fs.ErrNotExist) {
		if k := d.find(name); k != nil && k.wasRequested() {
			k.letGo()
		}
		return
	}
	k := d.keep(name)
	if changed, err := k.reread(); !changed && err == nil {
		k.copyChanged()
	}
}

// find returns a known instance, or nil.
func (d *Daemon) find(name string) *kept {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.kept[name]
}

// keep returns an instance, known from now on.
func (d *Daemon) keep(name string) *kept {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.kept[name]
	if k == nil {
		k = newKept(d, name)
		d.kept[name] = k
	}
	return k
}

// forget ends the knowing of an instance, unless another took its place.
func (d *Daemon) forget(k *kept) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kept[k.name] == k {
		delete(d.kept, k.name)
	}
	d.files.watch(k.name, nil)
}

// each calls do for every known instance, by name.
func (d *Daemon) each(do func(*kept)) {
	d.mu.Lock()
	all := slices.Collect(maps.Values(d.kept))
	d.mu.Unlock()
	slices.SortFunc(all, func(a, b *kept) int { return strings.Compare(a.name, b.name) })
	for _, k := range all {
		do(k)
	}
}

// untilDue is how long until something must be looked at although no file has
// changed.
func (d *Daemon) untilDue() time.Duration {
	wait := scanPeriod
	d.each(func(k *kept) {
		if at := k.dueAt(); !at.IsZero() {
			wait = min(wait, max(10*time.Millisecond, time.Until(at)))
		}
	})
	return wait
}

// slot waits until the instance may be processed: sooner when somebody has asked
// for it. Done gives the slot back, and may be called many times; it is called
// after slotTime anyway, so that one that hangs keeps nobody waiting.
func (k *kept) slot() (done func(), err error) {
	if err := k.slots.wait(k.context(), k.awaits); err != nil {
		return nil, err
	}
	free := sync.OnceFunc(k.slots.give)
	late := time.AfterFunc(slotTime, free)
	return func() { late.Stop(); free() }, nil
}

func (d *Daemon) context() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ctx
}

// close waits for what is at work, then stops the daemon's own services.
func (d *Daemon) close() error {
	d.end()
	done := make(chan struct{})
	go func() {
		d.work.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-time.After(d.endTime):
		err = errors.New("not everything came to its end in time: the next start continues")
	}
	d.mu.Lock()
	embedded := d.embedded
	d.mu.Unlock()
	if embedded == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	return errors.Join(err, embedded.Close(ctx))
}

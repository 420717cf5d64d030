package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"instar/runtime/process"
	"instar/runtime/secret"
	"instar/runtime/service"
	"instar/runtime/service/supervise"
)

// Take is what a shim is asked to do with the place's [File].
type Take int

// What a shim can be asked for.
const (
	Adopt  Take = iota // to know it, without disturbing the service
	Reload             // to tell the service to read its own files again, too
)

const (
	// markerDelay is how long a marker waits for being told that the exit was
	// part of a shutdown, which signals everything at once.
	markerDelay = 250 * time.Millisecond
	// lookPeriod is how often others that the service comes after are looked at.
	lookPeriod = 200 * time.Millisecond
	// retryPeriod is how soon a status that could not be written is tried again.
	retryPeriod = 5 * time.Second
	// quietTime is how long nothing must have happened for memory to be given
	// back.
	quietTime = time.Second
)

// shim is one that serves. All but the status is of the goroutine of Serve.
type shim struct {
	place    Place
	locked   fs.FileInfo // the lock that we hold
	file     *File
	sup      *supervise.Supervisor
	exits    <-chan service.Exit
	changed  chan struct{} // holds a token when the supervisor's states may have changed
	written  string        // the status that stands there
	restarts int           // of earlier shims
	began    bool          // the supervisor knows the service
	status   Status
	exit     *service.Exit // to be told of
	quiet    <-chan time.Time
}

// Serve runs the service of a place until ctx ends, which stops it, or there is
// nothing left to do for it. It returns at once when another shim serves the
// place, or the service is not wanted.
func Serve(ctx context.Context, p Place, takes <-chan Take) error {
	lock, err := p.lock()
	if err != nil || lock == nil {
		return err
	}
	defer lock.Unlock()
	if !p.Wanted() {
		return nil
	}
	s := &shim{place: p, changed: make(chan struct{}, 1)}
	if s.locked, err = os.Stat(p.lockPath()); err != nil {
		return err
	}
	before, err := p.Status()
	if err != nil {
		return err
	}
	lost, _ := before.Lost(p)
	s.status = Status{State: service.State{Name: filepath.Base(string(p))}}
	s.status.Shim, _ = process.Of(os.Getpid()) // without it, nobody finds us: see Stop
	s.status.Guard, _ = process.Of(os.Getppid())
	if s.file, err = p.Read(); err == nil && s.file == nil {
		err = fmt.Errorf("there is no %s", p.SpecPath())
	}
	if err != nil {
		return errors.Join(err, s.refuse(err))
	}
	s.file.doubt()
	s.status.File = s.file.Hash
	s.status.State = s.initial()
	if lost {
		s.restarts = before.State.Restarts + 1
	}
	if err := s.write(); err != nil {
		return err
	}
	if lost && !s.file.Spec.Run && before.State.PID != 0 {
		s.mark(service.Exit{Instance: s.file.Spec.Instance, Name: s.file.Spec.Name, Code: -1, Reason: lostReason})
	}
	return s.serve(ctx, takes)
}

// lostReason is what a service ended of when its shim was killed.
const lostReason = "its supervisor was killed"

// doubt has a file that was edited count as one that says who knows what.
func (f *File) doubt() {
	if !f.Intact {
		f.Spec.Digest = ""
	}
}

// refuse leaves word of what keeps the shim from serving.
func (s *shim) refuse(err error) error {
	s.status.Decided, s.status.Over, s.status.Error = true, true, err.Error()
	s.status.State.Status, s.status.State.Message = service.Failed, err.Error()
	return s.write()
}

// initial is the state before anything was tried.
func (s *shim) initial() service.State {
	spec := s.file.Spec
	return service.State{
		Name: spec.Name, Run: spec.Run, Status: service.Waiting, Since: time.Now(), Restarts: s.restarts,
		Digest: spec.Digest, ReloadDigest: spec.ReloadDigest, Definition: spec.Definition(), After: spec.After,
		Schedule: spec.Schedule, Inputs: spec.Inputs, ReloadInputs: spec.ReloadInputs,
	}
}

func (f *File) options() supervise.Options {
	options := supervise.Options{
		LogDir: func(string) string { return f.LogDir },
		// One service's alone, so that nothing of another's is ended with it.
		MarkBase:  f.StateDir + "\x00" + f.Spec.Name,
		RecordDir: func(string) string { return string(At(f.StateDir, f.Spec.Instance, f.Spec.Name)) },
		Signal: func(instance, name, signal string) error {
			return signalMain(At(f.StateDir, instance, name), signal)
		},
	}
	if len(f.Spec.PrivateEnv) > 0 {
		masker := secret.New(nil)
		for _, pair := range f.Spec.PrivateEnv {
			masker.Add(valueOf(pair))
		}
		options.Mask = func(string) func([]byte) []byte { return masker.Bytes }
	}
	return options
}

func (s *shim) serve(ctx context.Context, takes <-chan Take) error {
	setUmask(s.file.Spec.Umask)
	options := s.file.options()
	options.OnChange = func(string, service.State) {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
	var err error
	if s.sup, err = supervise.New(options); err != nil {
		return errors.Join(err, s.refuse(err))
	}
	listening, hangUp := context.WithCancel(context.Background())
	defer hangUp()
	if s.exits, err = s.sup.Exits(listening); err != nil {
		return err
	}
	if err := s.sup.Apply(ctx, s.file.Spec.Instance, nil); err != nil { // ends what is left
		s.status.Error = err.Error()
	}
	s.quiet = time.After(quietTime)
	if s.waits(ctx, takes) {
		s.begin(ctx)
		s.run(ctx, takes)
	}
	return s.end(ctx)
}

// waits waits for what the service comes after. False means that ctx ended.
func (s *shim) waits(ctx context.Context, takes <-chan Take) bool {
	for {
		ready := true
		for _, name := range s.file.Spec.After {
			ready = ready && started(At(s.file.StateDir, s.file.Spec.Instance, name))
		}
		if ready {
			return ctx.Err() == nil
		}
		s.status.Decided = true
		s.publish()
		select {
		case <-ctx.Done():
			return false
		case t := <-takes:
			s.take(ctx, t)
		case <-s.quiet:
			giveBack()
			s.quiet = nil
		case <-time.After(lookPeriod):
		}
	}
}

// begin starts the service, after ending what another shim has left of it.
func (s *shim) begin(ctx context.Context) {
	spec := s.file.Spec
	s.began = true
	err := s.sup.Apply(ctx, spec.Instance, []service.Change{{Op: service.Start, Name: spec.Name, Run: spec.Run, Spec: spec}})
	if err != nil && ctx.Err() == nil {
		s.status.Error = err.Error()
	}
	s.status.Decided = true
}

// run serves until ctx ends, or the service is over.
func (s *shim) run(ctx context.Context, takes <-chan Take) {
	var tell <-chan time.Time
	for {
		retry := s.publish()
		if s.over() {
			s.last(ctx)
			return
		}
		if s.evicted() {
			return
		}
		select {
		case <-ctx.Done():
			return
		case t := <-takes:
			s.take(ctx, t)
		case <-s.changed:
		case x := <-s.exits:
			if s.exit == nil {
				tell = time.After(markerDelay)
			}
			s.exit = &x
		case <-tell:
			if ctx.Err() != nil {
				return
			}
			s.mark(*s.exit)
			s.exit, tell = nil, nil
		case <-retry:
		case <-s.quiet:
			giveBack()
			s.quiet = nil
			continue
		}
		s.quiet = time.After(quietTime)
	}
}

// last tells of the exit that was the service's last, if it was one.
func (s *shim) last(ctx context.Context) {
	if s.exit == nil && s.status.State.Ended {
		select {
		case x := <-s.exits:
			s.exit = &x
		case <-time.After(markerDelay):
		case <-ctx.Done():
		}
	}
	if s.exit != nil && ctx.Err() == nil {
		s.mark(*s.exit)
	}
}

// end stops what runs, and leaves word of it.
func (s *shim) end(ctx context.Context) error {
	stopped := ctx.Err() != nil
	if stopped {
		s.status.State.Status = service.Stopped
	}
	err := s.sup.Close(context.Background())
	if stopped {
		st := &s.status.State
		*st = service.State{Name: st.Name, Run: st.Run, Status: service.Stopped, Since: time.Now(), Digest: st.Digest,
			ReloadDigest: st.ReloadDigest, Definition: st.Definition, After: st.After, Schedule: st.Schedule}
		s.status.Started, s.status.Main = false, process.Tree{}
	} else {
		s.status.Over = true
	}
	if err != nil {
		s.status.Error, s.status.State.Message = err.Error(), err.Error()
	}
	if s.evicted() {
		return err
	}
	return errors.Join(err, s.write())
}

// evicted reports whether the place was removed under us: whoever makes it anew
// does not know of us, and runs the service too.
func (s *shim) evicted() bool {
	now, err := os.Stat(s.place.lockPath())
	return errors.Is(err, fs.ErrNotExist) || err == nil && !sameFile(now, s.locked)
}

// over reports whether the service has ended for good, and nothing is left of
// it.
func (s *shim) over() bool {
	st, spec := s.status.State, s.file.Spec
	if spec.Timer() || st.PID != 0 {
		return false
	}
	unstarted := st.Status == service.Failed && !spec.Run && spec.Restart == "no"
	if st.Status != service.Done && !st.Ended && !unstarted {
		return false
	}
	left, err := s.status.Main.Left()
	return err == nil && !left
}

// take has another definition be in force.
func (s *shim) take(ctx context.Context, t Take) {
	err := s.takeOver(ctx, t)
	s.status.Taken++
	s.status.Error = ""
	if err != nil {
		s.status.Error = err.Error()
	}
	s.publish()
}

func (s *shim) takeOver(ctx context.Context, t Take) error {
	file, err := s.place.Read()
	if err == nil && file == nil {
		err = fmt.Errorf("there is no %s", s.place.SpecPath())
	}
	if err != nil {
		return err
	}
	file.doubt()
	spec := file.Spec
	if !s.began {
		s.file, s.status.File = file, file.Hash
		s.status.State = s.initial()
		return nil
	}
	if t == Reload && !spec.CanReload() && !spec.Timer() {
		return fmt.Errorf("cannot reload %q: it has no way to", spec.Name)
	}
	op := service.Update
	if t == Reload {
		op = service.Reload
	}
	if spec.Timer() != s.file.Spec.Timer() {
		return fmt.Errorf("%q must be restarted: a service has become a timer, or the reverse", spec.Name)
	}
	if err := s.sup.Apply(ctx, spec.Instance, []service.Change{{Op: op, Name: spec.Name, Run: spec.Run, Spec: spec}}); err != nil {
		return err
	}
	s.file, s.status.File = file, file.Hash
	return nil
}

// publish writes what is known. What could not be written is tried again when
// the returned channel says so.
func (s *shim) publish() (retry <-chan time.Time) {
	if s.began {
		states, err := s.sup.Observe(context.Background(), s.file.Spec.Instance)
		if state, known := states[s.file.Spec.Name]; err == nil && known {
			state.Restarts += s.restarts
			s.status.State = state
			s.status.Main = s.sup.Tree(s.file.Spec.Instance, s.file.Spec.Name)
			s.status.Started = s.status.Started || s.status.Main.PID != 0
		}
	}
	if s.file.Spec.Timer() {
		s.status.Started = true
	}
	if s.write() != nil {
		return time.After(retryPeriod)
	}
	return nil
}

func (s *shim) write() error {
	data, err := json.Marshal(s.status)
	if err != nil || string(data) == s.written {
		return err
	}
	if err := writeFile(s.place.statusPath(), data, false); err != nil {
		return err
	}
	s.written = string(data)
	return nil
}

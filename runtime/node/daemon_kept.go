package node

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"sync"
	"time"

	"instar/runtime/control"
	"instar/runtime/history"
	"instar/runtime/report"
	"instar/runtime/request"
	"instar/runtime/service"
	"instar/runtime/state"
)

// kept is one instance that a daemon knows, whether it is processed at the
// moment or not: a destroyed one rests, with its data, until its retention has
// passed.
type kept struct {
	*Daemon
	name    string
	folder  state.Folder
	subject Subject
	share   *share

	mu         sync.Mutex
	request    *request.Request // the last one that could be meant; nil: none
	digest     string           // of the request's file as it was last seen
	bad        error            // what is wrong with the request's file
	busy       error            // why it cannot be served at the moment: something else does
	doomed     string           // digest of the request by which it is being destroyed
	memo       memo
	node       *Instance // nil while nothing is processed
	stop       context.CancelFunc
	gone       chan struct{} // closed when node is nil again
	submitting bool
	again      bool // another change came while one is submitted
	left       bool // it is not to be served any more

	// Of the processing at work, and the last one.
	run  *processing
	last *report.Report
	bang string // why the next processing is, when that is an alert

	freeSlot func()
}

// memo is what the daemon remembers of an instance, in node.json of its state.
type memo struct {
	FormatVersion int `json:"format_version"`
	// Applied is the digest of the request that was last fulfilled: as long as it
	// is the same, what the state remembers counts, whoever applied it.
	Applied string `json:"applied,omitempty"`
	// PurgeAt is when what a destruction has left is removed.
	PurgeAt time.Time `json:"purge_at,omitzero"`
}

const memoFile = "node.json"

func newKept(d *Daemon, name string) *kept {
	folder := d.options.Home.Instance(name)
	return &kept{Daemon: d, name: name, folder: folder, memo: readMemo(folder),
		subject: d.options.Subject(name), share: newShare(d, name)}
}

// remember saves the memo. The caller holds mu.
func (k *kept) remember(m memo) {
	m.FormatVersion = request.FormatVersion
	if k.memo == m {
		return
	}
	data, err := json.Marshal(m)
	if err == nil {
		if err = k.folder.Make(); err == nil {
			err = state.WriteFile(k.folder.Path(memoFile), append(data, '\n'), 0o600)
		}
	}
	if err != nil {
		k.log(fmt.Errorf("cannot remember what was done: %w", err))
		return // it is done again, then
	}
	k.memo = m
}

func (k *kept) log(err error) { k.options.Log(k.name, k.subject.Options.Mask.String(err.Error())) }

// take takes over a request as it was read, and has the instance processed when
// it is another one.
func (k *kept) take(r *request.Request, digest string, err error) {
	k.mu.Lock()
	changed := digest != k.digest || (err != nil) != (k.bad != nil)
	k.digest = digest
	k.left = false
	switch {
	case err != nil:
		if changed {
			k.log(err)
		}
		k.bad = err
	default:
		k.request, k.bad = r, nil
	}
	running := k.node != nil
	k.mu.Unlock()
	switch {
	case !running && changed:
		k.consider()
	case running && changed && err == nil:
		k.share.refresh()
		k.submit("request changed")
	}
}

// pending reports whether the request asks for something that is not fulfilled.
// The caller holds mu.
func (k *kept) pending() bool {
	return k.request != nil && k.bad == nil && k.digest != k.memo.Applied
}

// intent is what is to be done with the instance; false: nothing.
func (k *kept) intent() (control.Action, bool) {
	st, err := k.subject.Options.Load()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.pending() && k.request.State == state.Destroyed:
		return k.destroying(k.request.Purge), true
	case k.pending():
		return control.Action{Verb: "apply"}, true
	case err == nil && st.Requested == state.Destroyed:
		if k.memo.PurgeAt.IsZero() || time.Now().Before(k.memo.PurgeAt) {
			return control.Action{}, false
		}
		return control.Action{Verb: "destroy", Purge: true, Reason: "the retention has passed"}, true
	case err == nil && st.Settings.Root == "" && k.bad != nil:
		return control.Action{}, false // nothing is known of it but a request that cannot be meant
	}
	return control.Action{Verb: "apply"}, true
}

// destroying is the action that a request to destroy means. The retention is
// stored with the first one, and never shortened. The caller holds mu.
func (k *kept) destroying(purge bool) control.Action {
	m := k.memo
	if keep, _ := k.request.Keep(); keep > 0 {
		if at := time.Now().Add(keep).UTC().Round(0); m.PurgeAt.IsZero() {
			m.PurgeAt = at
			k.remember(m)
		}
	}
	if time.Now().Before(m.PurgeAt) {
		purge = false
	}
	k.doomed = k.digest
	return control.Action{Verb: "destroy", Purge: purge}
}

// dueAt is when something must be done although nothing changes; zero: never.
func (k *kept) dueAt() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.node != nil {
		return time.Time{}
	}
	return k.memo.PurgeAt
}

// consider begins to serve the instance when there is something to do for it.
func (k *kept) consider() {
	if action, ok := k.intent(); ok {
		if action.Reason == "" {
			action.Reason = "boot"
			if k.isPending() {
				action.Reason = "requested"
			}
		}
		k.begin(&action)
	}
}

// wasRequested reports whether there was a request: one that is applied for the
// first time has none until its evaluation has succeeded.
func (k *kept) wasRequested() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.digest != "" || k.bad != nil
}

func (k *kept) isPending() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pending()
}

// begin serves the instance, unless it is: first, if not nil, is done at once.
func (k *kept) begin(first *control.Action) *Instance {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.node != nil {
		return k.node
	}
	ctx := k.context()
	if ctx.Err() != nil || k.left {
		return nil
	}
	release, err := k.subject.Alone()
	if err != nil {
		if k.busy == nil {
			k.log(err)
		}
		k.busy = err
		return nil // the next scan tries again
	}
	k.busy = nil
	options := k.subject.Options
	lock := options.Lock
	options.Lock = func() (func(), error) { return k.lock(lock) }
	options.Engine, options.Manager, options.Sink = k.engine, k.share, k.sink
	ctx, k.stop = context.WithCancel(ctx)
	node := New(options)
	k.node, k.gone = node, make(chan struct{})
	k.work.Go(func() {
		defer func() {
			release()
			k.ended(node.Destroyed())
		}()
		defer k.survive()
		if err := node.Serve(ctx, first); err != nil {
			k.log(err)
		}
	})
	return node
}

// survive keeps a defect that one instance has come upon from ending all: the
// next scan begins with that one anew.
func (k *kept) survive() {
	if defect := recover(); defect != nil {
		k.log(fmt.Errorf("a defect of instar: %v\n%s", defect, debug.Stack()))
	}
}

// Serve does first, unless that is nil, and then serves the instance until ctx
// ends or it is destroyed.
func (n *Instance) Serve(ctx context.Context, first *control.Action) error {
	var background sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		n.leave()
		n.stopWatching()
		background.Wait()
	}()
	exits, err := n.options.Manager.Exits(ctx)
	if err != nil {
		return err
	}
	background.Go(func() {
		for exit := range exits {
			n.bang(alert{exit.At, n.mask(fmt.Sprintf("service %s ended: %s", exit.Name, exit.Reason)), exit.Name})
		}
	})
	n.lockPatience = lockPatience
	if first != nil {
		_, _ = n.automatic(ctx, *first) // what came of it is in n.last
	}
	if ctx.Err() == nil && !n.Destroyed() {
		n.loop(ctx)
	}
	return nil
}

// ended takes over that the instance is not processed any more.
func (k *kept) ended(destroyed bool) {
	k.mu.Lock()
	k.node = nil
	close(k.gone)
	purged := destroyed && !k.folder.Exists()
	switch {
	case purged:
		k.memo = memo{}
	case destroyed:
		m := k.memo
		if k.doomed != "" {
			m.Applied = k.doomed
		}
		k.remember(m)
	}
	r := k.request
	k.mu.Unlock()
	k.files.tell() // of when its retention has passed
	switch {
	case purged && (r == nil || r.State == state.Destroyed):
		if err := request.Remove(k.options.Home, k.name); err != nil {
			k.log(err)
		}
		k.forget(k)
	case destroyed:
		k.consider() // it may have been asked for again meanwhile
	}
}

// submit has the instance do what the files now ask for.
func (k *kept) submit(why string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.submitting {
		k.again = true
		return
	}
	k.submitting = true
	k.work.Go(func() {
		for {
			action, ok := k.intent()
			node := k.running()
			if ok && node != nil {
				if action.Reason == "" {
					action.Reason = why
				}
				node.Act(k.context(), k.name, action, nil)
			}
			k.mu.Lock()
			if !k.again || k.context().Err() != nil {
				k.submitting = false
				k.mu.Unlock()
				return
			}
			k.again = false
			k.mu.Unlock()
		}
	})
}

func (k *kept) running() *Instance {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.node
}

// letGo ends the serving of an instance whose request is gone: its services run
// on, where they can without the daemon.
func (k *kept) letGo() {
	k.mu.Lock()
	if k.left {
		k.mu.Unlock()
		return
	}
	k.left, k.request, k.digest = true, nil, ""
	node, stop, gone := k.node, k.stop, k.gone
	k.mu.Unlock()
	k.work.Go(func() {
		if node != nil {
			stop()
			<-gone
		}
		if err := k.share.leave(k.context()); err != nil {
			k.log(err)
		}
		k.mu.Lock()
		back := !k.left
		k.mu.Unlock()
		if back {
			k.consider()
			return
		}
		k.forget(k)
	})
}

// reconsider looks, at each scan, at what is not served, and tries again what
// was left half done.
func (k *kept) reconsider() {
	node := k.running()
	if node == nil {
		k.consider()
		return
	}
	node.mu.Lock()
	unkept := node.unkept
	node.mu.Unlock()
	k.mu.Lock()
	late := k.last != nil && unkept
	k.mu.Unlock()
	if late {
		node.nudged()
	}
}

// follow has the instance processed when the source of its profile has changed
// and may be followed.
func (k *kept) follow() {
	if k.running() == nil {
		return
	}
	k.work.Go(func() {
		c, err := request.Current(k.folder)
		if err != nil || k.options.Trust.Profile(c.Source) != nil {
			return
		}
		if seen, err := request.See(c.Source, k.skip()...); err == nil && seen != c.Seen {
			k.share.refresh()
			k.submit("profile changed")
		}
	})
}

// skip is what is no part of a profile, wherever it lies.
func (k *kept) skip() []string {
	skip := []string{string(k.options.Home)}
	if st, err := k.folder.Brief(); err == nil && st.Settings.Root != "" {
		skip = append(skip, st.Settings.Root)
	}
	return skip
}

// changed tells of a service's new state.
func (k *kept) changed(s service.State) {
	if node := k.running(); node != nil {
		node.Changed(s)
	}
}

// lock takes the instance's lock, and one of the daemon's slots.
func (k *kept) lock(lock func() (func(), error)) (func(), error) {
	done, err := k.slot()
	if err != nil {
		return nil, err
	}
	unlock, err := lock()
	if err != nil {
		done()
		return nil, err
	}
	k.mu.Lock()
	k.freeSlot = done
	k.mu.Unlock()
	return func() { unlock(); done() }, nil
}

// waiting gives the slot back: from now on the processing only waits.
func (k *kept) waiting() {
	k.mu.Lock()
	free := k.freeSlot
	k.mu.Unlock()
	if free != nil {
		free()
	}
}

// sink takes what happens to the instance.
func (k *kept) sink(ev report.Event) {
	switch ev.Kind {
	case "bang":
		k.mu.Lock()
		k.bang = "bang: " + ev.Text
		k.mu.Unlock()
		k.options.Log(k.name, ev.Text)
	case "output":
		k.mu.Lock()
		if k.run != nil {
			k.run.output = append(k.run.output, history.Output{Name: ev.Name, Text: ev.Text})
			if n := len(k.run.output); n > 100 {
				k.run.output = k.run.output[n-50:]
			}
		}
		k.mu.Unlock()
	case "warning":
		k.options.Log(k.name, ev.Text)
	case "done":
		k.done(ev.Report)
	}
}

// sameSettings reports whether two settings mean the same, as they are stored.
func sameSettings(a, b state.Settings) bool {
	one, err1 := json.Marshal(a)
	two, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && reflect.DeepEqual(one, two)
}

// Pending returns the request of an instance when it can be meant and is not
// fulfilled yet, else nil.
func Pending(home state.Home, name string) *request.Request {
	r, digest, err := request.Read(home, name)
	if err != nil || readMemo(home.Instance(name)).Applied == digest {
		return nil
	}
	return r
}

// Retained is until when the data of a destroyed instance is kept; zero: nobody
// asked for that.
func Retained(home state.Home, name string) time.Time {
	return readMemo(home.Instance(name)).PurgeAt
}

// readMemo reads what is remembered. One that is broken counts as none: the
// request is fulfilled again.
func readMemo(f state.Folder) memo {
	var m memo
	data, err := os.ReadFile(f.Path(memoFile))
	if err != nil || json.Unmarshal(data, &m) != nil {
		return memo{}
	}
	return m
}

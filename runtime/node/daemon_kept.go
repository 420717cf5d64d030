package node

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"instar/runtime/control"
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
	meter   *meter

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
	news string // the same, when an instance that this one requests has changed

	// Of the instances that this one requests, and of the one that requests it.
	carried map[string]int // those whose processing is waited for
	staged  *request.Copy  // of the profile, as it was requested last
	told    string         // what the requester was told of last

	copied string // digest of the copy of the profile that was processed last; "": none

	freeSlot func()
	waiter   *waiter // for a slot; nil: it waits for none
}

func newKept(d *Daemon, name string) *kept {
	folder := d.options.Home.Instance(name)
	return &kept{Daemon: d, name: name, folder: folder, memo: readMemo(folder),
		subject: d.options.Subject(name), share: newShare(d, name), meter: newMeter(d.took)}
}

func (k *kept) log(err error) { k.options.Log(k.name, k.subject.Options.Mask.String(err.Error())) }

// reread takes over the request as its file has it, which nobody here writes meanwhile,
// and has the instance processed when it is another one. That a file is gone is for
// the scan to see.
func (k *kept) reread() (changed bool, err error) {
	k.mu.Lock()
	r, digest, err := request.Read(k.options.Home, k.name)
	if errors.Is(err, fs.ErrNotExist) {
		k.mu.Unlock()
		return false, err
	}
	changed = digest != k.digest || (err != nil) != (k.bad != nil)
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
	node := k.node
	k.mu.Unlock()
	switch {
	case node == nil && changed:
		k.consider()
	case node != nil && changed && err == nil:
		k.share.refresh()
		if r.State == state.Destroyed {
			node.obsolete()
		}
		k.submit("request changed")
	}
	return changed, err
}

// copyChanged has the instance processed when another copy of its profile was
// stored than the one that was processed last, or one where there was none.
func (k *kept) copyChanged() {
	k.mu.Lock()
	copied, running, tried := k.copied, k.node != nil, k.last != nil
	k.mu.Unlock()
	if !running || copied == "" && !tried {
		return
	}
	if c, err := request.Current(k.folder); err == nil && c.Digest != copied {
		k.mu.Lock()
		k.copied = c.Digest // this is seen once, whatever comes of it
		k.mu.Unlock()
		k.share.refresh()
		k.submit("profile changed")
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
	if err == nil && st.Settings.Root != "" {
		k.meter.is(st)
	}
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

// unasked is what is done again, or once a day.
func (k *kept) unasked() control.Action {
	if action, ok := k.intent(); ok {
		return action
	}
	return control.Action{Verb: "apply"}
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

// changed tells of a service's new state.
func (k *kept) changed(s service.State) {
	if node := k.running(); node != nil {
		node.Changed(s)
	}
}

// lock takes the instance's lock, and one of the daemon's slots.
func (k *kept) lock(lock func() (func(), error)) (func(), error) {
	if k.subject.Asked != nil {
		k.subject.Asked()
	}
	k.share.prepare(k.context())
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

// awaits notes what waits for a slot.
func (k *kept) awaits(w *waiter) {
	k.mu.Lock()
	k.waiter = w
	node := k.node
	k.mu.Unlock()
	if node != nil && node.isAsked() {
		k.hurry()
	}
}

// hurry has the processing that waits for its turn have it sooner: somebody asks
// something of the instance.
func (k *kept) hurry() {
	k.mu.Lock()
	w := k.waiter
	k.mu.Unlock()
	if w != nil {
		k.slots.hurry(w)
	}
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
		run := k.run
		k.mu.Unlock()
		if run != nil {
			run.said.Hear(ev)
		}
	case "warning":
		k.options.Log(k.name, ev.Text)
	case "done":
		k.done(ev.Report)
	}
}

package node

import (
	"context"
	"fmt"
	"runtime/debug"

	"instar/runtime/control"
	"instar/runtime/request"
	"instar/runtime/state"
)

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
	options.Engine, options.Manager, options.Sink, options.Unasked = k.engine, k.share, k.sink, k.unasked
	options.Hurry = k.hurry
	ctx, k.stop = context.WithCancel(ctx)
	node := newInstance(options, k.meter, false)
	k.node, k.gone = node, make(chan struct{})
	k.work.Go(func() {
		defer func() {
			release()
			k.ended(node.Destroyed())
		}()
		defer k.survive()
		if err := node.Run(ctx, first, nil); err != nil {
			k.log(err)
		}
	})
	return node
}

// survive keeps a defect that one instance has come upon from ending all: the
// next scan begins with that one anew.
func (k *kept) survive() {
	switch found := recover().(type) {
	case nil:
	case *defect:
		k.log(fmt.Errorf("a defect of instar: %v", found))
	default:
		k.log(fmt.Errorf("a defect of instar: %v\n%s", found, debug.Stack()))
	}
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

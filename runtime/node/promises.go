package node

import (
	"context"
	"fmt"
	"maps"
	"time"

	"instar/runtime/plan"
	"instar/runtime/promise"
	"instar/runtime/report"
)

// keep takes over results, which keep the time at which they came about. The
// caller holds mu.
func (n *Instance) keep(results []report.Promise) {
	for _, p := range results {
		if old, known := n.results[p.Name]; known && old.OK == p.OK && old.Message == p.Message {
			continue
		}
		n.results[p.Name] = p
	}
}

func (n *Instance) watch(ctx context.Context, promises []plan.Promise) {
	if n.options.Checker == nil || len(promises) == 0 {
		return
	}
	w := n.options.Checker.Watch(context.WithoutCancel(ctx), promises, func(p plan.Promise, r promise.Result) {
		if !n.bang(alert{r.At, fmt.Sprintf("promise %s failed %d times in a row: %s", p.Name, p.Failures, r.Message), ""}) {
			n.nudged() // no alert any more, but another attempt
		}
	}, n.seen)
	n.mu.Lock()
	n.watcher = w
	n.mu.Unlock()
}

// seen takes one periodical result. When all promises hold again, the
// processing that found one failing is made good.
func (n *Instance) seen(r promise.Result) {
	now := report.Promise{Name: r.Name, OK: r.OK, Message: r.Message, At: r.At.UTC().Round(time.Millisecond)}
	n.mu.Lock()
	last, known := n.results[r.Name]
	n.keep([]report.Promise{now})
	better := n.unkept && r.OK && !last.OK
	for _, other := range n.results {
		better = better && other.OK
	}
	n.mu.Unlock()
	if !known || last.OK != now.OK {
		text := "holds again"
		if !now.OK {
			text = "does not hold any more"
		}
		n.tee(nil)(report.Event{Time: r.At, Kind: "promise", Name: r.Name, Text: text, Promise: &now})
	}
	if better {
		n.nudged()
	}
}

func (n *Instance) nudged() {
	select {
	case n.nudge <- struct{}{}:
	default: // one already waits
	}
}

func (n *Instance) stopWatching() {
	n.mu.Lock()
	w := n.watcher
	n.watcher = nil
	n.mu.Unlock()
	if w != nil {
		w.Stop()
	}
}

// forget drops the results of promises that are not declared.
func (n *Instance) forget(declared []plan.Promise) {
	names := promisesOf(declared)
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.results, func(name string, _ report.Promise) bool { return !names[name] })
}

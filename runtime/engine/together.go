package engine

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"instar/runtime/apply"
	"instar/runtime/fsys"
	"instar/runtime/plan"
)

// The order of declaration matters to commands, to copies from the instance, and
// to what has to go before something else can stand in its place. Between them
// lie folders and files of which a folder only has to be there before what is in
// it. Where there are many of these, several processors make them; what is told
// of them, they tell in the order of declaration.

// Bounds of what is done together.
const (
	togetherLeast = 256 // edits, from which on it pays
	batchSteps    = 64
	maxWorkers    = 4
)

// many performs the first of the steps together, and returns how many these were:
// 0 when that would not pay.
func (w *work) many(ctx context.Context, steps []apply.Step) (int, error) {
	if _, paper := w.disk.(*fsys.Overlay); paper || w.dirty || w.Diffs || len(steps[0].Edits) == 0 {
		return 0, nil // in memory, a second processor would only wait
	}
	steps = independentOnes(steps)
	if len(steps) == 0 {
		return 0, nil
	}
	if err := w.open(); err != nil {
		return 0, err
	}
	return len(steps), w.performTogether(ctx, steps)
}

// independentOnes returns the steps, from the first on, that may be performed
// together; none when they are too few.
func independentOnes(steps []apply.Step) []apply.Step {
	edits := 0
	for i, step := range steps {
		if !independent(step) {
			steps = steps[:i]
			break
		}
		edits += len(step.Edits)
	}
	if edits < togetherLeast {
		return nil
	}
	return steps
}

// independent reports whether a step needs nothing but the folder that it is in.
func independent(step apply.Step) bool {
	switch step.Resource.(type) {
	case *plan.Dir, *plan.File:
	default:
		return false
	}
	for _, e := range step.Edits {
		switch e.Op {
		case plan.OpMkdir, plan.OpWrite, plan.OpChmod, plan.OpChown:
		default:
			return false
		}
	}
	return true
}

// A batch is performed by one worker, in order.
type batch struct {
	steps []apply.Step
	after []*batch // that make folders it needs; they come before it
	done  chan struct{}
	seen  []fsys.Sig // of the edits that were performed, see apply.Do
	err   error
}

// batches cuts steps into batches, where possible before a folder: then what is in
// it is in the same one.
func batches(steps []apply.Step) []*batch {
	var all []*batch
	makes := map[string]*batch{} // by folder
	var b *batch
	for i, step := range steps {
		_, folder := step.Resource.(*plan.Dir)
		if n := 0; b != nil {
			if n = len(b.steps); n >= 4*batchSteps || folder && n >= batchSteps {
				b = nil
			}
		}
		if b == nil {
			b = &batch{done: make(chan struct{}), steps: steps[i:i]}
			all = append(all, b)
		}
		b.steps = b.steps[:len(b.steps)+1]
		for _, e := range step.Edits {
			if maker := makes[parentOf(e.Path)]; maker != nil && maker != b && !contains(b.after, maker) {
				b.after = append(b.after, maker)
			}
			if e.Op == plan.OpMkdir {
				makes[e.Path] = b
			}
		}
	}
	return all
}

func contains(list []*batch, b *batch) bool {
	for _, other := range list {
		if other == b {
			return true
		}
	}
	return false
}

func parentOf(path string) string {
	for i := len(path) - 1; i > 0; i-- {
		if path[i] == '/' {
			return path[:i]
		}
	}
	return "."
}

// performTogether performs steps that are independent of each other. With an
// error, some that come behind it may have been performed, too: they are claimed,
// and told of, like all.
func (w *work) performTogether(ctx context.Context, steps []apply.Step) error {
	all := batches(steps)
	w.expect(len(steps))
	var next atomic.Int64
	var failed atomic.Bool
	var workers sync.WaitGroup
	for range min(maxWorkers, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					return
				}
				b := all[i]
				if b.err = b.perform(ctx, w, &failed); b.err != nil {
					failed.Store(true)
				}
				close(b.done)
			}
		})
	}
	var first error
	for _, b := range all {
		<-b.done
		w.told(b)
		if first == nil {
			first = b.err
		}
	}
	workers.Wait()
	return first
}

// expect makes room for so many changes.
func (w *work) expect(n int) {
	if len(w.changed) > 0 || len(w.run.changed) > 0 {
		return
	}
	w.changed, w.writes, w.run.changed = make(map[string]bool, n), make(map[string]bool, n), make(map[string]bool, n)
	w.vouched = make(map[string]fsys.Sig, n)
	w.report.Changes = slices.Grow(w.report.Changes, n)
}

// perform performs the steps of b, unless another batch has failed.
func (b *batch) perform(ctx context.Context, w *work, failed *atomic.Bool) error {
	for _, maker := range b.after {
		<-maker.done
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, step := range b.steps {
		for _, e := range step.Edits {
			if failed.Load() {
				return nil // it is said elsewhere
			}
			sig, err := apply.Do(w.disk, w.view, e)
			if err != nil {
				return explain(err, w.Settings.Root)
			}
			b.seen = append(b.seen, sig)
		}
	}
	return nil
}

// told notes and tells what b has done.
func (w *work) told(b *batch) {
	for _, step := range b.steps {
		for _, e := range step.Edits {
			if len(b.seen) == 0 {
				return
			}
			w.edited(e, "", b.seen[0])
			b.seen = b.seen[1:]
		}
		if len(step.Edits) > 0 {
			w.run.changed[string(step.Resource.ID())] = true
		}
	}
}

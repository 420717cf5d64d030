package node

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"instar/runtime/control"
	"instar/runtime/engine"
	"instar/runtime/report"
	"instar/runtime/request"
	"instar/runtime/state"
)

// children has the daemon carry out what the profile of one instance requests:
// each child is an instance that the daemon serves, with a request of its own.
type children struct {
	engine.Children
	parent *kept
	engine *engine.Engine
	// asked is set when an operator has asked for the parent to be processed: so
	// are its children then, and profiles may be copied from anywhere.
	asked bool
}

// wireChildren has an engine carry out requests by the daemon.
func (k *kept) wireChildren(e *engine.Engine, action control.Action) {
	if e.Children != nil {
		e.Children = &children{e.Children, k, e, action.Settings != nil}
	}
}

// Fulfil implements [engine.Children]. It waits for the children that have to be
// processed, unless somebody asks something else of the parent.
func (c *children) Fulfil(ctx context.Context, list []*engine.Child) []engine.Outcome {
	return c.each(ctx, len(list), func(ctx context.Context, i int) engine.Outcome {
		out, err := c.fulfil(ctx, list[i])
		if err != nil {
			out.Err = err
		}
		return out
	})
}

// Destroy implements [engine.Children].
func (c *children) Destroy(ctx context.Context, names []string, purge bool) []engine.Outcome {
	return c.each(ctx, len(names), func(ctx context.Context, i int) engine.Outcome {
		return c.destroy(ctx, names[i], purge)
	})
}

// each does something for n children at once, and returns what came of it as
// soon as nobody has the patience to wait any longer.
func (c *children) each(ctx context.Context, n int, do func(context.Context, int) engine.Outcome) []engine.Outcome {
	c.parent.waiting()
	spawn := func(do func()) {
		c.parent.work.Go(func() {
			defer c.parent.survive()
			do()
		})
	}
	return engine.Gather(ctx, c.engine.Patience, n, spawn, func(i int) engine.Outcome { return do(c.parent.context(), i) })
}

// fulfil writes the request of one child, and has it processed when there is
// something to do.
func (c *children) fulfil(ctx context.Context, child *engine.Child) (engine.Outcome, error) {
	k := c.parent.keep(child.Instance)
	st, err := k.subject.Options.Load()
	if err != nil {
		return engine.Outcome{}, err
	}
	if st.Exists() && !st.Settings.Requester.IsBy(child.Settings.Requester) {
		return engine.Outcome{}, fmt.Errorf("instance %q was not requested by %q", child.Instance, c.parent.name)
	}
	k.subject.Options.Mask.Add(child.Secrets...)
	if err := c.stage(k, child); err != nil {
		if st.Settings.Root == "" && k.running() == nil {
			k.forget(k)
		}
		return engine.Outcome{}, err
	}
	if err := k.rewrite(request.Of(child.Instance, child.Settings, child.State)); err != nil {
		return engine.Outcome{}, err
	}
	if k.running() != nil && child.Differs == "" && !k.isPending() && !c.asked {
		return k.outcome(), nil
	}
	defer c.parent.carrying(child.Instance)()
	k.share.refresh()
	node := k.begin(nil)
	if node == nil {
		return engine.Outcome{}, k.unserved()
	}
	rep, exit := node.Act(ctx, k.name, control.Action{Verb: "apply", Reason: "requested by " + c.parent.name}, nil)
	return OutcomeOf(rep, exit), nil
}

// stage stores a copy of a child's profile, to be used when it has been
// evaluated. What does not lie in the parent's profile is copied when an operator
// asks, or when nobody but the node's user can have written it.
func (c *children) stage(k *kept, child *engine.Child) error {
	if !child.Touched {
		return nil
	}
	source := child.Settings.Profile
	if child.From == source && !c.asked {
		if trust := c.parent.options.Trust.Profile(source); trust != nil {
			if copied, err := request.Current(k.folder); err == nil && copied.Source == source {
				return nil // that one is run, until somebody asks
			}
			return &NotStoredError{child.Instance, source, trust, c.parent.name}
		}
	}
	copied, err := request.StageFrom(k.folder, child.From, source, string(k.options.Home), child.Settings.Root)
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.staged = copied
	k.mu.Unlock()
	return nil
}

// childCopy is the copy of the profile of an instance that another one requests:
// the one that was staged for it last, else the one that was run.
func (k *kept) childCopy(source string) (*request.Copy, error) {
	k.watch(source, []string{string(k.options.Home)})
	k.mu.Lock()
	staged := k.staged
	k.mu.Unlock()
	if staged != nil && staged.Source == source {
		return staged, nil
	}
	copied, err := request.Current(k.folder)
	if err == nil {
		copied.Prune()
	}
	return copied, err
}

// followForParent has the instance that requests this one be processed when a
// profile outside of its own has changed, and may be followed.
func (k *kept) followForParent(by *state.Requester, c *request.Copy) {
	st, err := k.options.Home.Instance(by.Instance).Brief()
	if err != nil || filepath.IsLocal(filepath.FromSlash(st.Requests[by.Name].Profile)) {
		return // what lies in its own profile is followed with that
	}
	skip := k.skip()
	if seen, err := request.See(c.Source, skip...); err != nil || seen == c.Seen || k.options.Trust.Profile(c.Source) != nil {
		return
	}
	if parent := k.find(by.Instance); parent != nil {
		parent.hear("profile of " + k.name + " changed")
	}
}

// hear has the instance be processed because of something that happened to one
// that it requests.
func (k *kept) hear(news string) {
	k.mu.Lock()
	k.news = news
	node := k.node
	k.mu.Unlock()
	if node != nil {
		node.nudged()
	}
}

// carrying has news of a child go nowhere until the returned function is called:
// its parent waits for it.
func (k *kept) carrying(child string) (done func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.carried == nil {
		k.carried = map[string]int{}
	}
	k.carried[child]++
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.carried[child]--
	}
}

// outcome is what came of the last processing of a child that is as requested.
func (k *kept) outcome() engine.Outcome {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last == nil {
		return engine.Outcome{}
	}
	exit := 0
	if k.last.Error != nil {
		exit = 1
		if len(k.last.Promises)+len(k.last.Runs) > 0 {
			exit = 2
		}
	}
	return OutcomeOf(k.last, exit)
}

// OutcomeOf makes an outcome of what was reported, with the exit code that goes
// with it: 2 is a promise or run that fails.
func OutcomeOf(rep *report.Report, exit int) engine.Outcome {
	out := engine.Outcome{Report: rep, Unkept: exit == 2}
	if rep.Error != nil {
		out.Err = &reportedError{rep.Error}
	}
	return out
}

// reportedError is an error that was reported, masked.
type reportedError struct{ reported *report.Error }

func (e *reportedError) Error() string { return e.reported.Message }

// Hint says what can be done.
func (e *reportedError) Hint() string { return e.reported.Hint }

// destroy destroys one child; its data is kept as long as that of its parent.
func (c *children) destroy(ctx context.Context, name string, purge bool) engine.Outcome {
	k := c.parent.keep(name)
	st, err := k.subject.Options.Load()
	if err != nil {
		return engine.Outcome{Err: err}
	}
	if !st.Exists() && k.running() == nil {
		err := request.Remove(k.options.Home, name)
		k.forget(k)
		return engine.Outcome{Err: err}
	}
	settings := st.Settings
	if !st.Exists() {
		if r := k.requestNow(); r != nil {
			settings = r.Settings()
		}
	}
	purge = purge || !st.Exists() // then there is nothing to keep
	next := request.Of(name, settings, state.Destroyed)
	next.Purge = purge
	if err := k.rewrite(next); err != nil {
		return engine.Outcome{Err: err}
	}
	k.retainWith(c.parent)
	defer c.parent.carrying(name)()
	node := k.begin(nil)
	if node == nil {
		return engine.Outcome{Err: k.unserved()}
	}
	rep, exit := node.Act(ctx, name, control.Action{Verb: "destroy", Purge: purge, Reason: "requested by " + c.parent.name}, nil)
	return OutcomeOf(rep, exit)
}

func (k *kept) requestNow() *request.Request {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.request
}

// retainWith has the data of a child that is being destroyed be kept until that
// of its parent is removed.
func (k *kept) retainWith(parent *kept) {
	parent.mu.Lock()
	until := parent.memo.PurgeAt
	parent.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.doomed = k.digest
	if m := k.memo; time.Now().Before(until) && m.PurgeAt.IsZero() {
		m.PurgeAt = until
		k.remember(m)
	}
}

// NewsOf is what a requester wants to know of a child, as a text to compare.
func NewsOf(st *state.State, well bool) string {
	text, _ := json.Marshal([]any{st.Published, st.Secrets, well, st.Pending == ""}) // was read as JSON
	return string(text)
}

// tellParent has the instance that requests this one be processed when what it
// reads from here, or whether all is well here, has changed.
func (k *kept) tellParent(r *report.Report) {
	st, err := k.subject.Options.Load()
	if err != nil || st.Settings.Requester == nil {
		return
	}
	text := NewsOf(st, r.Error == nil)
	k.mu.Lock()
	news := k.told != text
	k.told = text
	k.mu.Unlock()
	parent := k.find(st.Settings.Requester.Instance)
	if !news || parent == nil {
		return
	}
	parent.mu.Lock()
	waits := parent.carried[k.name] > 0
	parent.mu.Unlock()
	if !waits {
		parent.hear("news of " + k.name)
	}
}

// requestedError refuses what somebody wants of an instance that another one
// requests.
type requestedError struct {
	verb, name string
	by         *state.Requester
}

func (e *requestedError) Error() string {
	return fmt.Sprintf("cannot %s instance %q: instance %q requests it, as %q", e.verb, e.name, e.by.Instance, e.by.Name)
}

// Hint says what the operator can do.
func (e *requestedError) Hint() string {
	return fmt.Sprintf("change the request in the profile of %s; what is asked of %s, %s follows", e.by.Instance, e.by.Instance, e.name)
}

// refuses says why an operator's action on an instance is refused: another one
// requests it.
func (k *kept) refuses(action control.Action) error {
	st, err := k.subject.Options.Load()
	if err != nil || st.Settings.Requester == nil || action.Service != "" {
		return err
	}
	switch action.Verb {
	case "start", "stop", "destroy", "rollback":
	case "apply":
		if action.Settings == nil || action.Base == nil || sameSettings(*action.Settings, *action.Base) {
			return nil
		}
	default:
		return nil
	}
	by, err := k.options.Home.RequestedBy(st)
	if err != nil || by == nil {
		return err
	}
	return &requestedError{action.Verb, k.name, by}
}

// Nudge has the instance be processed: what the last processing lacked may be
// there now.
func (n *Instance) Nudge() { n.nudged() }

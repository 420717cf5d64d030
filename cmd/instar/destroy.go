package main

import (
	"context"
	"fmt"
	"time"

	"instar/runtime/control"
	"instar/runtime/node"
	"instar/runtime/plan"
	requests "instar/runtime/request"
	"instar/runtime/state"
)

const destroyDoc = `Stops the services and removes what an apply made and nobody changed since. What
was made once stays, and is found again by the next apply; with --purge it is
removed too, and nothing of the instance is remembered; with --retention 7d the
node does that when the time has passed, which nothing shortens. What is
executable in etc/prerm runs before that, and keeps the data as long as it fails.`

// destroy stops an instance and removes what an apply created and nobody
// changed; with --purge all of it, data too.
func (a *app) destroy(ctx context.Context, args []string) error {
	t, st, err := a.existing(args[0])
	if err != nil {
		return err
	}
	if err := a.checkRetention(); err != nil {
		return err
	}
	if err := a.notRequested(st, "destroy"); err != nil {
		return err
	}
	served, err := a.through(ctx, t.folder, control.Action{Verb: "destroy", Purge: a.opts.purge, Retention: a.opts.retention})
	if served {
		if err == nil && !a.opts.purge {
			a.ui.left(&instance{home: a.home, folder: t.folder, name: t.name, settings: st.Settings})
		}
		return err
	}
	if err := a.needsNode(t.name); err != nil {
		return err
	}
	in, err := a.instance(t, st, st.Settings, true)
	if err != nil {
		return err
	}
	if err := in.endLeftovers(ctx); err != nil {
		return err
	}
	manager, err := in.managerOrNone()
	if err != nil {
		return err
	}
	unlock, err := in.lock()
	if err != nil {
		return err
	}
	defer unlock()
	e, done := in.real(manager, a.ui.follow(false))
	defer done()
	(&family{app: a, manager: manager}).adopt(e, in)
	purge := a.opts.purge && a.opts.retention == ""
	r, err := e.Destroy(ctx, purge)
	if noted := in.recorded("destroy", "asked: destroy", r); noted != nil {
		a.ui.warn(noted.Error())
	}
	if err == nil && !a.opts.purge {
		a.ui.left(in)
	}
	if err == nil {
		err = in.unrequest(purge, a.opts.retention)
	}
	return a.finish(ctx, r, err)
}

// unrequest has the request of an instance, where there is one, say that it was
// destroyed here: a node would make it again. A retention a node keeps.
func (in *instance) unrequest(purged bool, retention string) error {
	if retention == "" && (purged || !exists(requests.Path(in.home, in.name))) {
		return requests.Remove(in.home, in.name)
	}
	r := requests.Of(in.name, in.settings, state.Destroyed)
	r.Retention = retention
	_, err := requests.Write(in.home, r)
	return err
}

// left says what a destruction has left where.
func (u *ui) left(in *instance) {
	st, err := in.folder.Load()
	if err != nil || len(st.Owned) == 0 {
		return
	}
	var data []string
	for _, path := range plan.SortedKeys(st.Owned) {
		if st.Owned[path].Once {
			data = append(data, path)
		}
	}
	what := ""
	if len(data) > 0 {
		what = fmt.Sprintf(" (made once: %s)", list(data, 5))
	}
	if until := node.Retained(in.home, in.name); !until.IsZero() {
		u.say("kept in %s%s until %s, as was asked for", in.settings.Root, what, until.Local().Format(time.DateTime))
		return
	}
	u.say("left in %s%s: instar destroy %s --purge removes it for good", in.settings.Root, what, in.name)
}

// list joins names, at most n of them.
func list(names []string, n int) string {
	text := ""
	for i, name := range names {
		switch {
		case i == n:
			return fmt.Sprintf("%s and %d more", text, len(names)-n)
		case i > 0:
			text += ", "
		}
		text += name
	}
	return text
}

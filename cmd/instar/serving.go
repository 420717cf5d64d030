package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"instar/runtime/control"
	"instar/runtime/report"
	"instar/runtime/state"
)

// socketName is the unix socket of the `up` that serves an instance, in the
// folder of its state.
const socketName = "up.sock"

// serving connects to what serves the instance, an `up` or the node; nil when
// nothing does.
func (a *app) serving(ctx context.Context, folder state.Folder) (*control.Client, error) {
	n := &nodeView{app: a}
	client, err := n.serving(ctx, folder)
	if client != n.client {
		n.close()
	}
	return client, err
}

// nodeView is the node as one command sees it: it is asked once whom it serves,
// and only if that matters.
type nodeView struct {
	app    *app
	asked  bool
	client *control.Client // nil: no node runs
	serves map[string]bool
	err    error
}

// serving is [app.serving]. What it returns may be the view's own client, which
// serves many instances: see release.
func (n *nodeView) serving(ctx context.Context, folder state.Folder) (*control.Client, error) {
	client, err := control.Dial(ctx, folder.Path(socketName))
	if !errors.Is(err, control.ErrNotServed) {
		return client, err
	}
	if !n.asked {
		n.asked = true
		n.ask(ctx)
	}
	if n.err != nil || !n.serves[folder.Name()] {
		return nil, n.err
	}
	return n.client, nil
}

func (n *nodeView) ask(ctx context.Context) {
	if n.client, n.err = n.app.nodeClient(ctx); n.client == nil || n.err != nil {
		return
	}
	var names []string
	names, n.err = n.client.Instances(ctx)
	n.serves = make(map[string]bool, len(names))
	for _, name := range names {
		n.serves[name] = true
	}
}

// release closes a client that serving has returned, unless it is the view's own.
func (n *nodeView) release(client *control.Client) {
	if client != n.client {
		client.Close()
	}
}

// close closes the view's own client.
func (n *nodeView) close() {
	if n.client != nil {
		n.client.Close()
	}
}

// outcome is what came of a processing, here or in what serves the instance.
type outcome struct {
	served bool // by what serves the instance
	r      *report.Report
	err    error
	code   int         // exit code, of what was served
	back   *rolledBack // what an apply that has failed was followed by, or nil
}

// act has what serves the instance do something. Where nothing serves it, the
// outcome is not served.
func (a *app) act(ctx context.Context, folder state.Folder, action control.Action) outcome {
	client, err := a.serving(ctx, folder)
	if err == nil && client == nil && action.Verb == "apply" {
		client, err = a.nodeClient(ctx) // it serves what is applied
	}
	if err != nil || client == nil {
		return outcome{served: err != nil, err: err}
	}
	defer client.Close()
	r, code, err := client.Act(ctx, folder.Name(), action, a.ui.follow(false))
	if ctx.Err() != nil && err != nil {
		a.ui.hint(fmt.Sprintf("what was asked for goes on: instar status %s shows what comes of it", folder.Name()))
		return outcome{served: true, err: unsignalled(ctx, ctx.Err())}
	}
	if err == nil && r.Error != nil {
		err = &remoteError{*r.Error}
	}
	return outcome{served: true, r: r, err: err, code: code}
}

// show prints an outcome, and returns the error that main makes an exit code of.
func (a *app) show(ctx context.Context, out outcome) error {
	if out.r == nil {
		return out.err
	}
	if !out.served {
		return a.finish(ctx, out.r, out.err)
	}
	a.ui.report(out.r, out.err)
	switch {
	case out.err != nil:
		return reported{exitWith(out.code)}
	case out.code != exitOK:
		return exitWith(out.code)
	}
	return nil
}

// through has what serves the instance do something, and shows it as if it were
// done here. It reports whether anything serves the instance.
func (a *app) through(ctx context.Context, folder state.Folder, action control.Action) (served bool, err error) {
	out := a.act(ctx, folder, action)
	if !out.served {
		return false, nil
	}
	return true, a.show(ctx, out)
}

// mergeSettings returns what is remembered now, with the changes that were made
// to base. Who found no settings, since the first apply was still at work, has
// chosen no folders: defaults do not replace what is there.
func mergeSettings(now, base, changed state.Settings) state.Settings {
	if base.Root == "" && now.Root != "" {
		base.Root, base.Release = changed.Root, changed.Release
	}
	merged := state.Settings{
		Profile: merge(now.Profile, base.Profile, changed.Profile),
		Root:    merge(now.Root, base.Root, changed.Root),
		Release: merge(now.Release, base.Release, changed.Release),
		User:    merge(now.User, base.User, changed.User),
		Manager: merge(now.Manager, base.Manager, changed.Manager),
		Wait:    merge(now.Wait, base.Wait, changed.Wait),
		Params:  mergeParams(now.Params, base.Params, changed.Params),

		Requester: changed.Requester, Secrets: changed.Secrets,
	}
	if changed.Requester.IsBy(base.Requester) {
		merged.Requester = now.Requester
	}
	if slices.Equal(changed.Secrets, base.Secrets) {
		merged.Secrets = now.Secrets
	}
	return merged
}

func merge[T comparable](now, base, changed T) T {
	if changed == base {
		return now
	}
	return changed
}

func mergeParams(now, base, changed map[string]state.Given) map[string]state.Given {
	merged := map[string]state.Given{}
	maps.Copy(merged, now)
	for name := range base {
		if _, kept := changed[name]; !kept {
			delete(merged, name)
		}
	}
	for name, given := range changed {
		if old, ok := base[name]; !ok || !reflect.DeepEqual(old, given) {
			merged[name] = given
		}
	}
	if len(merged) == 0 {
		return nil
	}
	return merged
}

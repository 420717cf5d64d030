package main

import (
	"context"

	"instar/runtime/control"
	"instar/runtime/service"
	"instar/runtime/state"
)

const startDoc = `What is asked for is remembered: an instance that was stopped stays stopped,
also when it is applied. One service alone can be started or stopped only while
an up serves the instance.`

// start asks for an instance, or one of its services, to run.
func (a *app) start(ctx context.Context, args []string) error {
	return a.request(ctx, args, "start", state.Started)
}

// request has an instance be in the requested state from now on. One service
// alone can only be asked for where something supervises it.
func (a *app) request(ctx context.Context, args []string, verb, requested string) error {
	t, st, err := a.existing(args[0])
	if err != nil {
		return err
	}
	if len(args) == 1 {
		if err := a.notRequested(st, verb); err != nil {
			return err
		}
	}
	one := ""
	if len(args) > 1 {
		if one = args[1]; !hasService(st, one) {
			return noService(st, one)
		}
	}
	action := control.Action{Verb: verb, Service: one}
	if served, err := a.through(ctx, t.folder, action); served {
		return err
	}
	in, err := a.instance(t, st, st.Settings, true)
	if err != nil {
		return err
	}
	in.stay(st)
	manager, err := in.managerOrNone()
	if err != nil {
		return err
	}
	if one != "" {
		if manager == nil {
			return unsupervised(t.name, "cannot "+verb+" service \""+one+"\" alone")
		}
		return a.operate(ctx, in, manager, operations[verb], one)
	}
	if requested == state.Stopped {
		if err := in.endLeftovers(ctx); err != nil {
			return err
		}
	}
	if err := in.request(requested); err != nil {
		return err
	}
	if manager == nil {
		a.ui.hint("nothing supervises the services of \"" + t.name + "\": that it is to be " + requested + " is remembered; `instar up " + t.name + "` runs them")
	}
	return a.converge(ctx, in, manager, requested)
}

// operations are what commands do with services.
var operations = map[string]service.Op{"start": service.Start, "stop": service.Stop, "restart": service.Restart}

// request remembers the requested state at once, so that it holds even when the
// profile is broken.
func (in *instance) request(requested string) error {
	unlock, err := in.lock()
	if err != nil {
		return err
	}
	defer unlock()
	st, err := in.folder.Load()
	if err != nil {
		return err
	}
	st.Requested = requested
	return in.folder.Save(st)
}

func hasService(st *state.State, name string) bool {
	_, ok := st.Services[name]
	return ok
}

// noService is the error of a name that no service or run has.
func noService(st *state.State, name string) error {
	var names []string
	for n := range st.Services {
		names = append(names, n)
	}
	hint := didYouMean(name, names)
	if hint == "" {
		hint = "instar status " + st.Instance + " lists them"
	}
	return hinted(hint, "instance %q has no service or run %q", st.Instance, name)
}

// unsupervised is the error of what only a supervisor can do.
func unsupervised(name, what string) error {
	return hinted("`instar up "+name+"` does", "%s: nothing supervises the services of %q", what, name)
}

package service

import (
	"fmt"
	"slices"
	"strings"

	"instar/runtime/plan"
)

// Reconcile returns what must happen so that what runs (have, by key) is what
// is wanted. It is pure, and returns nothing when all is as it should be.
// Running is the instance's requested state: when it is false, whatever runs
// is stopped.
//
// What must go comes first, in the reverse of the order in which it was
// started; then what starts, restarts, reloads or changes its definition, in
// start order. What a manager tries to bring up by itself (Restarting,
// Waiting), a run that is Done, and a service that Ended are left alone as
// long as their digest is the one wanted. A timer is armed, or given its new
// definition, and what it has started goes on. A service whose reload files changed
// but that has no way to reload is given the new definition, silently, as are
// those that do not run at the moment: they read the files when they start.
func Reconcile(want []Spec, have map[string]State, running bool) []Change {
	specs := make(map[string]Spec, len(want))
	after := make(map[string][]string, len(want))
	names := make([]string, 0, len(want))
	for _, s := range want {
		specs[Key(s)], after[Key(s)] = s, s.After
		names = append(names, Key(s))
	}
	changes := departures(specs, have, running)
	if !running {
		return changes
	}
	for _, name := range StartOrder(names, after) {
		spec := specs[name]
		state, known := have[name]
		if op, why := decide(spec, state, known); op != "" {
			changes = append(changes, Change{Op: op, Name: spec.Name, Run: spec.Run, Spec: spec, Why: why, At: spec.At})
		}
	}
	return changes
}

// departures returns the stops and unloads, in stop order.
func departures(specs map[string]Spec, have map[string]State, running bool) []Change {
	after := make(map[string][]string, len(have))
	for name, state := range have {
		after[name] = state.After
	}
	order := StartOrder(plan.SortedKeys(have), after)
	slices.Reverse(order)
	var changes []Change
	for _, name := range order {
		state := have[name]
		spec, wanted := specs[name]
		change := Change{Name: name, Run: state.Run, Spec: spec, At: spec.At}
		switch {
		case !wanted:
			change.Op, change.Why = Unload, "no longer declared"
		case !running && (state.Status != Stopped || state.Ended):
			change.Op, change.Why = Stop, "the instance is stopped"
		default:
			continue
		}
		changes = append(changes, change)
	}
	return changes
}

// decide returns what must be done with one wanted service, "" for nothing.
func decide(spec Spec, state State, known bool) (Op, string) {
	switch {
	case !known, state.Status == Stopped && !state.Ended:
		if spec.Timer() {
			return Start, "not armed"
		}
		return Start, "not running"
	case state.Digest != spec.Digest || state.Run != spec.Run || state.Timer() != spec.Timer():
		if spec.Timer() && state.Timer() {
			return Reload, whyRescheduled(spec, state)
		}
		return replace(state), whyReplaced(spec, state)
	case state.Status == Failed && !state.Ended && !spec.Timer():
		return Start, whyFailed(state)
	case state.ReloadDigest != spec.ReloadDigest:
		if state.Status == Running && spec.CanReload() {
			return Reload, whyChanged(spec.ReloadInputs, state.ReloadInputs, "files it reloads changed")
		}
		return Update, "files it reloads changed"
	case state.Definition != "" && state.Definition != spec.Definition():
		return Update, "definition changed"
	default:
		return "", ""
	}
}

// replace returns the operation that brings in a new digest: what does not run
// is not said to restart.
func replace(state State) Op {
	switch state.Status {
	case Stopped, Failed, Done:
		return Start
	default:
		return Restart
	}
}

func whyReplaced(spec Spec, state State) string {
	if state.Digest == "" {
		return "not known what it was started with"
	}
	return whyChanged(spec.Inputs, state.Inputs, "definition changed")
}

func whyRescheduled(spec Spec, state State) string {
	if state.Schedule != spec.Schedule {
		return fmt.Sprintf("schedule was %s, is %s", state.Schedule, spec.Schedule)
	}
	return "definition changed"
}

func whyFailed(state State) string {
	if state.Message == "" {
		return "failed"
	}
	return "failed: " + state.Message
}

// whyChanged names the inputs that differ; otherwise says what it is when none
// does, or when the old ones are not known.
func whyChanged(want, have map[string]string, otherwise string) string {
	if have == nil {
		return otherwise
	}
	var paths []string
	for _, path := range plan.SortedKeys(want) {
		if want[path] != have[path] {
			paths = append(paths, path)
		}
	}
	for _, path := range plan.SortedKeys(have) {
		if _, ok := want[path]; !ok {
			paths = append(paths, path)
		}
	}
	const shown = 3
	switch {
	case len(paths) == 0:
		return otherwise
	case len(paths) > shown:
		return fmt.Sprintf("%s and %d more changed", strings.Join(paths[:shown], ", "), len(paths)-shown)
	default:
		return strings.Join(paths, ", ") + " changed"
	}
}

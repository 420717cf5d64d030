package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/state"
)

// Children is the way to the instances that an instance's profile requests, its
// children. Each is an instance of its own, with its own lock.
type Children interface {
	// State returns what an instance remembers, without what it owns; that of one
	// that does not exist is a new one. An error is one of reading.
	State(instance string) (*state.State, error)
	// Complete finds out what a child is to remember, and whether the copy of its
	// profile is up to date. It changes nothing.
	Complete(c *Child) error
	// Fulfil makes the children what is requested, in this order or at once, and
	// returns an outcome for each.
	Fulfil(ctx context.Context, children []*Child) []Outcome
	// Destroy destroys instances, with their data if purge is set, and returns an
	// outcome for each.
	Destroy(ctx context.Context, instances []string, purge bool) []Outcome
}

// Child is one instance as it is requested.
type Child struct {
	Name     string // of the request
	Instance string
	Request  plan.Request
	State    string   // state.Started or state.Stopped
	Secrets  []string // texts in the parameters that are secret

	Differs string // what is not as requested; "" when nothing is known to be

	// Of Complete:

	Settings state.Settings
	From     string // absolute path of the profile that is copied
	Stale    bool   // the copy is missing, or not of what is there now
	Touched  bool   // what is there now looks otherwise than what was copied
}

// Outcome is what came of one child.
type Outcome struct {
	Report *report.Report // nil when nothing was begun
	Err    error
	Unkept bool // only promises or runs of it fail
}

// RequestsError says which of the requested instances could not be made what is
// requested. The requesting instance is as it should be, as far as it can.
type RequestsError struct {
	Failed []report.Requested
	Unkept bool // only promises or runs fail
	hint   string
}

func (e *RequestsError) Error() string {
	f := e.Failed[0]
	return fmt.Sprintf("instance %q, requested as %q, fails: %s%s", f.Instance, f.Name, f.Message, more(len(e.Failed)-1))
}

// Hint says what the operator can do.
func (e *RequestsError) Hint() string { return e.hint }

// RequestError is a request that cannot be meant.
type RequestError struct {
	Name string
	Pos  plan.Pos
	Why  string
	Help string
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("%s: request(%q): %s", e.Pos, e.Name, e.Why)
}

// At returns the place of the request, "instance.star:12".
func (e *RequestError) At() string { return e.Pos.String() }

// Hint says what can be done.
func (e *RequestError) Hint() string { return e.Help }

// requests is what one processing knows of the requested instances.
type requests struct {
	told      string             // what they publish, as the evaluation was told
	news      bool               // that has changed in this round
	attempted map[string]string  // by name: the digest of what was asked for
	outcomes  map[string]Outcome // by name
}

// see notes what the evaluation is about to be told of the children.
func (r *run) see(st *state.State) { r.requests.told = r.publishedBy(st) }

// publishedBy is what the children of an instance publish, as a text to compare.
func (r *run) publishedBy(st *state.State) string {
	if r.Children == nil || len(st.Requests) == 0 {
		return ""
	}
	all := map[string]any{}
	for name, req := range st.Requests {
		child, err := r.Children.State(req.Instance)
		if err != nil || len(child.Published) == 0 || req.Obsolete {
			continue
		}
		all[name] = []any{child.Published, child.Secrets}
	}
	text, _ := json.Marshal(all) // what was read from JSON
	return string(text)
}

// assign decides which instances the plan's requests mean, and notes them in the
// state that is claimed next.
func (w *work) assign() error {
	w.wanted = nil
	if w.Children == nil {
		if len(w.plan.Requests) > 0 {
			return errors.New("nothing here can carry out the profile's requests")
		}
		w.wanted = w.state.Requests
		return nil
	}
	wanted := map[string]state.Requested{}
	for name, old := range w.state.Requests {
		if child, err := w.Children.State(old.Instance); old.Obsolete && err == nil && !w.mine(child, name) {
			continue // nothing is left of it, or it is somebody else's now
		}
		old.Obsolete = old.Obsolete || w.plan.Complete()
		wanted[name] = old
	}
	for i, req := range w.plan.Requests {
		instance := wanted[req.Name].Instance
		if instance == "" {
			if i == 0 {
				if err := w.checkDepth(req); err != nil {
					return err
				}
			}
			var err error
			if instance, err = w.nameOf(req, wanted); err != nil {
				return err
			}
		}
		wanted[req.Name] = state.Requested{Instance: instance, Request: req}
	}
	if len(wanted) > 0 {
		w.wanted = wanted
	}
	return nil
}

// maxRequestDepth bounds how deep instances request one another.
const maxRequestDepth = 8

// checkDepth refuses a request that is nested too deeply: that of a profile that
// requests itself.
func (w *work) checkDepth(req plan.Request) error {
	chain := []string{w.Name}
	for by := w.Settings.Requester; by != nil && len(chain) <= maxRequestDepth; {
		chain = append([]string{by.Instance}, chain...)
		parent, err := w.Children.State(by.Instance)
		if err != nil {
			return err
		}
		by = parent.Settings.Requester
	}
	if len(chain) <= maxRequestDepth {
		return nil
	}
	return &RequestError{req.Name, req.At,
		fmt.Sprintf("instances request one another more than %d deep: %s", maxRequestDepth, strings.Join(chain, " > ")),
		"a profile that requests itself must end somewhere, by a parameter"}
}

// nameOf chooses the name of an instance that is requested for the first time:
// one that nothing has, or that is this request's already.
func (w *work) nameOf(req plan.Request, wanted map[string]state.Requested) (string, error) {
	for _, name := range childNames(w.Name, req.Name) {
		if w.isAssigned(name, wanted) {
			continue
		}
		there, err := w.Children.State(name)
		switch {
		case err != nil:
			return "", err
		case !there.Exists() || w.mine(there, req.Name):
			return name, nil
		case there.Settings.Requester == nil:
			return "", &RequestError{req.Name, req.At,
				fmt.Sprintf("it would be the instance %q, and that exists and was not requested by %q", name, w.Name),
				"choose another name for the request; instar destroy " + name + " --purge gives that instance up, with its data"}
		}
	}
	return "", &RequestError{req.Name, req.At, "the names it could have are those of other instances", "choose another name for the request"}
}

// mine reports whether a child exists that is the one requested as name.
func (r *run) mine(child *state.State, name string) bool {
	return child.Exists() && child.Settings.Requester.IsBy(&state.Requester{Instance: r.Name, Name: name})
}

func (w *work) isAssigned(name string, wanted map[string]state.Requested) bool {
	for _, other := range wanted {
		if other.Instance == name {
			return true
		}
	}
	return false
}

// children are the instances that are requested now: those of the plan first, in
// its order.
func (r *run) children(st *state.State, p *plan.Plan) []*Child {
	var names []string
	listed := map[string]bool{}
	for _, req := range p.Requests {
		names = append(names, req.Name)
		listed[req.Name] = true
	}
	for _, name := range plan.SortedKeys(st.Requests) {
		if !listed[name] {
			names = append(names, name)
		}
	}
	var children []*Child
	for _, name := range names {
		req, ok := st.Requests[name]
		if !ok || req.Obsolete {
			continue
		}
		c := &Child{Name: name, Instance: req.Instance, Request: req.Request, State: req.State, Secrets: secretsIn(req.Params, st.Secrets)}
		if r.requested(st) == state.Stopped {
			c.State = state.Stopped
		}
		children = append(children, c)
	}
	return children
}

// fulfil has the children made what is requested. News of what they publish is
// noted. What was attempted once is not tried again in the same processing.
func (r *run) fulfil(ctx context.Context, st *state.State, p *plan.Plan) error {
	if r.Children == nil || len(st.Requests) == 0 {
		return nil
	}
	var todo []*Child
	for _, c := range r.children(st, p) {
		id := requestID(c.Name)
		if err := r.Children.Complete(c); err != nil {
			r.requests.outcomes[c.Name] = Outcome{Err: err}
			continue
		}
		want := c.digest()
		if r.requests.attempted[c.Name] == want {
			continue
		}
		r.requests.attempted[c.Name] = want
		now, err := r.Children.State(c.Instance)
		if err != nil {
			r.requests.outcomes[c.Name] = Outcome{Err: err}
			continue
		}
		if why := c.differs(now); why != "" {
			c.Differs, r.changed[id] = why, true
			r.foresight.request(r, c, why)
			r.record(report.Change{Op: string(plan.OpRequest), Name: c.Instance, Why: why, At: c.Request.At.String()})
		}
		todo = append(todo, c)
	}
	if r.Planning || len(todo) == 0 {
		return nil
	}
	outcomes := r.Children.Fulfil(ctx, todo)
	for i, c := range todo {
		r.requests.outcomes[c.Name] = outcomes[i]
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case r.Patience != nil && r.Patience.Err() != nil:
		return context.Cause(r.Patience)
	}
	r.requests.news = r.publishedBy(st) != r.requests.told
	return nil
}

func requestID(name string) string { return "request:" + name }

// digest covers all that is asked of a child.
func (c *Child) digest() string {
	text, _ := json.Marshal([]any{c.Settings, c.State, c.From}) // it was JSON, or is to be
	return string(text)
}

// differs says what of a child is not as requested; "" when all is.
func (c *Child) differs(now *state.State) string {
	old, want := now.Settings, c.Settings
	switch {
	case !now.Exists():
		return "does not exist"
	case now.Requested == state.Destroyed:
		return "was destroyed"
	case now.Requested != c.State:
		return "is " + now.Requested + ", and to be " + c.State
	}
	var what []string
	for _, name := range plan.SortedKeys(merged(old.Params, want.Params)) {
		if !sameJSON(old.Params[name], want.Params[name]) {
			what = append(what, name)
		}
	}
	switch {
	case len(what) == 1:
		return "parameter differs: " + what[0]
	case len(what) > 1:
		return "parameters differ: " + strings.Join(what, ", ")
	case old.Profile != want.Profile:
		return "profile differs"
	case old.Release != want.Release:
		return "release differs"
	case c.Stale:
		return "its profile has changed"
	case !sameJSON(old, want):
		return "settings differ"
	}
	return ""
}

func merged(a, b map[string]state.Given) map[string]state.Given {
	all := cloned(a)
	for name, given := range b {
		all[name] = given
	}
	return all
}

// sameJSON reports whether two values are stored as the same.
func sameJSON(a, b any) bool {
	one, err1 := json.Marshal(a)
	two, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && reflect.DeepEqual(one, two)
}

// release destroys what is no longer requested, once all else has succeeded.
func (r *run) release(ctx context.Context, st *state.State) {
	var names, instances []string
	for _, name := range plan.SortedKeys(st.Requests) {
		req := st.Requests[name]
		if !req.Obsolete || !r.isLeft(name, req) {
			continue
		}
		r.removed[requestID(name)] = true
		r.foresight.release(req.Instance, "no longer requested", req.At)
		r.record(report.Change{Op: string(plan.OpRelease), Name: req.Instance, Why: "no longer requested", At: req.At.String()})
		names, instances = append(names, name), append(instances, req.Instance)
	}
	if r.Planning || len(names) == 0 {
		return
	}
	for i, out := range r.Children.Destroy(ctx, instances, false) {
		r.requests.outcomes[names[i]] = out
	}
}

// isLeft reports whether a child exists and is not destroyed yet.
func (r *run) isLeft(name string, req state.Requested) bool {
	child, err := r.Children.State(req.Instance)
	return err == nil && r.mine(child, name) && !child.IsDestroyed()
}

// finishRequests ends a processing, of which err came so far: it tells of the
// children, and releases those that are no longer requested.
func (r *run) finishRequests(ctx context.Context, p *plan.Plan, err error) error {
	if r.Children == nil {
		return err
	}
	st, loadErr := r.latest()
	if loadErr != nil {
		return errors.Join(err, loadErr)
	}
	if len(st.Requests) == 0 {
		return err
	}
	failed := r.tell(st)
	if err == nil && failed == nil && p.Complete() {
		r.release(ctx, st)
		failed = r.tell(st)
	}
	r.countRequests(st)
	if err != nil || failed == nil {
		return err
	}
	r.report.Summary.Failed += len(failed.Failed) - 1 // the caller counts one for the error
	return failed
}

// tell reports the outcomes, and returns the failures.
func (r *run) tell(st *state.State) *RequestsError {
	r.report.Requests = nil
	failed := &RequestsError{Unkept: true}
	for _, name := range plan.SortedKeys(st.Requests) {
		req, out := st.Requests[name], r.requests.outcomes[name]
		if out.Err == nil && (req.Obsolete || r.Planning) {
			continue
		}
		one := report.Requested{Name: name, Instance: req.Instance, State: req.State, OK: out.Err == nil}
		if out.Report != nil {
			one.Pending = out.Report.Pending
			summary := out.Report.Summary
			one.Summary = &summary
		}
		if out.Err != nil {
			one.Message = r.Mask.String(out.Err.Error())
			failed.Failed = append(failed.Failed, one)
			failed.Unkept = failed.Unkept && out.Unkept
			var hint interface{ Hint() string }
			if failed.hint == "" && errors.As(out.Err, &hint) {
				failed.hint = hint.Hint()
			}
		}
		r.report.Requests = append(r.report.Requests, one)
	}
	if len(failed.Failed) == 0 {
		return nil
	}
	return failed
}

// countRequests adds the children to the summary.
func (r *run) countRequests(st *state.State) {
	s := &r.report.Summary
	s.Changed, s.Removed = len(r.changed), len(r.removed)
	for name, req := range st.Requests {
		if !req.Obsolete && !r.changed[requestID(name)] && r.requests.outcomes[name].Err == nil {
			s.OK++
		}
	}
}

// destroyChildren destroys all that the instance has requested.
func (r *run) destroyChildren(ctx context.Context, st *state.State, purge bool) error {
	if r.Children == nil {
		return nil
	}
	var instances []string
	for _, name := range plan.SortedKeys(st.Requests) {
		req := st.Requests[name]
		child, err := r.Children.State(req.Instance)
		if err != nil {
			return err
		}
		if !r.mine(child, name) || child.IsDestroyed() && !purge {
			continue
		}
		r.removed[requestID(name)] = true
		r.record(report.Change{Op: string(plan.OpRelease), Name: req.Instance, Why: "its requester is destroyed", At: req.At.String()})
		instances = append(instances, req.Instance)
	}
	if len(instances) == 0 {
		return nil
	}
	var failures []error
	for i, out := range r.Children.Destroy(ctx, instances, purge) {
		if out.Err != nil {
			failures = append(failures, fmt.Errorf("cannot destroy instance %q, which it requested: %w", instances[i], out.Err))
		}
	}
	return errors.Join(failures...)
}

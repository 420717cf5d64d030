package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/afero"

	"instar/runtime/apply"
	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/state"
)

// work is one round's plan being performed.
type work struct {
	*run
	plan  *plan.Plan
	cmp   *apply.Comparison
	state *state.State
	disk  afero.Fs // nil until the root is opened for writing
	// made holds the hashes of files that commands made.
	made    map[string]string
	digests *apply.Digester
	// dirty is set once a command has run: from then on what was compared may no
	// longer be so.
	dirty   bool
	changed map[string]bool     // paths edited in this round
	vouched map[string]fsys.Sig // what lstat says of files that have just what was written
	back    *readBack           // of what else was written; nil: nothing is read again yet
	synced  bool                // nothing was edited since all was made durable
	rooted  bool                // this apply creates the root
	wanted  map[string]state.Requested
	before  *state.State // as it was loaded
	last    bool         // no round follows that has to settle something
	kept    int          // the generation that has all that is owned now; 0: none is known to
}

// all claims, performs, reconciles, removes and settles.
func (w *work) all(ctx context.Context) error {
	if err := w.loadMade(ctx); err != nil {
		return err
	}
	for _, text := range w.cmp.Warnings {
		w.warn(text)
	}
	if err := w.assign(); err != nil {
		return err
	}
	if err := w.claim(); err != nil {
		return err
	}
	w.view.Forget()
	if err := w.perform(ctx); err != nil {
		return err
	}
	w.back = w.startReadBack()
	defer w.back.wait()
	if err := w.services(ctx); err != nil {
		return err
	}
	if err := w.fulfil(ctx, w.state, w.plan); err != nil {
		return err
	}
	kept, err := w.remove(ctx)
	if err != nil {
		return err
	}
	return w.settle(kept)
}

func (r *run) warn(text string) {
	text = r.Mask.String(text)
	r.report.Warnings = append(r.report.Warnings, text)
	r.emit(report.Event{Kind: "warning", Text: text})
}

// claim saves, before anything is changed, what this apply may come to own and
// the values that it chose.
func (w *work) claim() error {
	owned, err := w.cmp.Claims(w.state.Owned)
	if err != nil {
		return err
	}
	next := w.remembered()
	next.Owned = owned
	if w.rooted, err = w.rootMissing(); err != nil {
		return err
	}
	if w.rooted {
		if len(w.state.Owned) > 0 {
			owned = cloned(owned)
		}
		owned["."] = state.Owned{Kind: plan.KindDir, Mode: rootMode, UID: w.Identity.UID, GID: w.Identity.GID,
			Claim: &state.Claim{Was: "nothing"}}
		next.Owned = owned
	}
	return w.save(next)
}

// claimStep claims what only a command made known.
func (w *work) claimStep(step apply.Step) error {
	owned, err := w.cmp.Claim(w.state.Owned, step)
	if err != nil {
		return err
	}
	next := *w.state
	next.Owned = owned
	return w.save(&next)
}

// rootMode is the mode of a root that instar creates.
const rootMode = 0o750

func cloned[V any](m map[string]V) map[string]V {
	c := make(map[string]V, len(m)+1)
	for k, v := range m {
		c[k] = v
	}
	return c
}

// remembered is the state with what a successful evaluation adds to it:
// settings, values, and what must be masked.
func (w *work) remembered() *state.State {
	next := *w.state
	next.Settings = w.Settings
	next.Requested = w.requested(w.state)
	if next.Requested != state.Destroyed {
		next.DestroyedAt = time.Time{}
	}
	next.RolledBack = w.RolledBack
	next.RanAs = ""
	if w.Identity.UID > 0 {
		next.RanAs = w.Identity.User
	}
	next.Values = cloned(w.state.Values)
	for name, v := range w.plan.Values {
		v.New = false
		next.Values[name] = v
	}
	next.Secrets = w.secrets()
	next.Requests, next.Ending = w.wanted, false
	return &next
}

// secrets are all texts that must be masked: those of the plan, and those that
// the root may still hold from before it.
func (w *work) secrets() []string {
	secrets := slices.Clone(w.plan.Secrets)
	for _, old := range w.state.Secrets {
		if !slices.Contains(secrets, old) {
			secrets = append(secrets, old)
		}
	}
	return secrets
}

// save writes the state, unless the store finds that it says the same already.
func (w *work) save(next *state.State) error {
	if err := w.Store.Save(next); err != nil {
		return fmt.Errorf("cannot save the state: %w", err)
	}
	w.state, w.known = next, next
	return nil
}

func (w *work) rootMissing() (bool, error) {
	_, ok, err := plan.Lookup(w.view, ".")
	return !ok, err
}

// open makes the root writable, and creates it when it is missing.
func (w *work) open() error {
	if w.disk != nil {
		return nil
	}
	disk, err := w.Disk.Open()
	if err != nil {
		return err
	}
	w.disk = disk
	w.view.On(disk)
	return nil
}

// leftovers removes the temporary files of an apply that was interrupted. It
// comes before the comparison, which would take them for somebody's.
func (w *work) leftovers() error {
	for name, rec := range w.state.Owned {
		if rec.Claim == nil || name == "." {
			continue
		}
		tmp := fsys.TempName(name)
		if _, left, err := plan.Lookup(w.view, tmp); err != nil || !left {
			continue // a parent that is a link now is for the comparison to refuse
		}
		if err := w.open(); err != nil {
			return err
		}
		if err := w.disk.RemoveAll(tmp); err != nil {
			return explain(fmt.Errorf("cannot remove what an interrupted apply left: %w", err), w.Settings.Root)
		}
	}
	return nil
}

// perform does, in the order of declaration, what the resources need.
func (w *work) perform(ctx context.Context) error {
	if w.rooted {
		if err := w.open(); err != nil {
			return err
		}
	}
	steps := w.cmp.Steps
	for i := 0; i < len(steps); i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if n, err := w.many(ctx, steps[i:]); err != nil {
			return err
		} else if n > 0 {
			i += n - 1
			continue
		}
		step := steps[i]
		if from, ok := step.Resource.(*plan.Copy); w.dirty || ok && from.Inside {
			again, err := w.cmp.Again(step.Resource)
			if err != nil {
				return err
			}
			step = again
			if err := w.claimStep(step); err != nil {
				return err
			}
		}
		if err := w.step(step); err != nil {
			return err
		}
		if cmd, ok := step.Resource.(*plan.Command); ok {
			if err := w.command(ctx, cmd); err != nil {
				return err
			}
		}
	}
	return w.sync()
}

// sync makes what was written durable before the state says that it is there.
func (w *work) sync() error {
	if w.disk == nil || len(w.changed) == 0 || w.synced && !w.dirty {
		return nil
	}
	err := fsys.SyncFS(w.disk)
	w.synced = err == nil
	return err
}

func (w *work) step(step apply.Step) error {
	for _, e := range step.Edits {
		if err := w.open(); err != nil {
			return err
		}
		if err := w.edit(e); err != nil {
			return err
		}
	}
	if _, command := step.Resource.(*plan.Command); !command && len(step.Edits) > 0 {
		w.run.changed[string(step.Resource.ID())] = true
	}
	return nil
}

func (w *work) edit(e plan.Edit) error {
	diff := ""
	if w.Diffs && e.Op == plan.OpWrite {
		diff = w.diff(e)
	}
	w.foresight.edit(w, e)
	sig, err := apply.Do(w.disk, w.view, e)
	if err != nil {
		return explain(err, w.Settings.Root)
	}
	w.edited(e, diff, sig)
	return nil
}

// edited notes and tells that an edit was made.
func (w *work) edited(e plan.Edit, diff string, sig fsys.Sig) {
	if sig != (fsys.Sig{}) {
		w.vouched[e.Path] = sig
	}
	w.changed[e.Path], w.writes[e.Path] = true, true
	w.synced = false
	w.record(report.Change{Op: string(e.Op), Path: e.Path, Why: e.Why, At: e.At.String(), Diff: diff})
}

// record tells of a change that was made.
func (r *run) record(c report.Change) {
	c.Path, c.Name = r.Mask.String(c.Path), r.Mask.String(c.Name)
	c.Why, c.Diff = r.Mask.String(c.Why), r.Mask.String(c.Diff)
	r.did++
	r.uncounted++
	r.wrote = time.Now()
	r.report.Changes = append(r.report.Changes, c)
	r.emit(report.Event{Kind: "change", Change: &c})
}

// remove takes away what is no longer declared, and returns the records that
// stay. Nothing goes, and nil is returned, while the plan is incomplete.
func (w *work) remove(ctx context.Context) (map[string]state.Owned, error) {
	if !w.plan.Complete() {
		return nil, nil
	}
	return w.removeOf(ctx, w.state.Owned)
}

// removeOf is remove for a part of what is owned.
func (w *work) removeOf(ctx context.Context, owned map[string]state.Owned) (map[string]state.Owned, error) {
	if err := w.dropNotes(ctx); err != nil {
		return nil, err
	}
	edits, kept, warnings, err := w.cmp.Obsolete(owned)
	if err != nil {
		return nil, err
	}
	for _, text := range warnings {
		w.warn(text)
	}
	for _, e := range edits {
		if err := w.open(); err != nil {
			return nil, err
		}
		if err := w.edit(e); err != nil {
			return nil, err
		}
		w.removed["path:"+e.Path] = true
	}
	return kept, w.sync()
}

// settle saves what is now the case.
func (w *work) settle(kept map[string]state.Owned) error {
	next := w.remembered()
	last := w.plan.Complete() && !w.again(w.plan) // what is made by rounds is one generation
	w.last = last
	if w.uncounted > 0 && last {
		w.uncounted = 0
		next.Generation++
		next.AppliedAt = w.now().UTC().Round(0)
	}
	generation := next.Generation
	if !last {
		generation++
	}
	owned, err := w.cmp.Settle(w.state.Owned, w.changed, generation, kept)
	if err != nil {
		return err
	}
	next.Owned = owned
	if last && next.Generation == w.before.Generation && w.owed(owned) {
		next.Generation++
		next.AppliedAt = w.now().UTC().Round(0)
	}
	next.Pending = ""
	if w.plan.Pending != nil {
		next.Pending = w.plan.Pending.At.String() + ": " + w.plan.Pending.Why
	} else {
		next.Published = w.plan.Published
		next.Promises = w.plan.Promises
		next.Secrets = w.plan.Secrets // what held others is gone
	}
	next.Services = w.started()
	w.report.Generation = next.Generation
	g := w.gather(next)
	defer g.wait()
	if next.Generation > w.before.Generation {
		w.keepGeneration(next)
	}
	if err := w.save(next); err != nil {
		return err
	}
	w.remember(g)
	return nil
}

// started is what the state remembers of the services.
func (w *work) started() map[string]state.Service {
	m := make(map[string]state.Service, len(w.specs))
	for _, s := range w.specs {
		m[s.Name] = state.Service{Digest: s.Digest, ReloadDigest: s.ReloadDigest, Run: s.Run, Schedule: s.Schedule, At: s.At}
	}
	return m
}

// explain adds to an error of the disk what the operator can do about it.
func explain(err error, root string) error {
	hint := ""
	switch {
	case errors.Is(err, fs.ErrPermission):
		hint = "instar must be able to write below " + root
	case strings.Contains(err.Error(), "no space left"):
		hint = "make room on the disk of " + root + " and apply again: what was done stays, and the rest follows"
	case strings.Contains(err.Error(), "read-only file system"):
		hint = root + " lies on a file system that is mounted read-only"
	default:
		return err
	}
	return &hinted{err, hint}
}

type hinted struct {
	error
	hint string
}

func (h *hinted) Hint() string  { return h.hint }
func (h *hinted) Unwrap() error { return h.error }

package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"instar/runtime/apply"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/service"
	"instar/runtime/state"
)

// serviceUmask is the umask of every process of an instance.
const serviceUmask = 0o027

// services brings the manager's services in line with the plan and with what
// stands in the drop-in folders.
func (w *work) services(ctx context.Context) error {
	specs, err := w.allSpecs()
	if err != nil {
		return err
	}
	if err := w.checkPrerm(); err != nil {
		return err
	}
	if err := service.Validate(specs); err != nil {
		return err
	}
	specs = w.accepted(specs)
	w.specs, w.Specs = specs, specs
	if w.Manager == nil {
		return nil
	}
	w.warnUnsupported(specs)
	w.warnBarred(specs)
	have, err := w.Manager.Observe(ctx, w.Name)
	if err != nil {
		return fmt.Errorf("cannot observe the services: %w", err)
	}
	changes := service.Reconcile(specs, have, w.requested(w.state) == state.Started)
	changes = w.allowed(changes)
	w.foresight.services(w.state.Services, have, changes)
	return w.applyServices(ctx, changes)
}

// accepted leaves out, and says so, what the manager cannot run at all.
func (w *work) accepted(specs []service.Spec) []service.Spec {
	refuser, ok := w.Manager.(service.Refuser)
	if !ok {
		return specs
	}
	var taken []service.Spec
	for _, spec := range specs {
		if why := refuser.Refuses(spec); why != "" {
			w.warn(fmt.Sprintf("%s: %s is left out: %s", spec.At, spec.Name, why))
			continue
		}
		taken = append(taken, spec)
	}
	return taken
}

// warnUnsupported tells what the manager cannot do: never is that dropped
// silently.
func (r *run) warnUnsupported(specs []service.Spec) {
	if r.Unsupported == nil {
		return
	}
	for _, spec := range specs {
		for _, text := range r.Unsupported(spec) {
			r.warn(spec.At.String() + ": " + text)
		}
	}
}

// allowed leaves alone what an incomplete plan does not mention, and what an
// operator stopped.
func (w *work) allowed(changes []service.Change) []service.Change {
	var kept []service.Change
	for _, c := range changes {
		unload := c.Op == service.Unload && !w.plan.Complete()
		if !unload && !(c.Op == service.Start && w.Held[c.Name]) {
			kept = append(kept, c)
		}
	}
	return kept
}

func (r *run) applyServices(ctx context.Context, changes []service.Change) error {
	if len(changes) == 0 {
		return nil
	}
	if err := r.Manager.Apply(ctx, r.Name, changes); err != nil {
		return err
	}
	for _, c := range changes {
		switch id := serviceID(c.Name); c.Op {
		case service.Unload:
			r.removed[id] = true
		case service.Restart:
			r.restarted[id] = true
		default:
			r.changed[id] = true
		}
		r.record(report.Change{Op: string(c.Op), Name: c.Name, Why: c.Why, At: c.At.String()})
	}
	return nil
}

func serviceID(name string) string { return "service:" + name }

// allSpecs returns what must run: declared services, runs and timers, then
// drop-ins.
func (w *work) allSpecs() ([]service.Spec, error) {
	var specs []service.Spec
	names := map[string]bool{}
	for _, s := range w.plan.Services {
		spec, err := w.serviceSpec(s)
		if err != nil {
			return nil, fmt.Errorf("%s: service %q: %w", s.At, s.Name, err)
		}
		names[s.Script] = true
		specs = append(specs, spec)
	}
	for _, r := range w.plan.Runs {
		spec, err := w.runSpec(r)
		if err != nil {
			return nil, fmt.Errorf("%s: run %q: %w", r.At, r.Name, err)
		}
		names[r.Script] = true
		specs = append(specs, spec)
	}
	for _, t := range w.plan.Timers {
		spec, err := w.timerSpec(t)
		if err != nil {
			return nil, fmt.Errorf("%s: timer %q: %w", t.At, t.Name, err)
		}
		specs = append(specs, spec)
	}
	dropIns, err := w.dropIns(names)
	if err != nil {
		return nil, err
	}
	return append(specs, dropIns...), unique(append(specs, dropIns...))
}

// unique refuses one name in two folders.
func unique(specs []service.Spec) error {
	seen := map[string]service.Spec{}
	for _, s := range specs {
		if first, ok := seen[s.Name]; ok {
			return &DropInError{
				Path:   s.Argv[0],
				Why:    fmt.Sprintf("%q is also %s", s.Name, first.Argv[0]),
				Remedy: "services, runs and timers cannot share a name: rename one of them",
			}
		}
		seen[s.Name] = s
	}
	return nil
}

// identify fills the fields that all programs of the instance share.
func (w *work) identify(name string, x plan.Exec, at plan.Pos) service.Spec {
	return service.Spec{
		Instance: w.Name, Name: name, At: at,
		Argv: x.Argv, Dir: x.Dir, Identity: x.Identity, Umask: serviceUmask,
		Env:     x.Identity.Environ(),
		Restart: "always", StopSignal: "TERM", StopTimeout: 60 * time.Second,
	}
}

func (w *work) serviceSpec(s plan.Service) (service.Spec, error) {
	spec := w.identify(s.Name, s.Exec, s.At)
	if s.OwnUser || !plan.UnixModes { // the script is one for a Unix shell
		w.declaredEnv(&spec, s.Exec.Env)
	} else {
		spec.Argv = []string{filepath.Join(w.Settings.Root, s.Script)}
		spec.Dir = w.Settings.Root
	}
	spec.Restart, spec.After = s.Restart, s.After
	spec.ReloadArgv, spec.ReloadSig = s.Reload, s.ReloadSig
	spec.StopSignal, spec.StopTimeout = s.StopSignal, s.StopTimeout
	spec.Limits = s.Limits
	// What only the files of reload_on lead to is for the reload too.
	except, err := w.digester().Listed(s.ReloadOn)
	if err != nil {
		return spec, err
	}
	if len(s.ReloadOn) > 0 {
		spec.ReloadInputs, err = w.digester().Inputs(nil, s.ReloadOn, nil)
		if err != nil {
			return spec, err
		}
		spec.ReloadDigest = apply.Digest(nil, spec.ReloadInputs)
	}
	return spec, w.digestSpec(&spec, s.Exec, s.Uses, except)
}

// declaredEnv gives a program that does not run through its script what its
// declaration sets, and keeps apart what is secret.
func (w *work) declaredEnv(spec *service.Spec, env []string) {
	for _, pair := range env {
		if w.Mask.Contains([]byte(pair)) {
			spec.PrivateEnv = append(spec.PrivateEnv, pair)
		} else {
			spec.Env = append(spec.Env, pair)
		}
	}
}

func (w *work) runSpec(r plan.Run) (service.Spec, error) {
	spec := w.identify(r.Name, r.Exec, r.At)
	spec.Run, spec.Restart, spec.After = true, "on-failure", r.After
	if r.Exec.Identity.UID == w.Identity.UID && plan.UnixModes {
		spec.Argv = []string{filepath.Join(w.Settings.Root, r.Script)}
		spec.Dir = w.Settings.Root
	} else {
		w.declaredEnv(&spec, r.Exec.Env)
	}
	return spec, w.digestSpec(&spec, r.Exec, r.Uses, nil)
}

// digestSpec computes what the program is started with: its definition, and all
// declared files that it depends on but those in except.
func (w *work) digestSpec(spec *service.Spec, x plan.Exec, uses []string, except map[string]bool) error {
	def, err := json.Marshal(struct {
		Argv, Env []string
		Dir       string
		Identity  plan.Identity
		Limits    plan.Limits
		Declared  plan.Exec
	}{spec.Argv, spec.Env, spec.Dir, spec.Identity, spec.Limits, x})
	if err != nil {
		return err
	}
	texts := append(execTexts(x), spec.Argv...)
	spec.Inputs, err = w.digester().Inputs(texts, uses, except)
	if err != nil {
		return err
	}
	spec.Digest = apply.Digest(def, spec.Inputs)
	return nil
}

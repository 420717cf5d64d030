package engine

import (
	"encoding/json"
	"errors"
	"path/filepath"

	"instar/runtime/apply"
	"instar/runtime/plan"
	"instar/runtime/rotate"
	"instar/runtime/service"
)

// timerSpec returns the specification of a timer. Its digest covers when and what
// is started; the files that it mentions are read at its next start, and change
// nothing before.
func (w *work) timerSpec(t plan.Timer) (service.Spec, error) {
	spec := w.identify(t.Name, t.Exec, t.At)
	spec.Run, spec.Restart, spec.Schedule = true, "no", t.Schedule
	switch {
	case t.Rotation != nil:
		if err := w.rotation(&spec, t.Rotation); err != nil {
			return spec, err
		}
	case t.OwnUser:
		w.declaredEnv(&spec, t.Exec.Env)
	default:
		spec.Argv = []string{filepath.Join(w.Settings.Root, t.Script)}
		spec.Dir = w.Settings.Root
	}
	def, err := json.Marshal(struct {
		Schedule, ThenService, ThenSignal string
		Argv, Env                         []string
		Dir                               string
		Identity                          plan.Identity
	}{spec.Schedule, spec.ThenService, spec.ThenSignal, spec.Argv, spec.Env, spec.Dir, spec.Identity})
	spec.Digest = apply.Digest(def, nil)
	return spec, err
}

// rotation makes spec run instar itself, in the root.
func (w *work) rotation(spec *service.Spec, r *plan.Rotation) error {
	if w.Program == "" {
		return errors.New("it is not known where instar is, which rotates logs")
	}
	job, err := json.Marshal(rotate.Job{Files: r.Files, Keep: r.Keep, Then: r.Then})
	spec.Argv = append([]string{w.Program}, rotate.Arguments(string(job))...)
	spec.ThenService, spec.ThenSignal = r.Service, r.Signal
	return err
}

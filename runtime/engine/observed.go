package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"instar/runtime/apply"
	"instar/runtime/command"
	"instar/runtime/plan"
)

// What a command does to a file that the profile had observed makes a round one
// that is followed by another: what the profile was told is no longer so.

// recordOf returns the record of a command. An attempt that an earlier deployer
// had begun is waited for; when it ended after the profile was evaluated, that was
// too early.
func (w *work) recordOf(ctx context.Context, name string) (*command.Record, error) {
	rec, err := w.Commands.Record(ctx, name)
	if err == nil && rec != nil && len(w.plan.Observed) > 0 && !rec.Finished.Before(w.evaluated) {
		w.awaited = true
	}
	return rec, err
}

// witness notes the hash of each file in the root that an evaluation reads.
type witness struct {
	*apply.View
	saw map[string]string
}

func (v witness) ReadFile(name string) ([]byte, error) {
	data, err := v.View.ReadFile(name)
	if err == nil {
		v.saw[name] = apply.Hash(data)
	}
	return data, err
}

// noteObserved notes, after a command, which files are no longer as the profile
// observed them.
func (w *work) noteObserved() {
	for _, name := range w.plan.Observed {
		now := ""
		if data, err := w.view.ReadFile(name); err == nil {
			now = apply.Hash(data)
		}
		if now != w.saw[name] {
			w.writes[name] = true
		}
	}
}

// circles is the error of a profile that each round changes what it observes. Who
// asked whether it is idempotent is told what it would do next.
func (r *run) circles(ctx context.Context, p *plan.Plan) error {
	var names []string
	for _, name := range p.Observed {
		if r.writes[name] {
			names = append(names, name)
		}
	}
	err := fmt.Errorf("the profile still changes what it observes after %d rounds: %s", maxRounds, strings.Join(names, ", "))
	var found *IdempotenceError
	if errors.As(r.idempotent(ctx), &found) {
		return found
	}
	return err
}

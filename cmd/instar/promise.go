package main

import (
	"context"
	"time"

	"instar/runtime/promise"
	"instar/runtime/report"
)

const promiseDoc = `Checks each promise once, whatever its period, and exits with 2 when one fails.`

// promise checks an instance's promises now, each once.
func (a *app) promise(ctx context.Context, args []string) error {
	t, st, err := a.existing(args[0])
	if err != nil {
		return err
	}
	in, err := a.instance(t, st, st.Settings, true)
	if err != nil {
		return err
	}
	start := time.Now()
	results := in.checker(in.mask).WaitAll(ctx, st.Promises, 0, func(name string, r promise.Result) {
		a.ui.progress("checked " + name + ": " + r.Message)
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	outcomes := make([]report.Promise, len(results))
	failed := 0
	for i, r := range results {
		if outcomes[i] = promiseReport(r); !r.OK {
			failed++
		}
	}
	if err := rememberPromises(in.folder, outcomes); err != nil {
		a.ui.warn("cannot remember the outcome: " + err.Error())
	}
	if a.ui.json {
		a.ui.document(struct {
			FormatVersion int              `json:"format_version"`
			Instance      string           `json:"instance"`
			Promises      []report.Promise `json:"promises"`
		}{report.FormatVersion, t.name, outcomes})
	} else {
		a.ui.promises(outcomes)
		recap := report.Report{Instance: t.name, Seconds: time.Since(start).Seconds()}
		recap.Summary.OK, recap.Summary.Failed = len(outcomes)-failed, failed
		a.ui.recap(&recap)
	}
	if failed > 0 {
		return exitWith(exitUnkept)
	}
	return nil
}

package engine

import (
	"context"
	"slices"
	"time"

	"instar/runtime/report"
	"instar/runtime/service"
)

// Operation is something that an operator wants of running services: it changes
// neither the plan nor the state.
type Operation struct {
	Instance string
	Manager  service.Manager
	Specs    []service.Spec // all services and runs of the instance
	Op       service.Op     // Start, Stop or Restart
	Name     string         // of the only one that is meant; "": all services, not the runs
	Mask     func(string) string
	Sink     report.Sink // may be nil
}

// Operate performs o. What is as wanted already is left alone. The report is
// never nil.
func Operate(ctx context.Context, o Operation) (*report.Report, error) {
	start := time.Now()
	var changes []service.Change
	for _, spec := range o.Specs {
		if o.Name == "" && !spec.Run || spec.Name == o.Name {
			changes = append(changes, service.Change{Op: o.Op, Name: spec.Name, Run: spec.Run, Spec: spec, Why: "asked for", At: spec.At})
		}
	}
	have, err := o.Manager.Observe(ctx, o.Instance)
	if err == nil {
		changes = slices.DeleteFunc(changes, func(c service.Change) bool { return already(c, have[c.Name]) })
		err = o.Manager.Apply(ctx, o.Instance, changes)
	}
	rep := &report.Report{FormatVersion: report.FormatVersion, Instance: o.Instance, Complete: true,
		Changes: []report.Change{}, Published: map[string]any{}}
	rep.Summary.OK = len(o.Specs) - len(changes)
	if err != nil {
		rep.Error, rep.Summary.Failed, rep.Complete = report.ErrorOf(err, o.Mask), 1, false
		changes = nil
	}
	for _, c := range changes {
		change := report.Change{Op: string(c.Op), Name: c.Name, Why: c.Why, At: c.At.String()}
		rep.Changes = append(rep.Changes, change)
		if o.Sink != nil {
			o.Sink(report.Event{Time: time.Now(), Kind: "change", Change: &change})
		}
		if o.Op == service.Restart {
			rep.Summary.Restarted++
		} else {
			rep.Summary.Changed++
		}
	}
	rep.Seconds = time.Since(start).Seconds()
	return rep, err
}

// already reports whether a service is what c would make of it.
func already(c service.Change, now service.State) bool {
	switch c.Op {
	case service.Start:
		return now.Status == service.Running || now.Status == service.Waiting || now.Status == service.Done
	case service.Stop:
		return now.Status == "" || now.Status == service.Stopped && !now.Ended
	}
	return false
}

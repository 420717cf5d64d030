package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"instar/runtime/control"
	"instar/runtime/history"
	"instar/runtime/report"
	"instar/runtime/state"
)

const historyDoc = `One line for each processing of the instance: when, why, what it did, and what
was wrong. With --json, all that is known of them: changes, promises and output
of commands, too. What an apply by hand leaves as it is leaves no line.`

func historyFlags(o *options, f *pflag.FlagSet) {
	f.IntVarP(&o.lines, "lines", "n", 20, "show the last `NUMBER` of processings; -1 for all")
}

// history shows what happened to an instance.
func (a *app) history(_ context.Context, args []string) error {
	t, _, err := a.existing(args[0])
	if err != nil {
		return err
	}
	lines, err := history.Read(t.folder, a.opts.lines)
	if err != nil {
		return err
	}
	if a.ui.json {
		if lines == nil {
			lines = []history.Line{}
		}
		a.ui.document(struct {
			FormatVersion int            `json:"format_version"`
			Instance      string         `json:"instance"`
			History       []history.Line `json:"history"`
		}{report.FormatVersion, t.name, lines})
		return nil
	}
	if len(lines) == 0 {
		a.ui.say("nothing is known of what happened to %s", t.name)
		return nil
	}
	table := table{header: []string{"WHEN", "BY", "WHY", "CHANGED", "REMOVED", "RESTARTED", "SECONDS", "OUTCOME"}}
	for _, l := range lines {
		table.add(cell{text: l.At.Local().Format(time.DateTime)}, cell{text: l.By}, cell{text: shortened(l.Why, 40)},
			cell{text: fmt.Sprint(l.Summary.Changed)}, cell{text: fmt.Sprint(l.Summary.Removed)}, cell{text: fmt.Sprint(l.Summary.Restarted)},
			cell{text: fmt.Sprintf("%.2f", l.Seconds)}, outcomeCell(l))
	}
	a.ui.print(table.render(a.ui.outColor))
	return nil
}

func outcomeCell(l history.Line) cell {
	switch {
	case l.Error != nil:
		return cell{firstLine(l.Error.Message), red}
	case l.Pending != nil:
		return cell{"pending: " + firstLine(*l.Pending), yellow}
	}
	return cell{"ok", green}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func shortened(text string, n int) string {
	runes := []rune(firstLine(text))
	if len(runes) <= n {
		return string(runes)
	}
	return string(runes[:n-1]) + "…"
}

// recorded writes a processing that was done here into the history. One that
// changed nothing, and found no promise, run or command failing, leaves nothing:
// neither does the second apply, nor an error in the profile.
func (in *instance) recorded(by, why string, r *report.Report) error {
	return in.recordAs(by, why, r, in.said.Take())
}

func (in *instance) recordAs(by, why string, r *report.Report, said []history.Output) error {
	s := r.Summary
	told := r.Error != nil && len(r.Promises)+len(r.Runs)+len(said) > 0
	if !told && len(r.Changes) == 0 && s.Changed+s.Removed+s.Restarted == 0 {
		return nil
	}
	return history.Append(in.folder, history.Of(r, by, why, said))
}

// verbOf names the command that asks for a state.
func (in *instance) verbOf(requested string) string {
	if in.past != nil && in.past.back {
		return fmt.Sprintf("rollback to generation %d", in.past.Number)
	}
	switch requested {
	case state.Started:
		return "start"
	case state.Stopped:
		return "stop"
	}
	return "apply"
}

// upHistory writes the history of an instance that an `up` serves.
type upHistory struct {
	in   *instance
	said history.Said

	mu      sync.Mutex
	why     string // of the processing at work
	bang    string // what it is about, when that is an alert
	unkempt bool   // the last processing did not succeed
}

// begin notes why a processing begins.
func (h *upHistory) begin(action control.Action) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.bang != "" && action.Settings == nil && (action.Verb == "apply" || action.Verb == "bang"):
		h.why = h.bang
	case action.Verb == "apply" && action.Reason != "":
		h.why = action.Reason
	case action.Verb == "start" && action.Settings != nil:
		h.why = "up"
	case action.Verb != "apply" || action.Settings != nil:
		h.why = "asked: " + action.Verb
	case h.unkempt:
		h.why = "retry"
	default:
		h.why = "periodic"
	}
	h.bang = ""
}

// sink sees what happens, and passes it on.
func (h *upHistory) sink(next report.Sink) report.Sink {
	return func(ev report.Event) {
		h.said.Hear(ev)
		switch ev.Kind {
		case "bang":
			h.mu.Lock()
			h.bang = "bang: " + ev.Text
			h.mu.Unlock()
		case "done":
			if err := h.done(ev.Report); err != nil {
				next(report.Event{Time: ev.Time, Kind: "warning", Text: err.Error()})
			}
		}
		next(ev)
	}
}

func (h *upHistory) done(r *report.Report) error {
	h.mu.Lock()
	why := h.why
	h.why = ""
	if why != "" {
		h.unkempt = r.Error != nil || r.Pending != nil
	} else if len(r.Changes) > 0 {
		why = "asked: " + r.Changes[0].Op // of one service
	}
	h.mu.Unlock()
	said := h.said.Take()
	if why == "retry" || strings.HasPrefix(why, "bang: ") { // by itself, for a reason
		return history.Append(h.in.folder, history.Of(r, "up", why, said))
	}
	return h.in.recordAs("up", why, r, said)
}

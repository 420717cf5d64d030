package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"instar/runtime/node"
	"instar/runtime/plan"
	"instar/runtime/report"
	requests "instar/runtime/request"
	"instar/runtime/state"
)

const statusDoc = `Without NAME, one line for each instance. With it, its services, runs and
timers, what its promises were last known to be, and what it publishes, secrets
masked.`

// status shows all instances, or one.
func (a *app) status(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return a.statusAll(ctx)
	}
	t, st, err := a.existing(args[0])
	if err != nil {
		return err
	}
	n := &nodeView{app: a}
	defer n.close()
	s, err := a.statusOf(ctx, t, st, n)
	if err != nil {
		return err
	}
	if a.ui.json {
		a.ui.document(s)
		return nil
	}
	a.ui.status(s, st, node.Retained(a.home, t.name))
	return nil
}

// statusOf asks what serves the instance, else says what is remembered: then
// nothing supervises its services.
func (a *app) statusOf(ctx context.Context, t target, st *state.State, n *nodeView) (*report.Status, error) {
	client, err := n.serving(ctx, t.folder)
	if err != nil {
		return nil, err
	}
	if client != nil {
		defer n.release(client)
		return client.Status(ctx, t.name, a.opts.reveal)
	}
	s, err := restingStatus(t.folder, st, a.ui.mask.Walk, a.opts.reveal)
	if err != nil {
		return nil, err
	}
	in := &instance{home: a.home, folder: t.folder, name: t.name, settings: st.Settings}
	manager, err := in.managerOrNone()
	if err != nil || manager == nil {
		return s, err
	}
	return s, supervised(ctx, s, manager)
}

// restingStatus is the status of an instance whose services nothing supervises.
func restingStatus(folder state.Folder, st *state.State, mask func(any) any, reveal bool) (*report.Status, error) {
	promises, err := lastPromises(folder)
	if err != nil {
		return nil, err
	}
	s := &report.Status{
		FormatVersion: report.FormatVersion,
		Instance:      st.Instance,
		State:         st.Requested,
		Generation:    st.Generation,
		Services:      []report.Service{},
		Runs:          []report.Service{},
		Timers:        []report.Timer{},
		Promises:      declaredOnly(promises, st.Promises),
		Published:     map[string]any{},
	}
	for _, name := range plan.SortedKeys(st.Services) {
		one := report.Service{Name: name, Status: "stopped"}
		if schedule := st.Services[name].Schedule; schedule != "" {
			s.Timers = append(s.Timers, report.Timer{Name: name, Schedule: schedule, Status: "stopped"})
			continue
		}
		if st.Services[name].Run {
			s.Runs = append(s.Runs, one)
		} else {
			s.Services = append(s.Services, one)
		}
	}
	if st.Published != nil {
		s.Published = st.Published
	}
	if !reveal {
		s.Published, _ = mask(s.Published).(map[string]any) // the keys, too
	}
	if st.Pending != "" {
		text, _ := mask(st.Pending).(string)
		s.Pending = &text
	}
	s.Requester, s.Requests = relatives(folder, st)
	if st.RolledBack != nil {
		s.RolledBack = &report.Followed{Generation: st.RolledBack.Generation}
	}
	if st.LastBang != nil {
		s.LastBang = &report.Bang{At: st.LastBang.At, Reason: st.LastBang.Reason}
	}
	return s, nil
}

// declaredOnly returns the outcomes of the promises that are still declared,
// never nil.
func declaredOnly(outcomes []report.Promise, declared []plan.Promise) []report.Promise {
	names := map[string]bool{}
	for _, p := range declared {
		names[p.Name] = true
	}
	kept := []report.Promise{}
	for _, o := range outcomes {
		if names[o.Name] {
			kept = append(kept, o)
		}
	}
	return kept
}

// instanceLine is one instance in the list of all.
type instanceLine struct {
	Instance   string `json:"instance"`
	State      string `json:"state,omitempty"`
	Generation int    `json:"generation"`
	Services   int    `json:"services"`
	// Running counts the services that run; nil when nothing supervises them.
	Running *int          `json:"running,omitempty"`
	Pending *string       `json:"pending"`
	Profile string        `json:"profile,omitempty"`
	Root    string        `json:"root,omitempty"`
	Served  string        `json:"served,omitempty"`
	Error   *report.Error `json:"error,omitempty"`
}

func (a *app) statusAll(ctx context.Context) error {
	if err := a.openHome(); err != nil {
		return err
	}
	names, err := a.names()
	if err != nil {
		return err
	}
	lines := make([]instanceLine, 0, len(names))
	n := &nodeView{app: a}
	defer n.close()
	for _, name := range names {
		lines = append(lines, a.line(ctx, name, n))
	}
	if a.ui.json {
		a.ui.document(struct {
			FormatVersion int            `json:"format_version"`
			Instances     []instanceLine `json:"instances"`
		}{report.FormatVersion, lines})
		return nil
	}
	if len(lines) == 0 {
		a.ui.say("no instances in %s", a.home)
		return nil
	}
	a.ui.instances(lines)
	return nil
}

// names returns all instances, those that are only requested too, in order.
func (a *app) names() ([]string, error) {
	names, err := a.home.Names()
	if err != nil {
		return nil, err
	}
	requested, err := requests.Names(a.home)
	if errors.Is(err, fs.ErrPermission) {
		err = nil // they are the node's alone
	}
	names = append(names, requested...)
	slices.Sort(names)
	return slices.Compact(names), err
}

// line describes one instance. One that cannot be read does not keep the others
// from being shown.
func (a *app) line(ctx context.Context, name string, n *nodeView) instanceLine {
	folder := a.home.Instance(name)
	st, err := folder.Brief()
	if err == nil {
		err = a.onlyRequested(st, name)
	}
	if err != nil {
		return instanceLine{Instance: name, State: "unknown", Error: a.ui.errorOf(err)}
	}
	a.ui.learn(st.Secrets)
	l := instanceLine{
		Instance: name, State: st.Requested, Generation: st.Generation,
		Profile: st.Settings.Profile, Root: st.Settings.Root,
	}
	s, err := a.statusOf(ctx, target{name, st.Settings.Profile, folder}, st, n)
	if err != nil {
		l.Error = a.ui.errorOf(err)
		return l
	}
	l.Services, l.Pending, l.Served = len(s.Services), s.Pending, s.Served
	if s.Served != "" {
		running := 0
		for _, service := range s.Services {
			if service.Status == "running" {
				running++
			}
		}
		l.Running = &running
	}
	return l
}

// instances prints the list of all instances.
func (u *ui) instances(lines []instanceLine) {
	t := table{header: []string{"INSTANCE", "STATE", "GENERATION", "SERVICES", "PROFILE", "ROOT"}}
	for _, l := range lines {
		if l.Error != nil {
			t.add(cell{text: l.Instance}, cell{l.State, red}, cell{text: "-"}, cell{text: "-"}, cell{text: l.Error.Message})
			continue
		}
		running := 0
		if l.Running != nil {
			running = *l.Running
		}
		t.add(cell{text: l.Instance}, stateCell(l.State, l.Pending), cell{text: strconv.Itoa(l.Generation)},
			cell{text: fmt.Sprintf("%d/%d running", running, l.Services)}, cell{text: l.Profile}, cell{text: l.Root})
	}
	u.print(t.render(u.outColor))
}

func stateCell(name string, pending *string) cell {
	switch {
	case pending != nil:
		return cell{name + ", pending", yellow}
	case name == state.Started:
		return cell{name, green}
	}
	return cell{name, faint}
}

// status prints one instance, and until when its data is kept after a
// destruction, zero for no such time.
func (u *ui) status(s *report.Status, st *state.State, until time.Time) {
	t := table{}
	t.add(cell{"instance", bold}, cell{text: s.Instance})
	t.add(cell{"state", bold}, stateCell(s.State, s.Pending))
	if s.State == state.Destroyed && !until.IsZero() {
		t.texts("data kept until", until.Local().Format(time.DateTime))
	}
	t.texts("generation", generationText(s.Generation, st.AppliedAt))
	t.texts("profile", st.Settings.Profile)
	if s.RolledBack != nil {
		t.texts("rolled back", fmt.Sprintf("follows generation %d until the next apply", s.RolledBack.Generation))
	}
	t.texts("root", st.Settings.Root)
	t.texts("release", st.Settings.Release)
	served := s.Served
	if served == "" {
		served = "nothing supervises its services"
	}
	t.texts("served by", served)
	if by := s.Requester; by != nil {
		t.texts("requested by", by.Instance+", as "+by.Name)
	}
	if s.Pending != nil {
		t.texts("pending", *s.Pending)
	}
	if s.LastBang != nil {
		t.texts("last bang", ago(s.LastBang.At)+": "+s.LastBang.Reason)
	}
	if s.Error != nil {
		t.add(cell{"problem", bold}, cell{s.Error.Message, red})
	}
	u.print(t.render(u.outColor))
	u.processes("services", s.Services)
	u.processes("runs", s.Runs)
	u.timers(s.Timers)
	u.outcomes(s.Promises)
	u.requested(s.Requests)
	u.published(s.Published)
}

func generationText(n int, at time.Time) string {
	if at.IsZero() {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d, %s", n, ago(at))
}

// processes prints services or runs.
func (u *ui) processes(title string, list []report.Service) {
	if len(list) == 0 {
		return
	}
	notes := make([][4]string, len(list))
	var widths [4]int
	for i, s := range list {
		n := &notes[i]
		if s.PID > 0 {
			n[0] = fmt.Sprintf("pid %d  ", s.PID)
		}
		if s.Restarts == 1 {
			n[1] = "1 restart  "
		} else if s.Restarts > 1 {
			n[1] = fmt.Sprintf("%d restarts  ", s.Restarts)
		}
		if s.Since != nil {
			n[2] = "since " + ago(*s.Since) + "  "
		}
		if s.Message != "" && s.Message != s.Status {
			n[3] = s.Message
		}
		for j := range n {
			widths[j] = max(widths[j], len(n[j]))
		}
	}
	t := table{indent: "  "}
	for i, s := range list {
		n := notes[i]
		text := fmt.Sprintf("%-*s%-*s%-*s%s", widths[0], n[0], widths[1], n[1], widths[2], n[2], n[3])
		t.add(cell{text: s.Name}, statusCell(s.Status), cell{text: strings.TrimRight(text, " ")})
	}
	u.print(title + ":\n" + t.render(u.outColor))
}

// timers prints when timers are due.
func (u *ui) timers(list []report.Timer) {
	if len(list) == 0 {
		return
	}
	t := table{indent: "  "}
	for _, s := range list {
		var notes []string
		if s.PID > 0 {
			notes = append(notes, fmt.Sprintf("pid %d", s.PID))
		}
		if s.Next != nil {
			notes = append(notes, "next "+s.Next.Local().Format("2006-01-02 15:04"))
		}
		if s.Last != nil {
			notes = append(notes, "last "+ago(*s.Last))
		}
		if s.Message != "" && s.Message != s.Status {
			notes = append(notes, s.Message)
		}
		t.add(cell{text: s.Name}, statusCell(s.Status), cell{text: s.Schedule}, cell{text: strings.Join(notes, "  ")})
	}
	u.print("timers:\n" + t.render(u.outColor))
}

func statusCell(status string) cell {
	switch status {
	case "running", "done":
		return cell{status, green}
	case "failed":
		return cell{status, red}
	case "restarting", "waiting":
		return cell{status, yellow}
	}
	return cell{status, faint}
}

// outcomes prints what promises were last known to be.
func (u *ui) outcomes(list []report.Promise) {
	if len(list) == 0 {
		return
	}
	t := table{indent: "  "}
	for _, p := range list {
		t.add(verdict(p.OK), cell{text: p.Name}, cell{text: "since " + ago(p.At)}, cell{text: p.Message})
	}
	u.print("promises:\n" + t.render(u.outColor))
}

// ago says how long ago something was.
func ago(at time.Time) string {
	switch d := time.Since(at); {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return at.Local().Format("2006-01-02 15:04")
}

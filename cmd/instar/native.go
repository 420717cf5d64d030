package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"

	"instar/runtime/engine"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/service"
	"instar/runtime/service/native"
	"instar/runtime/state"
)

// operate starts, stops or restarts services under the machine's manager,
// without looking at the profile.
func (a *app) operate(ctx context.Context, in *instance, m service.Manager, op service.Op, name string) error {
	unlock, err := in.lock()
	if err != nil {
		return err
	}
	defer unlock()
	specs, err := in.lastSpecs()
	if err != nil {
		return err
	}
	r, err := engine.Operate(ctx, engine.Operation{
		Instance: in.name, Manager: m, Specs: specs, Op: op, Name: name,
		Mask: in.mask.String, Sink: a.ui.follow(false),
	})
	return a.finish(ctx, r, err)
}

// lastSpecs returns the services of the last complete apply.
func (in *instance) lastSpecs() ([]service.Spec, error) {
	c := in.folder.LoadCache()
	if c == nil {
		return nil, hinted("instar apply "+in.name+" does that", "instance %q must be converged first", in.name)
	}
	var specs []service.Spec
	return specs, json.Unmarshal(c.Specs, &specs)
}

// supervised completes a status with what the machine's manager observes.
func supervised(ctx context.Context, s *report.Status, m service.Manager) error {
	have, err := m.Observe(ctx, s.Instance)
	if err != nil {
		return err
	}
	s.Served = m.Platform()
	s.Services, s.Runs = observedServices(s.Services, have, false), observedServices(s.Runs, have, true)
	s.Timers = observedTimers(s.Timers, have)
	return nil
}

// observedServices are those of one kind that run or should: what the manager
// does not know of is stopped.
func observedServices(declared []report.Service, have map[string]service.State, runs bool) []report.Service {
	all := map[string]report.Service{}
	for _, s := range declared {
		all[s.Name] = s
	}
	for name, st := range have {
		if st.Run == runs && !st.Timer() {
			all[name] = engine.ServiceReport(st, name)
		}
	}
	list := []report.Service{}
	for _, name := range plan.SortedKeys(all) {
		list = append(list, all[name])
	}
	return list
}

// observedTimers are the timers that are armed or should be.
func observedTimers(declared []report.Timer, have map[string]service.State) []report.Timer {
	all := map[string]report.Timer{}
	for _, t := range declared {
		all[t.Name] = t
	}
	for name, st := range have {
		if st.Timer() {
			all[name] = engine.TimerReport(st, name)
		}
	}
	list := []report.Timer{}
	for _, name := range plan.SortedKeys(all) {
		list = append(list, all[name])
	}
	return list
}

// journalled returns the services, runs and timers of an instance that are
// units, or only the one called only: those remembered, and those whose start
// has failed, so that nothing is remembered of them.
func journalled(ctx context.Context, manager service.Manager, st *state.State, only string) ([]string, error) {
	have, err := manager.Observe(ctx, st.Instance)
	if err != nil {
		return nil, err
	}
	for name := range st.Services {
		have[name] = service.State{}
	}
	if _, ok := have[only]; ok {
		return []string{only}, nil
	}
	if only != "" {
		return nil, nil
	}
	return plan.SortedKeys(have), nil
}

// journal prints what services under systemd wrote: the last lines, and with
// follow what comes.
func (a *app) journal(ctx context.Context, in *instance, services []string, only string) error {
	names := map[string]string{} // by unit
	width := 0
	args := []string{"--no-pager", "--output=json", "--lines=" + strconv.Itoa(a.opts.lines)}
	if !isRoot() {
		args = append(args, "--user")
	}
	if a.opts.follow {
		args = append(args, "--follow")
	}
	for _, name := range services {
		unit := native.UnitName(in.name, name)
		names[unit] = name
		width = max(width, len(name))
		args = append(args, "--unit="+unit)
	}
	cmd := exec.CommandContext(ctx, "journalctl", args...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot read the journal: %w", err)
	}
	p := &logPrinter{ui: a.ui}
	if only == "" {
		p.width = width
	}
	readErr := journalLines(out, names, func(name, line string) {
		p.lines(name, []string{line})
	})
	if err := cmd.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("cannot read the journal: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	return readErr
}

// journalLines tells the messages of a journal in JSON, each with the service
// whose unit wrote it.
func journalLines(r io.Reader, names map[string]string, tell func(name, line string)) error {
	lines := bufio.NewReader(r)
	for {
		data, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var entry struct {
			Unit     string          `json:"_SYSTEMD_UNIT"`
			UserUnit string          `json:"_SYSTEMD_USER_UNIT"`
			About    string          `json:"UNIT"`
			Message  json.RawMessage `json:"MESSAGE"`
		}
		if json.Unmarshal(data, &entry) != nil {
			continue
		}
		for _, unit := range []string{entry.UserUnit, entry.Unit, entry.About} {
			if name, ok := names[unit]; ok {
				tell(name, messageText(entry.Message))
				break
			}
		}
	}
}

// messageText is a journal's message: a text, or, when it is not UTF-8, a list
// of bytes.
func messageText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var numbers []byte
	var list []int
	if json.Unmarshal(raw, &list) == nil {
		for _, n := range list {
			numbers = append(numbers, byte(n))
		}
	}
	return strings.ToValidUTF8(string(numbers), "\uFFFD")
}

// notElsewhere refuses an instance whose services run under the machine's
// manager: an `up` would start them a second time.
func (in *instance) notElsewhere(ctx context.Context) error {
	m, err := in.managerOrNone()
	if err != nil || m == nil {
		return err
	}
	have, err := m.Observe(ctx, in.name)
	if err != nil {
		return err
	}
	for name, st := range have {
		armed := st.Timer() && st.Status != service.Stopped
		if st.Status == service.Running || st.Status == service.Restarting || armed {
			return hinted("instar stop "+in.name+" stops them first",
				"service %q of instance %q runs under %s", name, in.name, m.Platform())
		}
	}
	return nil
}

package builtins

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// service(name, command, env={}, cwd=None, user=None, restart="always", after=[], reload=None, reload_on=[], uses=[], stop_signal="TERM", stop_timeout=60, limits={})
//
// A long-lived process that is watched. It writes etc/services/NAME, and
// returns its handle.
func service(c *call) (starlark.Value, error) {
	var p process
	var after, reload, reloadOn, uses, limits starlark.Value
	s := plan.Service{Restart: "always", StopSignal: "TERM", StopTimeout: time.Minute}
	if err := c.unpack(&p.name, &p.command, &p.env, &p.cwd, &p.user, &s.Restart, &after, &reload, &reloadOn, &uses,
		&s.StopSignal, &s.StopTimeout, &limits); err != nil {
		return nil, err
	}
	s.Name, s.At = p.name, c.at()
	var err error
	if s.Exec, s.OwnUser, err = c.exec("program", p, true, s.At); err != nil {
		return nil, err
	}
	if !slices.Contains(restarts, s.Restart) {
		return nil, hinted(didYouMean(s.Restart, restarts), "restart: %q is none of %s", s.Restart, quoted(restarts))
	}
	if s.After, err = c.after("service "+p.name, after, s.At); err != nil {
		return nil, err
	}
	if err := c.reload(&s, reload); err != nil {
		return nil, prefixed("reload", err)
	}
	if s.ReloadOn, err = c.uses("reload_on", reloadOn, s.At); err != nil {
		return nil, err
	}
	if len(s.ReloadOn) > 0 && reload == nil {
		return nil, hinted(`say how, as in reload = "HUP"`, "reload_on needs reload")
	}
	if s.Uses, err = c.uses("uses", uses, s.At); err != nil {
		return nil, err
	}
	if s.StopSignal, err = signal(s.StopSignal); err != nil {
		return nil, prefixed("stop_signal", err)
	}
	if err := serviceLimits(limits, &s.Limits); err != nil {
		return nil, prefixed("limits", err)
	}
	if s.Script, err = c.programScript("etc/services", s.Name, s.Exec, s.At); err != nil {
		return nil, err
	}
	c.plan.Services = append(c.plan.Services, s)
	return c.root.handle(s.Script), nil
}

var restarts = []string{"always", "on-failure", "no"}

// reload takes how a service is told to read its files again: the name of a
// signal, or a command.
func (c *call) reload(s *plan.Service, v starlark.Value) (err error) {
	if text, ok := v.(starlark.String); ok {
		s.ReloadSig, err = signal(string(text))
		return err
	}
	if v == nil {
		return nil
	}
	if s.Reload, err = c.command(v); err != nil {
		return err
	}
	if err := c.nobodyElses(s.Reload[0], s.OwnUser); err != nil {
		return err
	}
	c.argvs = append(c.argvs, argv{"reload of service " + s.Name, "", s.Reload, s.At})
	return nil
}

// signals are those that make sense to send to a service.
var signals = []string{"TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "KILL", "ABRT", "ALRM", "CONT", "PIPE", "TTIN", "TTOU"}

func signal(name string) (string, error) {
	short := strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if !slices.Contains(signals, short) {
		return "", hinted("signals are "+strings.Join(signals, ", ")+"; a command is a list", "%q is not a signal", shorten(name))
	}
	return short, nil
}

// serviceLimits takes {"nofile": …, "nproc": …, "memory": …, "cpu": …}.
func serviceLimits(v starlark.Value, to *plan.Limits) error {
	if v == nil || v == starlark.None {
		return nil
	}
	dict, ok := v.(*starlark.Dict)
	if !ok {
		return want("a dict", v)
	}
	ints := map[string]*int64{"nofile": &to.NoFile, "nproc": &to.NProc, "memory": &to.Memory}
	for _, item := range dict.Items() {
		name, _ := starlark.AsString(item[0])
		if name == "cpu" {
			cores, ok := starlark.AsFloat(item[1])
			if !ok || !(cores > 0 && cores <= 1<<20) {
				return fmt.Errorf("cpu: want a number of cores above 0, got %s", describe(item[1]))
			}
			to.CPU = cores
			continue
		}
		limit, ok := ints[name]
		if !ok {
			known := []string{"nofile", "nproc", "memory", "cpu"}
			return hinted(didYouMean(name, known), "%s is none of %s", item[0], quoted(known))
		}
		if err := assignInt(item[1], limit); err != nil {
			return prefixed(name, err)
		}
		if *limit <= 0 {
			return fmt.Errorf("%s: want more than 0, got %d", name, *limit)
		}
	}
	return nil
}

func quoted(names []string) string { return `"` + strings.Join(names, `", "`) + `"` }

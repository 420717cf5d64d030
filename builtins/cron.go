package builtins

import (
	"go.starlark.net/starlark"

	"instar/runtime/plan"
	"instar/runtime/schedule"
)

// timerFolder holds the scripts of timers. Nothing is started by standing there:
// it would have no schedule.
const timerFolder = "etc/cron"

// cron(name, schedule, command, env={}, cwd=None, user=None)
//
// A program that is started at the times of a schedule and expected to end. It
// writes etc/cron/NAME, and returns its handle.
func cron(c *call) (starlark.Value, error) {
	var p process
	t := plan.Timer{At: c.at()}
	if err := c.unpack(&p.name, &t.Schedule, &p.command, &p.env, &p.cwd, &p.user); err != nil {
		return nil, err
	}
	t.Name = p.name
	var err error
	if t.Exec, t.OwnUser, err = c.exec("program", p, true, t.At); err != nil {
		return nil, err
	}
	if t.Schedule, err = canonical(t.Schedule); err != nil {
		return nil, err
	}
	if t.Script, err = c.programScript(timerFolder, t.Name, t.Exec, t.At); err != nil {
		return nil, err
	}
	c.plan.Timers = append(c.plan.Timers, t)
	return c.root.handle(t.Script), nil
}

// canonical checks a schedule, and returns it as numbers only: what means the
// same is the same.
func canonical(text string) (string, error) {
	s, err := schedule.Parse(text)
	if err != nil {
		return "", prefixed("schedule", err)
	}
	return s.String(), nil
}

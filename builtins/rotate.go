package builtins

import (
	"errors"
	"fmt"
	gopath "path"
	"strings"
	"unicode/utf8"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// maxKeep is the most old files of one log.
const maxKeep = 10000

// rotate(name, files, schedule="@daily", keep=14, service=None, then=None)
//
// Log files that are put aside at the times of a schedule. It returns None.
func rotate(c *call) (starlark.Value, error) {
	t := plan.Timer{Schedule: "@daily", At: c.at()}
	r := plan.Rotation{Keep: 14}
	var files, then starlark.Value
	if err := c.unpack(&t.Name, &files, &t.Schedule, &r.Keep, &r.Service, &then); err != nil {
		return nil, err
	}
	err := programTitle(t.Name)
	if err != nil {
		return nil, err
	}
	if t.Schedule, err = canonical(t.Schedule); err != nil {
		return nil, err
	}
	if r.Files, err = c.patterns(files); err != nil {
		return nil, prefixed("files", err)
	}
	if r.Keep < 1 || r.Keep > maxKeep {
		return nil, fmt.Errorf("keep: want 1 to %d, got %d", maxKeep, r.Keep)
	}
	if err := c.then(&r, then); err != nil {
		return nil, prefixed("then", err)
	}
	if t.Exec.Identity, _, err = c.identity(nil); err != nil {
		return nil, err
	}
	t.Exec.Dir, t.Rotation = c.root.dir, &r
	if what, old, ok := c.programNamed(t.Name); ok {
		return nil, twice(fmt.Sprintf("program %q", t.Name), declaration{what: old.what + " (" + what + ")", at: old.at}, declaration{what: c.row.Name, at: t.At})
	}
	if err := c.claimName("program", t.Name, t.At); err != nil {
		return nil, err
	}
	c.argvs = append(c.argvs, argv{"rotation " + t.Name, "", append(r.Files[:len(r.Files):len(r.Files)], r.Then...), t.At})
	c.plan.Timers = append(c.plan.Timers, t)
	return starlark.None, nil
}

// patterns takes paths below the root whose names may hold `*`, `?` and `[…]`.
func (c *call) patterns(v starlark.Value) ([]string, error) {
	rels, err := c.paths(v)
	if err != nil {
		return nil, err
	}
	if len(rels) == 0 {
		return nil, errors.New("names nothing")
	}
	size := 0
	for _, rel := range rels {
		if _, err := gopath.Match(rel, ""); err != nil {
			return nil, fmt.Errorf("%q is no pattern: %w", shorten(rel), err)
		}
		size += len(rel)
	}
	if size > maxArgument/2 {
		return nil, hinted("use patterns, as in \"var/log/*.log\"", "names %d files, which are too many", len(rels))
	}
	return rels, nil
}

// then takes who is told: a service, by the name of a signal, or a command.
func (c *call) then(r *plan.Rotation, v starlark.Value) (err error) {
	text, isSignal := v.(starlark.String)
	switch {
	case v == nil && r.Service != "":
		return hinted(`as in then = "USR1"`, "say how service %q is told", shorten(r.Service))
	case v == nil:
		return nil
	case isSignal && r.Service == "":
		return hinted("name the service, as in service = \"web\"; a command is a list", "a signal needs service")
	case isSignal:
		r.Signal, err = signal(string(text))
		return err
	}
	if r.Then, err = c.command(v); err != nil {
		return err
	}
	for _, arg := range r.Then {
		if !utf8.ValidString(arg) {
			return hinted("write a wrapper", "arguments must be UTF-8")
		}
	}
	return nil
}

// checkRotations refuses services that nothing declares, and files that an apply
// would put back. A rotation runs as its service does.
func (s *Session) checkRotations() error {
	for i := range s.plan.Timers {
		t := &s.plan.Timers[i]
		if t.Rotation == nil {
			continue
		}
		if err := s.checkRotated(t); err != nil {
			return err
		}
		if t.Rotation.Service == "" {
			continue
		}
		programs := s.programNames()
		folder, ok := programs[t.Rotation.Service]
		if !ok || folder == "etc/run" {
			return failure(t.At, didYouMean(t.Rotation.Service, plan.SortedKeys(programs)),
				"rotate: service: no service is called %q", t.Rotation.Service)
		}
		for _, service := range s.plan.Services {
			if service.Name == t.Rotation.Service {
				t.Exec.Identity, t.OwnUser = service.Exec.Identity, service.OwnUser
			}
		}
		if len(t.Rotation.Then) > 0 {
			if err := (&call{Session: s}).nobodyElses(t.Rotation.Then[0], t.OwnUser); err != nil {
				return failure(t.At, "", "rotate: then: %v", err)
			}
		}
	}
	return nil
}

func (s *Session) checkRotated(t *plan.Timer) error {
	for _, pattern := range t.Rotation.Files {
		for _, rel := range plan.SortedKeys(s.declared) {
			d := s.declared[rel]
			matches, _ := gopath.Match(pattern, rel)
			switch {
			case matches && d.generates:
				return failure(t.At, "", "rotate: files: %q is no log: %s declares it at %s, and an apply would make it anew", rel, d.what, d.at)
			case rel == pattern && d.kind == aFolder:
				return failure(t.At, fmt.Sprintf("name what is in it, as in %q", rel+"/*.log"), "rotate: files: %q is a folder", strings.TrimSuffix(rel, "/"))
			}
		}
	}
	return nil
}

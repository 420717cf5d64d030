package builtins

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing/fstest"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
	"instar/starlark/interp"
)

// machine is a host of tests: all there is, in memory.
type machine struct {
	files    fstest.MapFS      // outside the root, without the leading slash
	observed map[string]string // below it
	busy     map[int]bool      // ports
	asked    []string          // what it was asked, in order
}

func (m *machine) Observe(name string) ([]byte, error) {
	m.asked = append(m.asked, "observe "+name)
	text, ok := m.observed[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if text == "<folder>" {
		return nil, errors.New("it is a folder")
	}
	return []byte(text), nil
}

func (m *machine) Stat(name string) (fs.FileInfo, error) {
	m.asked = append(m.asked, "stat "+name)
	return fs.Stat(m.files, strings.TrimPrefix(name, "/"))
}

func (m *machine) ReadDir(name string) ([]string, error) {
	m.asked = append(m.asked, "readdir "+name)
	entries, err := fs.ReadDir(m.files, strings.TrimPrefix(name, "/"))
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, err
}

func (m *machine) PortFree(host string, port int) (bool, error) {
	if host == "192.0.2.1" {
		return false, errors.New("cannot assign requested address")
	}
	return !m.busy[port], nil
}

func (m *machine) User(name string) (User, error) {
	if name != "www-data" {
		return User{}, errors.New("unknown user")
	}
	return User{Name: name, UID: 33, GID: 33, Groups: []int{4}}, nil
}

func (m *machine) Group(name string) (int, error) {
	gid, ok := map[string]int{"www-data": 33, "adm": 4, "staff": 50}[name]
	if !ok {
		return 0, errors.New("unknown group")
	}
	return gid, nil
}

func program(mode fs.FileMode) *fstest.MapFile { return &fstest.MapFile{Data: []byte("x"), Mode: mode} }

// newMachine returns a machine with a release in /rel and a few programs.
func newMachine() *machine {
	return &machine{
		files: fstest.MapFS{
			"rel/bin/app":             program(0o755),
			"rel/bin/readme":          program(0o644),
			"rel/sbin/nginx":          program(0o755),
			"rel/libexec/tool":        program(0o755),
			"rel/lib/pg15/bin/initdb": program(0o755),
			"rel/lib/other.so":        program(0o644),
			"rel/share/mime.types":    program(0o644),
			"rel/run/fifo":            program(0o644 | fs.ModeNamedPipe),
			"bin/sh":                  program(0o755),
			"usr/bin/env":             program(0o755),
			"opt/tool":                program(0o755),
		},
		observed: map[string]string{"var/token": "abc\n", "var/folder": "<folder>"},
		busy:     map[int]bool{},
	}
}

// profileFiles are beside instance.star in all tests.
var profileFiles = fstest.MapFS{
	"my.cnf.tmpl":       &fstest.MapFile{Data: []byte("port = {{.port}}\ndata = {{.data}}\n")},
	"bad.tmpl":          &fstest.MapFile{Data: []byte("one\ntwo {{.prot}}\n")},
	"broken.tmpl":       &fstest.MapFile{Data: []byte("one\n{{if}}\n")},
	"mime.types":        &fstest.MapFile{Data: []byte("text/html html;\n")},
	"www/index.htm":     &fstest.MapFile{Data: []byte("hello")},
	"web/instance.star": &fstest.MapFile{Data: []byte("")},
	"lib/db.star":       &fstest.MapFile{Data: []byte("def db():\n    return request(\"db\", \"deep.star\")\n")},
	"lib/x.tmpl":        &fstest.MapFile{Data: []byte("x\n")},
	"lib/deep.star":     &fstest.MapFile{Data: []byte("def conf():\n    return template(\"etc/x\", source = \"x.tmpl\")\n\ndef outside():\n    return read(\"//mime.types\")\n")},
	"lib/eager.star":    &fstest.MapFile{Data: []byte("mkdir(\"var\")\n")},
	"lib/param.star":    &fstest.MapFile{Data: []byte("size = param(\"size\", 3)\n")},
	"fifo":              &fstest.MapFile{Mode: fs.ModeNamedPipe | 0o644},
}

func testInputs() Inputs {
	return Inputs{
		Instance: Instance{Name: "web", Root: "/srv/web", User: "alice", Group: "alice", UID: 1000, GID: 1000, Groups: []int{50}},
		Node:     Node{Name: "host", OS: "linux", Arch: "amd64", CPUs: 4, Memory: 8 << 30, IPv4: "192.0.2.7", Manager: "systemd"},
		Profile:  "/profiles/web",
		Release:  "/rel",
		Params:   map[string]Given{},
	}
}

// evaluateText evaluates a profile's text, and returns the session's plan.
func evaluateText(in Inputs, host Host, text string, more starlark.StringDict) (*plan.Plan, error) {
	files := fstest.MapFS{"instance.star": &fstest.MapFile{Data: []byte(text)}}
	for name, file := range profileFiles {
		files[name] = file
	}
	s := New(in, files, host)
	env := s.Predeclared()
	for name, value := range more {
		env[name] = value
	}
	_, err := interp.Run(testContext, "instance.star", interp.Options{
		Predeclared: env,
		Read:        func(name string) ([]byte, error) { return s.ReadFile(name, 1<<20) },
	})
	if err != nil && !Stopped(err) {
		return nil, err
	}
	return s.Finish(err)
}

// dump shows a plan, a line for each thing in it.
func dump(p *plan.Plan) []string {
	var lines []string
	add := func(format string, args ...any) {
		lines = append(lines, strings.TrimRight(fmt.Sprintf(format, args...), " "))
	}
	for _, r := range p.Resources {
		lines = append(lines, dumpResource(r))
	}
	for _, s := range p.Services {
		add("service %s %q env=%q dir=%s as=%s restart=%s after=%v reload=%q%s on=%v uses=%v stop=%s/%v limits=%s other=%v",
			s.Name, s.Exec.Argv, s.Exec.Env, s.Exec.Dir, dumpIdentity(s.Exec.Identity), s.Restart, s.After, s.Reload, s.ReloadSig, s.ReloadOn, s.Uses, s.StopSignal, s.StopTimeout, dumpJSON(s.Limits), s.OwnUser)
	}
	for _, r := range p.Runs {
		add("run %s %q env=%q dir=%s as=%s after=%v uses=%v", r.Name, r.Exec.Argv, r.Exec.Env, r.Exec.Dir, dumpIdentity(r.Exec.Identity), r.After, r.Uses)
	}
	for _, t := range p.Timers {
		rotation := ""
		if t.Rotation != nil {
			rotation = " rotation=" + dumpJSON(t.Rotation)
		}
		add("timer %s %q %q env=%q dir=%s as=%s other=%v%s", t.Name, t.Schedule, t.Exec.Argv, t.Exec.Env, t.Exec.Dir, dumpIdentity(t.Exec.Identity), t.OwnUser, rotation)
	}
	for _, r := range p.Promises {
		add("promise %s %s every=%v within=%v failures=%d", r.Name, dumpJSON(r.Check), r.Period, r.Timeout, r.Failures)
	}
	for _, r := range p.Requests {
		add("request %s %s params=%s release=%s state=%s at=%d", r.Name, r.Profile, dumpJSON(r.Params), r.Release, r.State, r.At.Line)
	}
	for _, key := range plan.SortedKeys(p.Values) {
		v := p.Values[key]
		add("value %s new=%v secret=%v", key, v.New, v.Secret)
	}
	if len(p.Published) > 0 {
		add("published %s", dumpJSON(p.Published))
	}
	for _, q := range p.Params {
		add("param %s", dumpJSON(q))
	}
	for _, q := range p.Prints {
		add("print %s %q", q.At, q.Text)
	}
	if len(p.Observed) > 0 {
		add("observed %v", p.Observed)
	}
	if p.Pending != nil {
		add("pending %s %s", p.Pending.At, p.Pending.Why)
	}
	for i := range lines {
		for _, text := range p.Secrets {
			lines[i] = strings.ReplaceAll(lines[i], text, "********")
		}
	}
	return lines
}

func dumpJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func dumpIdentity(id plan.Identity) string {
	return fmt.Sprintf("%s(%d:%d%v)", id.User, id.UID, id.GID, id.Groups)
}

func dumpResource(r plan.Resource) string {
	if c, ok := r.(*plan.Command); ok {
		stdin := "none"
		if c.Stdin != nil {
			stdin = fmt.Sprintf("%q", c.Stdin)
		}
		return fmt.Sprintf("command %s %q changed=%v env=%q dir=%s as=%s stdin=%s creates=%v wipe=%v uses=%v timeout=%v at=%d",
			c.Name, c.Exec.Argv, c.Changed, c.Exec.Env, c.Exec.Dir, dumpIdentity(c.Exec.Identity), stdin, c.Creates, c.Wipe, c.Uses, c.Timeout, c.At.Line)
	}
	m := r.(plan.PathResource).Target()
	common := fmt.Sprintf("%s %04o %d:%d at=%d", m.Path, m.Mode, m.UID, m.GID, m.At.Line)
	if m.Once {
		common += " once"
	}
	switch r := r.(type) {
	case *plan.Dir:
		if r.Implicit {
			common += " implicit"
		}
		return "mkdir " + common
	case *plan.File:
		if r.Source != "" {
			common += " from=" + r.Source
		}
		content := string(r.Content)
		if strings.HasPrefix(content, "#!/bin/sh\n") {
			return "script " + common
		}
		return fmt.Sprintf("file %s %q", common, content)
	case *plan.Link:
		return fmt.Sprintf("link %s %q", common, r.To)
	case *plan.Copy:
		return fmt.Sprintf("copy %s from=%s (%s)", common, r.From, r.Source)
	}
	return fmt.Sprintf("%T", r)
}

// explain shows an error as a test expects it: message, then hint.
func explain(err error) (line int, text string) {
	var e *interp.Error
	if !errors.As(err, &e) {
		return 0, err.Error()
	}
	text = e.Msg
	if e.Pos.File != "instance.star" {
		text = e.Pos.String() + ": " + text
		for i := len(e.Stack) - 1; i >= 0; i-- {
			if e.Stack[i].Pos.File == "instance.star" {
				line = int(e.Stack[i].Pos.Line)
				break
			}
		}
	} else {
		line = int(e.Pos.Line)
	}
	if e.Hint != "" {
		text += " [" + e.Hint + "]"
	}
	return line, text
}

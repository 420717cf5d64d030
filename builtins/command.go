package builtins

import (
	"errors"
	"fmt"
	"path"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// maxArgument is the most bytes that Linux takes as one argument or one
// environment variable, without the zero byte at its end.
const maxArgument = 128<<10 - 1

// command takes a command: a list of texts, handles and ints, or the handle
// of a program. The first item becomes an absolute path.
func (c *call) command(v starlark.Value) ([]string, error) {
	if p, ok := v.(*Path); ok {
		v = starlark.Tuple{p}
	}
	all, ok := items(v)
	if !ok || v == starlark.None {
		return nil, hinted(`write it as a list: ["prog", "arg"]; nothing splits a text into arguments`,
			"want a list, got %s", describe(v))
	}
	if len(all) == 0 {
		return nil, errors.New("is an empty list")
	}
	args := make([]string, len(all))
	for i, item := range all {
		arg, err := argument(item)
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", i+1, err)
		}
		args[i] = arg
	}
	if _, ok := all[0].(starlark.Int); ok {
		return nil, errors.New("item 1: want a program, got an int")
	}
	program, err := c.programPath(all[0], args[0])
	if err != nil {
		return nil, err
	}
	args[0] = program
	return args, nil
}

func argument(v starlark.Value) (string, error) {
	text, ok := asText(v)
	if n, isInt := v.(starlark.Int); isInt {
		text, ok = n.String(), true
	}
	switch {
	case !ok && isList(v):
		return "", hinted("join lists with +", "want text, a path or an int, got %s", describe(v))
	case !ok:
		return "", want("text, a path or an int", v)
	case strings.ContainsRune(text, 0):
		return "", errors.New("holds a zero byte, which no argument can")
	case len(text) > maxArgument:
		return "", hinted("put it into a file", "is %d bytes long, and an argument can be at most %d", len(text), maxArgument)
	}
	return text, nil
}

func isList(v starlark.Value) bool {
	_, ok := items(v)
	return ok && v != starlark.None
}

// programPath returns the absolute path of a command's program. One that
// should stand outside the instance must.
func (c *call) programPath(v starlark.Value, text string) (string, error) {
	if !utf8.ValidString(text) {
		return "", errors.New("item 1: is not UTF-8")
	}
	handle, isHandle := v.(*Path)
	switch {
	case isHandle && handle.base == c.root:
		return handle.abs, nil
	case text == "":
		return "", errors.New("item 1: the program is empty")
	case !strings.ContainsAny(text, "/") && !isAbs(text):
		return c.program(text)
	case !isAbs(text):
		rel, err := c.pathText(text)
		return c.root.handle(rel).abs, err
	}
	abs := path.Clean(text)
	if _, inside := c.root.contains(abs); inside {
		return abs, nil
	}
	what, err := c.stat(abs)
	switch {
	case err != nil:
		return abs, nil // cannot look: whoever runs it may
	case what == "":
		return "", c.missingProgram(abs)
	case what != "exec":
		return "", fmt.Errorf("program %q is not executable: it is a %s", shorten(abs), strings.Replace(what, "other", "special file", 1))
	}
	return abs, nil
}

func (c *call) missingProgram(abs string) error {
	dir, name := path.Split(abs)
	names, _ := c.host.ReadDir(path.Clean(dir))
	return hinted(didYouMean(name, names), "program %q does not exist", shorten(abs))
}

// env takes the environment of a process: "K=V", sorted. What a shell sets
// goes by rules of its own.
func (c *call) env(v starlark.Value, shell bool) ([]string, error) {
	if v == nil || v == starlark.None {
		return nil, nil
	}
	dict, ok := v.(*starlark.Dict)
	if !ok {
		return nil, prefixed("env", want("a dict", v))
	}
	var env []string
	for _, item := range dict.Items() {
		name, ok := item[0].(starlark.String)
		if !ok || !isIdentifier(string(name)) {
			return nil, fmt.Errorf("env: %s is no name of a variable", item[0])
		}
		if shell && shellOwn[string(name)] {
			return nil, fmt.Errorf("env: %s is the shell's own variable, which cannot be set", string(name))
		}
		value, err := argument(item[1])
		if err == nil && len(name)+1+len(value) > maxArgument {
			err = fmt.Errorf("is %d bytes long, and a variable can have at most %d with its name", len(value), maxArgument)
		}
		if err != nil {
			return nil, prefixed("env: "+string(name), err)
		}
		env = append(env, string(name)+"="+value)
	}
	sort.Strings(env)
	return env, nil
}

// shellOwn are the variables that one shell or another does not let scripts
// set, or changes by itself.
var shellOwn = map[string]bool{
	"_": true, "BASHOPTS": true, "BASH_VERSINFO": true, "EUID": true, "LINENO": true, "OPTIND": true,
	"PPID": true, "RANDOM": true, "SECONDS": true, "SHELLOPTS": true, "UID": true,
}

// isIdentifier reports whether name is a letter or underscore, followed by
// more of them and digits.
func isIdentifier(name string) bool {
	for i, r := range []byte(name) {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

// dir takes the folder that a process starts in: the root by default.
func (c *call) dir(v starlark.Value) (string, error) {
	if v == nil {
		return c.root.dir, nil
	}
	text, ok := asText(v)
	if !ok {
		return "", prefixed("cwd", want("a path", v))
	}
	if text == c.root.dir {
		return text, nil
	}
	abs, err := c.somewhere(v)
	if err != nil {
		return "", prefixed("cwd", err)
	}
	return abs, nil
}

// process is what run, service and the commands have in common.
type process struct {
	name                    string
	command, env, cwd, user starlark.Value
}

// exec says how p is started, as another user than the instance's or not,
// and takes its name, which is one of kind. A shell sets the environment of
// what is started by a script.
func (c *call) exec(kind string, p process, shell bool, at plan.Pos) (exec plan.Exec, other bool, err error) {
	if err := programTitle(p.name); err != nil {
		return exec, false, err
	}
	if exec.Identity, other, err = c.identity(p.user); err != nil {
		return exec, false, err
	}
	if exec.Argv, err = c.command(p.command); err != nil {
		return exec, false, prefixed("command", err)
	}
	if err := c.nobodyElses(exec.Argv[0], other); err != nil {
		return exec, false, prefixed("command", err)
	}
	if exec.Env, err = c.env(p.env, shell); err != nil {
		return exec, false, err
	}
	if exec.Dir, err = c.dir(p.cwd); err != nil {
		return exec, false, err
	}
	for _, text := range append(exec.Argv, exec.Env...) {
		if !utf8.ValidString(text) {
			return exec, false, hinted("pass it in a file, or write a wrapper", "arguments and environment must be UTF-8")
		}
	}
	c.argvs = append(c.argvs, argv{kind + " " + p.name, "", exec.Argv, at})
	return exec, other, c.claimName(kind, p.name, at)
}

// nobodyElses refuses a program that the instance's user could replace before
// another user runs it.
func (c *call) nobodyElses(program string, other bool) error {
	if _, inside := c.root.contains(program); !other || !inside || c.in.Instance.UID == 0 {
		return nil
	}
	return hinted("name a program of the release or the system; of a wrapper, give its command, env and cwd",
		"%s lies in the instance, whose user, %q, could replace it: another user may not run it", shorten(program), c.in.Instance.User)
}

// programTitle checks the name of a service, run or command.
func programTitle(name string) error {
	ok := len(name) >= 1 && len(name) <= 61
	for i, r := range []byte(name) {
		alnum := '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !alnum && (i == 0 || !strings.ContainsRune("_.@-", rune(r))) {
			ok = false
		}
	}
	if !ok {
		return hinted("1 to 61 letters, digits and _ . @ -, the first one a letter or digit", "name: %q is not allowed", shorten(name))
	}
	return nil
}

// title checks a name that only people and instar's own records use.
func title(name string) error {
	if name == "" || len(name) > 200 || strings.ContainsFunc(name, unicode.IsControl) || !utf8.ValidString(name) {
		return hinted("1 to 200 bytes of printable text", "name: %q is not allowed", shorten(name))
	}
	return nil
}

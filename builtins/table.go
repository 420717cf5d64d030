package builtins

import (
	"strings"

	"go.starlark.net/lib/math"
	"go.starlark.net/starlark"
)

// Effect is what calling a builtin does to the evaluation.
type Effect string

// The effects. All but the first two close the parameters: no param may
// follow.
const (
	Pure      Effect = "pure"      // computes something
	Parameter Effect = "parameter" // takes a parameter
	Declares  Effect = "declares"  // adds something to the plan
	Observes  Effect = "observes"  // looks at the instance
	Remembers Effect = "remembers" // chooses a value once
)

// Builtin is one name that profiles can use.
type Builtin struct {
	Name    string // a dot separates it from what it belongs to: "check.tcp"
	Params  string // of a function, as in its signature
	Does    Effect
	Summary string // one line
	call    func(*call) (starlark.Value, error)
	value   func(*Session) starlark.Value // instead of call: not a function
}

// Signature returns "mkdir(path, mode=0o750, …)", or the name of a value.
func (b *Builtin) Signature() string {
	if b.call == nil {
		return b.Name
	}
	return b.Name + "(" + b.Params + ")"
}

// Lookup returns the builtin called name, or nil.
func Lookup(name string) *Builtin {
	for i := range Table {
		if Table[i].Name == name {
			return &Table[i]
		}
	}
	return nil
}

// environment makes the predeclared names of table: a dotted one becomes a
// member of its module.
func (s *Session) environment(table []Builtin) starlark.StringDict {
	names := starlark.StringDict{}
	for _, b := range table {
		var value starlark.Value
		if b.call != nil {
			value = s.builtin(b)
		} else {
			value = b.value(s)
		}
		owner, member, dotted := strings.Cut(b.Name, ".")
		switch {
		case !dotted:
			names[b.Name] = value
		case owner == "release":
			s.release.find = value.(*starlark.Builtin)
		default:
			module, ok := names[owner].(*namespace)
			if !ok {
				module = &namespace{owner, starlark.StringDict{}}
				names[owner] = module
			}
			module.members[member] = value
		}
	}
	return names
}

// commandParams is the signature of what the deployer executes.
const commandParams = "name, command, creates=None, wipe=None, env={}, cwd=None, user=None, stdin=None, uses=[], timeout=600"

// Table holds every builtin, in the order of the reference.
var Table = []Builtin{
	{"param", "name, default=None, type=None, doc=\"\", choices=None, min=None, max=None, pattern=None, required=False, secret=False",
		Parameter, "a parameter: what the user gave, else the default", param, nil},
	{"node", "", Pure, "facts about the machine", nil, nodeValue},
	{"instance", "", Pure, "name, root and user of the instance", nil, instanceValue},
	{"release", "", Pure, "path handle of the release's folder", nil, releaseValue},
	{"release.find", "name", Pure, "path handle of a program in the release", releaseFind, nil},
	{"read", "path", Pure, "text of a file of the profile", read, nil},
	{"observe", "path, default=…", Observes, "text that a command or service made in the instance", observe, nil},

	{"password", "name, length=24, alphabet=…", Remembers, "a secret, chosen once", password, nil},
	{"random_hex", "name, bytes=8", Remembers, "random hexadecimal digits, chosen once", randomHex, nil},
	{"uuid", "name", Remembers, "a random UUID, chosen once", uuid, nil},
	{"free_port", "name, host=\"127.0.0.1\", min=10000, max=32767", Remembers, "a TCP port that nobody uses, chosen once", freePort, nil},
	{"secret", "text", Pure, "marks text as secret, and returns it", secretText, nil},

	{"mkdir", "path, mode=0o750, owner=None, group=None", Declares, "a folder", mkdir, nil},
	{"mkdir_once", "path, mode=0o750, owner=None, group=None", Declares, "a folder for data: created if missing, never touched again", mkdirOnce, nil},
	{"file", "path, content, mode=0o640, owner=None, group=None", Declares, "a file with the given content", file, nil},
	{"file_once", "path, content, mode=0o640, owner=None, group=None", Declares, "a file that is created if missing, and never touched again", fileOnce, nil},
	{"template", "path, source=None, text=None, vars={}, mode=0o640, owner=None, group=None", Declares, "a file made from a Go template", template, nil},
	{"template_once", "path, source=None, text=None, vars={}, mode=0o640, owner=None, group=None", Declares, "a file made from a Go template if missing, and never touched again", templateOnce, nil},
	{"symlink", "path, target", Declares, "a symbolic link", symlink, nil},
	{"copy", "path, source, mode=None", Declares, "a file or folder copied from profile, release or instance", copyPath, nil},
	{"wrapper", "path, command, env={}, cwd=None, umask=None, wait_for=[], mode=0o750", Declares, "a script that executes a command", wrapper, nil},

	{"command_once", commandParams, Declares, "a command that is executed until it has succeeded once", commandOnce, nil},
	{"command_changed", commandParams, Declares, "a command that is executed again whenever what it depends on changes", commandChanged, nil},
	{"run", "name, command, env={}, cwd=None, user=None, after=[], uses=[]", Declares, "a program that is started with the services, and ends", run, nil},
	{"service", "name, command, env={}, cwd=None, user=None, restart=\"always\", after=[], reload=None, reload_on=[], uses=[], stop_signal=\"TERM\", stop_timeout=60, limits={}",
		Declares, "a long-lived process that is watched", service, nil},
	{"cron", "name, schedule, command, env={}, cwd=None, user=None", Declares, "a program that is started at certain times", cron, nil},
	{"rotate", "name, files, schedule=\"@daily\", keep=14, service=None, then=None", Declares, "log files that are put aside at certain times", rotate, nil},

	{"promise", "name, check, period=120, timeout=20, failures=3", Declares, "a check that the instance works", promise, nil},
	{"check.tcp", "host, port", Pure, "something accepts connections on a TCP port", checkTCP, nil},
	{"check.socket", "path", Pure, "something accepts connections on a unix socket", checkSocket, nil},
	{"check.http", "url, status=200, contains=None, ca=None, verify=True, user=None, password=None", Pure, "a URL answers", checkHTTP, nil},
	{"check.command", "command, env={}", Pure, "a command succeeds", checkCommand, nil},
	{"check.file", "path, contains=None, empty=None, max_age=None", Pure, "a file is there, and as it should be", checkFile, nil},
	{"check.certificate", "path, days=14", Pure, "a certificate is valid for some days to come", checkCertificate, nil},
	{"check.disk", "path, min_free", Pure, "there is room on a disk", checkDisk, nil},

	{"publish", "**values", Declares, "connection parameters for whoever asked for the instance", publish, nil},
	{"request", "name, profile, params={}, release=None, state=\"started\"", Declares, "another instance on this node, and what it publishes", request, nil},

	{"fail", "*values, sep=\" \"", Pure, "ends the evaluation with an error", failCall, nil},
	{"print", "*values, sep=\" \"", Pure, "writes to the log", printCall, nil},
	{"struct", "**fields", Pure, "a value with the given fields", makeStruct, nil},
	{"json", "", Pure, "JSON: encode, encode_indent, decode, indent", nil, jsonValue},
	{"math", "", Pure, "mathematical functions and constants", nil, func(*Session) starlark.Value { return &namespace{"math", math.Module.Members} }},
	{"yaml.encode", "value", Pure, "text of a value in YAML", yamlEncode, nil},
	{"toml.encode", "value", Pure, "text of a dict in TOML", tomlEncode, nil},
	{"ini.encode", "value", Pure, "text of a dict of dicts as an INI file", iniEncode, nil},
	{"base64.encode", "text", Pure, "base64 of a text", base64Encode, nil},
	{"base64.decode", "text", Pure, "the text that base64 stands for", base64Decode, nil},
	{"sha256", "text", Pure, "SHA-256 of a text, in hexadecimal digits", sha256Hex, nil},
}

package native

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"instar/runtime/plan"
	"instar/runtime/service"
	"instar/runtime/service/shim"
)

// maxScriptName is the longest name of a script: links to it have a few more
// characters.
const maxScriptName = 200

// scriptPrefix is what the names of all scripts of an instance begin with, and
// those of no other's: the `-` behind the instance is the second one, since
// those inside its name are escaped.
func scriptPrefix(instance string) string { return "instar-" + escapeScript(instance, "") + "-" }

// ScriptName returns the name of the init script of a service or run, under
// sysv and OpenRC. A name that would be too long ends in a hash.
func ScriptName(instance, name string) string {
	script := scriptPrefix(instance) + escapeScript(name, "-")
	if len(script) > maxScriptName {
		sum := sha256.Sum256([]byte(name))
		script = script[:maxScriptName-35] + "_23" + hex.EncodeToString(sum[:16]) // no name has a "#"
	}
	return script
}

// escapeScript writes all but letters, digits and what also is permitted as
// `_` and two hexadecimal digits, and `_` as two of it. OpenRC reads a dot as
// the beginning of an argument, insserv some endings as those of a backup.
func escapeScript(text, also string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte(also, c) >= 0:
			b.WriteByte(c)
		case c == '_':
			b.WriteString("__")
		default:
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}

// shellQuote returns text as one word of a shell, which is that text whatever it
// is, but for a NUL.
func shellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// shellUnquote undoes shellQuote.
func shellUnquote(word string) (string, bool) {
	inner, ok := strings.CutPrefix(word, "'")
	inner, ok2 := strings.CutSuffix(inner, "'")
	text := strings.ReplaceAll(inner, `'\''`, "'")
	return text, ok && ok2 && shellQuote(text) == word
}

// An initScript is all that an init script depends on. Nothing of a [service.Spec]
// stands in it but names, which are escaped, and the path of the file that has
// the rest.
type initScript struct {
	name        string   // its own
	description string   // of letters that no shell looks at
	binary      string   // instar
	spec        string   // the path of the shim's file
	after       []string // names of scripts
}

func (m *shimmed) script(s service.Spec) initScript {
	sc := initScript{
		name: ScriptName(s.Instance, s.Name), binary: m.binary, spec: shim.At(m.stateDir, s.Instance, s.Name).SpecPath(),
		description: "instar " + escapeScript(s.Instance, "-") + ": " + escapeScript(s.Name, "-."),
	}
	for _, name := range s.After {
		sc.after = append(sc.after, ScriptName(s.Instance, name))
	}
	return sc
}

// specLine is the line that tells whose script it is.
func specLine(path string) string { return "spec=" + shellQuote(path) + "\n" }

// initd is what sysv and OpenRC have in common: where scripts are, and how they
// tell whose they are.
type initd struct {
	etc string // /etc
}

func (i initd) scriptPath(name string) string { return i.files().path(name) }

func (i initd) store() scriptStore { return i.files() }

func (i initd) files() scriptFiles {
	return scriptFiles{dir: filepath.Join(i.etc, "init.d"), bits: scriptMode}
}

func (i initd) usable(root bool) error {
	if !root {
		return errNotRoot
	}
	return i.files().usable()
}

// specOf returns the path that the line of [specLine] names.
func (i initd) specOf(text string) (path string, found bool) {
	_, line, found := strings.Cut(text, "\nspec=")
	if !found {
		return "", false
	}
	word, _, _ := strings.Cut(line, "\n")
	return shellUnquote(word)
}

// maxHead bounds what stands before the mark, which may have been that of
// another version.
const maxHead = 256

// installedScript is a script of ours as it stands on the disk.
type installedScript struct {
	instance, service string // "" when it does not say
	data              []byte
	mode              fs.FileMode
}

// readScript returns the script at path: nil when there is none, and a
// [*ForeignError] when it isn't ours. What a crash left of one is ours.
func (m *shimmed) readScript(path string) (*installedScript, error) {
	data, mode, err := m.init.store().read(path)
	if data == nil || err != nil {
		return nil, err
	}
	in := &installedScript{data: data, mode: mode}
	text := string(data)
	head := m.init.head()
	if strings.HasPrefix(head+mark, text) {
		return in, nil // cut short
	}
	before, rest, ours := strings.Cut(text, mark)
	if !ours || !strings.HasPrefix(before, head[:min(len(head), 2)]) || len(before) > maxHead {
		return nil, &ForeignError{Path: path}
	}
	spec, ok := m.init.specOf(rest)
	if !ok {
		return in, nil // cut short, or edited
	}
	place := filepath.Dir(spec)
	in.service, in.instance = filepath.Base(place), filepath.Base(filepath.Dir(place))
	if place != string(shim.At(m.stateDir, in.instance, in.service)) {
		// …/shim/INSTANCE/SERVICE
		return nil, &ForeignError{Path: path, StateDir: filepath.Dir(filepath.Dir(filepath.Dir(place)))}
	}
	return in, nil
}

// checkScript refuses what a shim could not run, and what a script cannot name.
func checkScript(s service.Spec) error {
	switch {
	case s.Instance == "" || s.Name == "" || strings.ContainsAny(s.Instance+s.Name, "/\x00") || s.Name[0] == '.' || s.Instance[0] == '.':
		return errors.New("bad name")
	case len(s.Argv) == 0 || !filepath.IsAbs(s.Argv[0]):
		return fmt.Errorf("its program must be an absolute path, not %q", s.Argv)
	case !filepath.IsAbs(s.Dir):
		return fmt.Errorf("its folder %q is not absolute", s.Dir)
	}
	texts := append(append(append([]string{s.Dir}, s.Argv...), s.Env...), s.PrivateEnv...)
	for _, text := range append(texts, s.ReloadArgv...) {
		if strings.ContainsRune(text, 0) {
			return fmt.Errorf("%q has a NUL", text)
		}
	}
	return errors.Join(checkSignal("stop_signal", s.StopSignal), checkSignal("reload", s.ReloadSig), checkSignal("then", s.ThenSignal))
}

// levels returns, for each of names, how many others it has to wait for one
// after another: those that it is after come before it. Cycles end somewhere.
func levels(names []string, after map[string][]string) map[string]int {
	level := map[string]int{}
	for _, name := range service.StartOrder(names, after) {
		for _, before := range after[name] {
			if l, known := level[before]; known {
				level[name] = max(level[name], l+1)
			}
		}
		level[name] += 0
	}
	return level
}

// inLevels returns names by level, those that wait for nothing first.
func inLevels(names []string, after map[string][]string) [][]string {
	var groups [][]string
	level := levels(names, after)
	for _, name := range plan.SortedKeys(level) {
		for len(groups) <= level[name] {
			groups = append(groups, nil)
		}
		groups[level[name]] = append(groups[level[name]], name)
	}
	return groups
}

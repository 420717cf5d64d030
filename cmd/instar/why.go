package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/state"
	"instar/starlark/eval"
)

// reason is what `why` answers.
type reason struct {
	FormatVersion int    `json:"format_version"`
	Instance      string `json:"instance"`
	Path          string `json:"path,omitempty"` // relative to the root
	Name          string `json:"name,omitempty"` // of a service or run
	Kind          string `json:"kind"`
	At            string `json:"at"`               // "instance.star:12"
	Profile       string `json:"profile"`          // the file of At, absolute
	Line          string `json:"line,omitempty"`   // its text
	Source        string `json:"source,omitempty"` // what the content came from
	By            string `json:"by,omitempty"`     // the command that makes it
	Generation    int    `json:"generation"`       // that last changed it
	Mode          string `json:"mode,omitempty"`
	Owner         string `json:"owner,omitempty"`
	Once          bool   `json:"once,omitempty"`
	Foreign       bool   `json:"foreign,omitempty"`  // was there before instar
	Implicit      bool   `json:"implicit,omitempty"` // a missing parent folder
}

const whyDoc = `PATH is relative to the root, or absolute; the name of a service or run will do,
too. Says which line of the profile declares it, what its content came from, and
in which generation it last changed.`

// why says which line of which profile made a path, a service or a run.
func (a *app) why(_ context.Context, args []string) error {
	t, st, err := a.existing(args[0])
	if err != nil {
		return err
	}
	r, err := whyPath(st, args[1])
	if err != nil {
		return err
	}
	r.FormatVersion, r.Instance = report.FormatVersion, t.name
	r.Profile, r.Line = sourceLine(st.Settings.Profile, r.at)
	r.At = r.at.String()
	if a.ui.json {
		a.ui.document(r.reason)
		return nil
	}
	a.ui.why(r.reason)
	return nil
}

// found is a reason whose source line is still to be read.
type found struct {
	reason
	at plan.Pos
}

// whyPath finds what the instance knows of arg: a path relative to its root or
// absolute, else the name of a service or run.
func whyPath(st *state.State, arg string) (found, error) {
	path, err := belowRoot(st.Settings.Root, arg)
	if err != nil {
		return found{}, err
	}
	if rec, ok := st.Owned[path]; ok {
		return whyOwned(path, rec), nil
	}
	if s, ok := st.Services[arg]; ok {
		kind := "service"
		switch {
		case s.Schedule != "":
			kind = "timer"
		case s.Run:
			kind = "run"
		}
		return found{reason{Name: arg, Kind: kind, Generation: st.Generation}, s.At}, nil
	}
	candidates := plan.SortedKeys(st.Owned)
	candidates = append(candidates, plan.SortedKeys(st.Services)...)
	return found{}, hinted(nearestPath(path, candidates), "instance %q has not made %s", st.Instance, arg)
}

func whyOwned(path string, rec state.Owned) found {
	r := reason{
		Path: path, Kind: string(rec.Kind), Source: rec.Source, By: rec.By, Generation: rec.Generation,
		Once: rec.Once, Foreign: rec.Foreign, Implicit: rec.Implicit,
	}
	if rec.Kind != plan.KindLink && rec.Mode != plan.KeepMode && rec.By == "" {
		r.Mode = fmt.Sprintf("%04o", rec.Mode)
	}
	if rec.UID >= 0 {
		r.Owner = userName(rec.UID)
	}
	return found{r, rec.At}
}

// belowRoot returns arg as a path relative to the root.
func belowRoot(root, arg string) (string, error) {
	if filepath.IsAbs(arg) {
		clean := filepath.Clean(arg)
		if !inside(clean, root) {
			return "", hinted("", "%s is not below the root, %s", arg, root)
		}
		arg, _ = filepath.Rel(root, clean) // it lies below
	}
	return filepath.ToSlash(filepath.Clean(arg)), nil
}

// nearestPath is the hint for a path that is not known: one like it, or the
// folder above it that is.
func nearestPath(path string, candidates []string) string {
	if near := didYouMean(path, candidates); near != "" {
		return near
	}
	var same []string
	for _, c := range candidates {
		if filepath.Base(c) == filepath.Base(path) {
			same = append(same, c)
		}
	}
	if len(same) > 0 {
		return "did you mean " + list(same, 5) + "?"
	}
	for dir := filepath.Dir(path); dir != "." && dir != "/"; dir = filepath.Dir(dir) {
		for _, c := range candidates {
			if c == dir {
				return "it lies in " + dir + ", which the profile declares; what is in there came from elsewhere"
			}
		}
	}
	return "what no apply has made came from elsewhere: a command, a service or a person"
}

// sourceLine returns the file of a position, and its line as it reads now; "" when
// it cannot be read any more.
func sourceLine(profile string, at plan.Pos) (file, line string) {
	if strings.HasPrefix(at.File, "@") {
		return at.File, ""
	}
	dir, _, _, err := eval.Locate(profile)
	if err != nil {
		return filepath.Join(profile, at.File), ""
	}
	file = filepath.Join(dir, filepath.FromSlash(at.File))
	f, err := os.Open(file)
	if err != nil {
		return file, ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := int32(1); lines.Scan(); n++ {
		if n == at.Line {
			return file, strings.TrimSpace(lines.Text())
		}
	}
	return file, ""
}

// why prints a reason.
func (u *ui) why(r reason) {
	what := r.Path
	if what == "" {
		what = r.Name
	}
	t := table{}
	t.add(cell{what, bold}, cell{text: r.Kind + notes(r)})
	place := r.Profile
	if _, line, ok := strings.Cut(r.At, ":"); ok {
		place += ":" + line
	}
	t.texts("declared at", place)
	if r.Line != "" {
		t.texts("", r.Line)
	}
	if r.Source != "" {
		t.texts("content", r.Source)
	}
	if r.By != "" {
		t.texts("made by", "command "+r.By)
	}
	t.texts("generation", fmt.Sprint(r.Generation))
	if r.Mode != "" {
		owner := ""
		if r.Owner != "" {
			owner = ", owner " + r.Owner
		}
		t.texts("mode", r.Mode+owner)
	}
	u.print(t.render(u.outColor))
}

func notes(r reason) string {
	text := ""
	if r.Once {
		text += ", made once: never changed or removed by an apply"
	}
	if r.Foreign {
		text += ", was there before instar: never removed"
	}
	if r.Implicit {
		text += ", since something below it is declared"
	}
	return text
}

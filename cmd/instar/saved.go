package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"instar/runtime/control"
	"instar/runtime/engine"
	"instar/runtime/plan"
	"instar/runtime/planfile"
	"instar/runtime/report"
	"instar/runtime/secret"
	"instar/runtime/state"
)

func outFlag(o *options, f *pflag.FlagSet) {
	f.StringVarP(&o.out, "out", "o", "", "save the plan to `FILE`; instar apply FILE performs it")
}

// checkOut refuses an --out that cannot be meant, before anything is evaluated.
func (a *app) checkOut() error {
	if !a.opts.given("out") {
		return nil
	}
	if a.opts.out == "" {
		return usagef("write --out FILE", "--out: no file is named")
	}
	return planfile.Writable(a.opts.out)
}

// saved writes what a plan foresees to a file. OnPaper makes the engine of another
// plan of the same.
func (a *app) saved(ctx context.Context, in *instance, f *engine.Foresight, onPaper func(*instance) (*engine.Engine, func(), error)) error {
	if f.Random || f.Secret {
		f.Vary(in.otherSecrets(ctx, f, onPaper))
	}
	st, err := in.folder.Brief()
	if err != nil {
		return err
	}
	for _, text := range []string{in.settings.Profile, in.settings.Root, in.settings.Release} {
		if f.Conceals(text) {
			return hinted("choose other folders", "cannot save the plan: a path of its settings holds a secret")
		}
	}
	file := &planfile.File{
		MadeBy: versionText(), MadeAt: time.Now().UTC().Round(time.Second), StateDir: string(in.home),
		Settings: in.settings, Forecast: f.Forecast,
	}
	file.Settings.Params, file.Settings.Secrets = nil, nil
	for _, name := range plan.SortedKeys(in.settings.Params) {
		given := in.settings.Params[name]
		if !f.Hides(name, given) {
			if file.Settings.Params == nil {
				file.Settings.Params = map[string]state.Given{}
			}
			file.Settings.Params[name] = given
			continue
		}
		old, known := st.Settings.Params[name]
		file.Withheld = append(file.Withheld, planfile.Withheld{Name: name, Remembered: known && sameGiven(old, given)})
	}
	if err := planfile.Write(a.opts.out, file); err != nil {
		return err
	}
	a.ui.say("saved: instar apply %s performs it", a.opts.out)
	return nil
}

// otherSecrets plans once more, with other values in the place of all secrets;
// nil when the profile does not take them.
func (in *instance) otherSecrets(ctx context.Context, f *engine.Foresight, onPaper func(*instance) (*engine.Engine, func(), error)) *planfile.Forecast {
	other := *in
	other.settings.Params = maps.Clone(in.settings.Params)
	for name, given := range other.settings.Params {
		if f.Hides(name, given) {
			other.settings.Params[name] = disguised(given)
		}
	}
	e, done, err := onPaper(&other)
	if err != nil {
		return nil
	}
	defer done()
	e.Mask, e.Sink = secret.New(nil), nil
	evaluate := e.Evaluate
	var before map[string]plan.Value
	e.Evaluate = func(ctx context.Context, st *state.State, view plan.View) (*plan.Plan, error) {
		if before == nil {
			before = st.Values
		}
		next := *st
		next.Values = maps.Clone(st.Values)
		maps.DeleteFunc(next.Values, func(name string, v plan.Value) bool { return v.Secret && before[name] == v })
		return evaluate(ctx, &next, view)
	}
	g, _, err := e.Foresee(ctx)
	if err != nil {
		return nil
	}
	return &g.Forecast
}

// disguised is another value of the same form: of the same length, with letters
// for letters and digits for digits.
func disguised(g state.Given) state.Given {
	if g.Text != nil {
		text := disguisedText(*g.Text)
		return state.Given{Text: &text}
	}
	return state.Given{Value: disguisedValue(g.Value)}
}

func disguisedValue(v any) any {
	switch v := v.(type) {
	case string:
		return disguisedText(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = disguisedValue(v[i])
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for key, value := range v {
			object[key] = disguisedValue(value)
		}
		return object
	}
	return v
}

func disguisedText(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return 'a' + rand.N(rune(26))
		case r >= 'A' && r <= 'Z':
			return 'A' + rand.N(rune(26))
		case r >= '0' && r <= '9':
			return '0' + rand.N(rune(10))
		}
		return r
	}, text)
}

func sameGiven(a, b state.Given) bool {
	x, errX := given(map[string]state.Given{"": a})
	y, errY := given(map[string]state.Given{"": b})
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

// savedFlags are the profile's flags that go with a plan file: for secrets, which
// it does not hold.
var savedFlags = map[string]bool{"set": true, "set-file": true, "params": true}

// applySaved performs a saved plan: through what serves the instance, else here.
func (a *app) applySaved(ctx context.Context, path string) error {
	file, err := planfile.Read(path)
	if err != nil {
		return err
	}
	if err := a.checkSavedFlags(path); err != nil {
		return err
	}
	if err := a.openHome(); err != nil {
		return err
	}
	name := file.Forecast.Instance
	t := target{name, file.Settings.Profile, a.home.Instance(name)}
	st, err := t.folder.Brief()
	if err != nil {
		return err
	}
	a.ui.learn(st.Secrets)
	if d := a.elsewhere(file, st); len(d) > 0 {
		return a.refuseStale(ctx, name, d)
	}
	if st.Settings.Root == "" {
		if err := a.checkRoot(t, file.Settings.Root); err != nil {
			return err
		}
	}
	s := file.Settings
	if s.Params, err = a.savedParams(path, file, st); err != nil {
		return err
	}
	if s.Requester != nil {
		s.Secrets = st.Settings.Secrets // which requests alone bring
	}
	in, err := a.instance(t, st, s, true)
	if err != nil {
		return err
	}
	if err := a.asChild(in, st); err != nil {
		return err
	}
	in.saved = &file.Forecast
	return a.applied(ctx, in, control.Action{
		Verb: "apply", Settings: &in.settings, Reveal: a.opts.reveal, Diffs: a.opts.verbose,
		Verify: a.opts.verify, Plan: &file.Forecast, VerifyIdempotent: a.opts.idempotent,
	})
}

// checkSavedFlags refuses flags that would change what was planned.
func (a *app) checkSavedFlags(path string) error {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	profileFlags(&options{}, set)
	var err error
	a.opts.global.Visit(func(f *pflag.Flag) {
		if set.Lookup(f.Name) != nil && !savedFlags[f.Name] && err == nil {
			err = usagef("leave --"+f.Name+" out, or plan with it: instar plan PROFILE --"+f.Name+" … -o FILE",
				"--%s does not go with the plan file %s, which has its own settings", f.Name, path)
		}
	})
	return err
}

// elsewhere says in what the plan is of another state folder, or of an instance
// that has moved.
func (a *app) elsewhere(file *planfile.File, st *state.State) []report.Difference {
	if file.StateDir != string(a.home) {
		return []report.Difference{{Path: "state folder", Planned: file.StateDir, Now: string(a.home)}}
	}
	if root := st.Settings.Root; root != "" && root != file.Settings.Root {
		return []report.Difference{{Path: "root", Planned: file.Settings.Root, Now: root}}
	}
	if info, err := os.Stat(file.Settings.Release); file.Settings.Release != defaultRelease && (err != nil || !info.IsDir()) {
		return []report.Difference{{Path: "release", Planned: file.Settings.Release, Now: "no folder"}}
	}
	return nil
}

// refuseStale reports a plan that does not hold, without looking any further.
func (a *app) refuseStale(ctx context.Context, name string, d []report.Difference) error {
	err := &engine.StaleError{Instance: name, Differences: d}
	return a.finish(ctx, &report.Report{FormatVersion: report.FormatVersion, Instance: name, Changes: []report.Change{},
		Published: map[string]any{}, Summary: report.Summary{Failed: 1}, Differences: d, Error: a.ui.errorOf(err)}, err)
}

// savedParams completes the parameters of the file by the secrets that it does
// not hold: those given now, else those remembered.
func (a *app) savedParams(path string, file *planfile.File, st *state.State) (map[string]state.Given, error) {
	given, err := a.paramSettings(nil)
	if err != nil {
		return nil, err
	}
	params := maps.Clone(file.Settings.Params)
	if params == nil {
		params = map[string]state.Given{}
	}
	withheld := map[string]bool{}
	for _, w := range file.Withheld {
		withheld[w.Name] = true
		value, now := given[w.Name]
		if old, known := st.Settings.Params[w.Name]; !now && w.Remembered && known {
			value, now = old, true
		}
		if !now {
			return nil, usagef("give the same file of parameters as for the plan: instar apply "+path+" --params FILE; - is stdin",
				"parameter %q of the plan is secret, and %s does not hold it", w.Name, filepath.Base(path))
		}
		params[w.Name] = value
	}
	for _, name := range plan.SortedKeys(given) {
		if planned, ok := params[name]; !withheld[name] && (!ok || !sameGiven(planned, given[name])) {
			return nil, usagef("leave it out, or plan again with it", "parameter %q is not what the plan %s has", name, path)
		}
	}
	if len(params) == 0 {
		return nil, nil
	}
	return params, nil
}

// savedTarget refuses a plan file where a profile is expected.
func savedTarget(arg string) error {
	if !planfile.Is(arg) {
		return nil
	}
	return usagef("instar apply "+arg+" performs it", "%s is a saved plan, and no profile", arg)
}

// isSaved reports whether the argument of apply means a plan file.
func (a *app) isSaved(arg string) (bool, error) {
	if err := planfile.Unreadable(arg); err != nil && (isPath(arg) || state.CheckName(arg) != nil) {
		return false, err
	}
	if !planfile.Is(arg) {
		return false, nil
	}
	if isPath(arg) || state.CheckName(arg) != nil {
		return true, nil
	}
	if err := a.openHome(); err != nil {
		return false, err
	}
	if a.known(arg) {
		return false, hinted(fmt.Sprintf("write .%c%s for the file", filepath.Separator, arg),
			"%q is an instance and also a plan file in this folder", arg)
	}
	return true, nil
}

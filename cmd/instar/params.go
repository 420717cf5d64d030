package main

import (
	"context"
	"encoding/json"

	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/secret"
	"instar/runtime/state"
	"instar/starlark/eval"
)

const paramsDoc = `Evaluates the profile as far as its parameters. --json-schema prints a JSON
schema (2020-12) of what --params takes.`

// params lists the parameters that a profile takes.
func (a *app) params(ctx context.Context, args []string) error {
	if err := a.openHome(); err != nil {
		return err
	}
	path, name, err := a.paramsProfile(args[0])
	if err != nil {
		return err
	}
	req, err := request(path)
	if err != nil {
		return err
	}
	w, err := identify("", "", false)
	if err != nil {
		return err
	}
	if req.Inputs, err = inputs(a.home, name, state.Settings{Root: "/srv/instar/" + name, Release: defaultRelease}, w, state.New(name)); err != nil {
		return err
	}
	params, err := eval.Params(ctx, req, a.opts.limits())
	if err != nil {
		return asProfileError(err)
	}
	if params == nil {
		params = []plan.Param{}
	}
	for i := range params {
		if params[i].Secret && params[i].Default != nil {
			params[i].Default = secret.Mask
		}
		if params[i].Secret {
			params[i].Choices = nil // they are secrets, too
		}
	}
	switch {
	case a.opts.schema:
		a.ui.document(schema(name, params))
	case a.ui.json:
		a.ui.document(struct {
			FormatVersion int          `json:"format_version"`
			Profile       string       `json:"profile"`
			Params        []plan.Param `json:"params"`
		}{report.FormatVersion, path, params})
	case len(params) == 0:
		a.ui.say("the profile takes no parameters")
	default:
		a.ui.params(params)
	}
	return nil
}

// paramsProfile takes a profile, or the name of an instance of one.
func (a *app) paramsProfile(arg string) (path, name string, err error) {
	t, err := a.target(arg)
	return t.profile, t.name, err
}

func (u *ui) params(params []plan.Param) {
	t := table{header: []string{"NAME", "TYPE", "DEFAULT", "DOC"}}
	for _, p := range params {
		t.add(cell{p.Name, bold}, cell{text: p.Type}, defaultCell(p), cell{text: docText(p)})
	}
	u.print(t.render(u.outColor))
}

func defaultCell(p plan.Param) cell {
	switch {
	case p.Required && p.Default == nil:
		return cell{"(required)", yellow}
	case p.Default == nil:
		return cell{"-", faint}
	}
	return cell{text: jsonText(p.Default)}
}

// docText is a parameter's doc, and what its values must be.
func docText(p plan.Param) string {
	text := p.Doc
	add := func(s string) {
		if text != "" {
			text += "; "
		}
		text += s
	}
	if len(p.Choices) > 0 {
		var all []string
		for _, c := range p.Choices {
			all = append(all, jsonText(c))
		}
		add("one of " + list(all, 12))
	}
	if p.Min != nil {
		add("at least " + jsonText(*p.Min))
	}
	if p.Max != nil {
		add("at most " + jsonText(*p.Max))
	}
	if p.Pattern != "" {
		add("matches " + p.Pattern)
	}
	if p.Secret {
		add("secret")
	}
	return text
}

func jsonText(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(data)
}

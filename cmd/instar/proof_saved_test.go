package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"instar/runtime/command"
	"instar/runtime/engine"
	"instar/runtime/planfile"
	"instar/runtime/secret"
	"instar/runtime/state"
)

// save plans, and returns what a plan file would hold, written and read again;
// nil when nothing can be planned.
func (p *proof) save() (*planfile.File, passed) {
	p.t.Helper()
	in := p.instance()
	onPaper := func(in *instance) (*engine.Engine, func(), error) {
		e, done := in.paper(p.manager, nil)
		inProcess(e, in)
		return e, done, nil
	}
	e, done, _ := onPaper(in)
	defer done()
	f, rep, err := e.Foresee(context.Background())
	if err != nil {
		return nil, passed{report: rep, err: err}
	}
	if f.Random || f.Secret {
		f.Vary(in.otherSecrets(context.Background(), f, onPaper))
	}
	data, err := planfile.Encode(&planfile.File{StateDir: string(in.home), Settings: in.settings, Forecast: f.Forecast})
	p.must(err)
	file, err := planfile.Decode(data)
	p.must(err)
	st, err := e.Store.Load()
	p.must(err)
	if secrets := secret.New(st.Secrets); secrets.Contains(data) {
		p.t.Fatalf("a secret stands in the plan file:\n%s", data)
	}
	return file, passed{report: rep, values: st.Values}
}

// applySaved performs a saved plan. Before the machine is looked at for good,
// meddle is called.
func (p *proof) applySaved(file *planfile.File, meddle func()) passed {
	p.t.Helper()
	in := p.instance()
	unlock, err := in.lock()
	p.must(err)
	defer unlock()
	e, done := in.real(p.manager, nil)
	defer done()
	inProcess(e, in)
	once := &evaluatedOnce{evaluate: e.Evaluate}
	e.Evaluate = once.take
	e.Paper = func() (*engine.Engine, func()) {
		paper, done := in.paper(p.manager, nil)
		paper.Evaluate = once.keep
		return paper, func() { done(); meddle() }
	}
	e.Saved = &file.Forecast
	rep, err := e.Converge(context.Background())
	st, loadErr := in.folder.Load()
	p.must(loadErr)
	return passed{rep, err, p.tree(), st.Values}
}

// TestSavedPlans: a plan that was saved is what an apply does of it; when anything
// was changed meanwhile, before or while it is compared, it is still that, or
// nothing at all is done.
func TestSavedPlans(t *testing.T) {
	dir, applied, refused := proofDir(t), 0, 0
	prove(t, 120, func(rt *rapid.T) {
		p := newProof(rt, dir)
		for range rapid.IntRange(1, 3).Draw(rt, "profiles") {
			for range rapid.IntRange(0, 2).Draw(rt, "by hand") {
				p.byHand(rt)
			}
			p.drawParams(rt)
			d := drawProfile(rt, wishes{once: true, commands: true, values: true, services: true})
			p.profile(d.source())
			file, planned := p.save()
			if file == nil {
				continue
			}
			before := fingerprint(t, p.path("root"))
			meddle := func() {}
			switch rapid.SampledFrom([]string{"nobody", "before", "meanwhile", "profile"}).Draw(rt, "who meddles") {
			case "before":
				p.byHand(rt)
			case "meanwhile":
				meddle = func() { p.byHand(rt) }
			case "profile":
				p.profile(d.source() + "\nfile(\"one/more\", \"x\")\n")
			}
			p.saved(rt, d, file, planned, before, meddle, &applied, &refused)
		}
	})
	if applied < 20 || refused < 20 {
		t.Errorf("%d plans were applied, %d refused: it is drawn badly", applied, refused)
	}
}

// saved applies a saved plan and judges what came of it.
func (p *proof) saved(t *rapid.T, d *drawing, file *planfile.File, planned passed, before []string, meddle func(), applied, refused *int) {
	var now, store []string
	o := p.applySaved(file, func() {
		meddle()
		now, store = fingerprint(t, p.path("root")), fingerprint(t, p.instance().folder.Path("state.json"))
	})
	var stale *engine.StaleError
	if errors.As(o.err, &stale) {
		*refused++
		if len(stale.Differences) == 0 || len(o.report.Changes) > 0 {
			t.Fatalf("refused: %+v, %v\n%s", stale.Differences, changesOf(o), d.source())
		}
		if diff := cmp.Diff(now, fingerprint(t, p.path("root"))); diff != "" {
			t.Fatalf("a plan that was refused changed the root (-before +after):\n%s\n%s", diff, d.source())
		}
		if diff := cmp.Diff(store, fingerprint(t, p.instance().folder.Path("state.json"))); diff != "" {
			t.Fatalf("a plan that was refused changed the state (-before +after):\n%s\n%s", diff, d.source())
		}
		if source := d.source(); cmp.Equal(before, now) && p.isProfile(source) {
			t.Fatalf("refused, though nothing has changed: %v\n%s", stale, source)
		}
		return
	}
	var failed *command.FailedError
	if o.err != nil {
		if !errors.As(o.err, &failed) && !d.derived && cmp.Equal(before, now) && p.isProfile(d.source()) {
			t.Fatalf("what was planned fails: %v\n%s", o.err, d.source())
		}
		return
	}
	*applied++
	want, got := changesOf(planned), changesOf(o)
	if d.derived {
		want, got = upTo(want), upTo(got)
	}
	// A folder that is to go stays where somebody has put something into it.
	if warned := len(o.report.Warnings) > 0 && !cmp.Equal(before, now); warned {
		want = slices.DeleteFunc(want, func(c string) bool { return strings.HasPrefix(c, "remove ") && !slices.Contains(got, c) })
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("changes (-planned +made):\n%s\n%s", diff, d.source())
	}
	if st := p.settled(); fmt.Sprint(st.Settings.Params) == "" {
		t.Fatal("the settings are not remembered")
	}
}

// isProfile reports whether the profile has not been changed.
func (p *proof) isProfile(source string) bool {
	p.t.Helper()
	data, err := readBounded(p.path("profile/instance.star"))
	p.must(err)
	return string(data) == source
}

func (p *proof) settled() *state.State {
	st, err := p.instance().folder.Load()
	p.must(err)
	return st
}

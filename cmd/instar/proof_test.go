package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"instar/runtime/command"
	"instar/runtime/report"
)

// changesOf is what a report says was done, one line for each.
func changesOf(o passed) []string {
	list := []string{}
	for _, c := range o.report.Changes {
		list = append(list, fmt.Sprintf("%s %s%s why=%s at=%s", c.Op, c.Path, c.Name, c.Why, c.At))
	}
	return o.named(list)
}

// upTo cuts a list of changes behind the first command: the first effect that
// nobody can know.
func upTo(list []string) []string {
	for i, c := range list {
		if strings.HasPrefix(c, "run ") {
			return list[:i+1]
		}
	}
	return list
}

// TestExact: what a plan says is what the apply then does, and the tree that a
// plan leaves in memory is the one that the apply leaves on the disk, whatever
// stood there before. Where something depends on what a command makes, it is so
// up to that command. The second apply then does nothing and writes nothing.
func TestExact(t *testing.T) {
	dir, converged, pending := proofDir(t), 0, 0
	prove(t, 100, func(rt *rapid.T) {
		p := newProof(rt, dir)
		for range rapid.IntRange(1, 4).Draw(rt, "profiles") {
			for range rapid.IntRange(0, 3).Draw(rt, "by hand") {
				p.byHand(rt)
			}
			p.drawParams(rt)
			d := drawProfile(rt, wishes{once: true, commands: true, values: true, services: true})
			p.profile(d.source())
			if p.exact(rt, d) {
				converged++
			} else {
				pending++
			}
		}
	})
	if converged < pending {
		t.Errorf("%d applies came to their end, %d failed: the profiles are drawn badly", converged, pending)
	}
}

// exact plans and applies, and compares. It reports whether the apply succeeded.
func (p *proof) exact(t *rapid.T, d *drawing) bool {
	before := fingerprint(t, p.path("root"), p.path("state"))
	planned := p.plan()
	if diff := cmp.Diff(before, fingerprint(t, p.path("root"), p.path("state"))); diff != "" {
		t.Fatalf("the plan wrote (-before +after):\n%s\n%s", diff, d.source())
	}
	was := p.tree()
	applied := p.apply()
	if failed := (&command.FailedError{}); planned.err == nil && errors.As(applied.err, &failed) {
		want, got := upTo(changesOf(planned)), changesOf(applied)
		if got = upTo(got); !slices.Equal(want[:min(len(got), len(want))], got) {
			t.Fatalf("a command failed, after (-planned +made):\n%s\n%s", cmp.Diff(want, got), d.source())
		}
		return false // what it did nobody can know
	}
	if planned.err != nil || applied.err != nil {
		if fmt.Sprint(planned.err) != fmt.Sprint(applied.err) && !(d.derived && planned.err == nil) {
			t.Fatalf("plan: %v\napply: %v\n%s", planned.err, applied.err, d.source())
		}
		if planned.err != nil {
			if diff := cmp.Diff(was, applied.tree); diff != "" {
				t.Fatalf("what failed changed something: %v (-before +after):\n%s\n%s", planned.err, diff, d.source())
			}
		}
		return false
	}
	want, got := changesOf(planned), changesOf(applied)
	if d.derived {
		want, got = upTo(want), upTo(got)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("changes (-planned +made):\n%s\n%s", diff, d.source())
	}
	if !d.derived {
		if diff := cmp.Diff(without(planned.named(planned.tree), d.made), without(applied.named(applied.tree), d.made)); diff != "" {
			t.Fatalf("tree (-planned +made):\n%s\n%s", diff, d.source())
		}
		if diff := cmp.Diff(planned.report.Summary, applied.report.Summary); diff != "" {
			t.Fatalf("summary (-planned +made):\n%s\n%s", diff, d.source())
		}
	}
	p.idempotent(t, applied, d.source())
	return true
}

// idempotent applies again: nothing changes, and nothing is written, be there a
// cache or not. An instance that is pending is not at its end.
func (p *proof) idempotent(t *rapid.T, applied passed, source string) {
	starts := len(p.manager.Changes("proof"))
	again := func(what string, written func() []string) {
		before := written()
		o := p.apply()
		if o.err != nil {
			t.Fatalf("a second apply, %s: %v\n%s", what, o.err, source)
		}
		if len(o.report.Changes) > 0 || len(p.manager.Changes("proof")) > starts {
			t.Fatalf("a second apply, %s: %v, services %v\n%s", what, changesOf(o), p.manager.Changes("proof")[starts:], source)
		}
		if diff := cmp.Diff(before, written()); diff != "" {
			t.Fatalf("a second apply, %s, wrote (-before +after):\n%s\n%s", what, diff, source)
		}
		if o.report.Summary != (report.Summary{OK: o.report.Summary.OK}) {
			t.Fatalf("a second apply, %s: %+v\n%s", what, o.report.Summary, source)
		}
	}
	all := func() []string { return fingerprint(t, p.path("root"), p.path("state")) }
	again("as it is", all)
	cache, planned := p.instance().folder.Path("stat.cache"), p.instance().folder.Path("plan.cache")
	if err := os.Remove(cache); err != nil && applied.report.Complete {
		t.Fatalf("a complete apply left no cache: %v", err)
	}
	again("without the cache", func() []string {
		return slices.DeleteFunc(all(), func(line string) bool {
			// The cache comes back with what belongs to it, and with it its folder changes.
			return strings.HasPrefix(line, cache+" ") || strings.HasPrefix(line, planned+" ") || strings.HasPrefix(line, string(p.instance().folder)+" ")
		})
	})
}

// TestPathIndependent: applying A and then B leaves what B alone would have left,
// where the profiles make no data.
func TestPathIndependent(t *testing.T) {
	dir := proofDir(t)
	prove(t, 50, func(rt *rapid.T) {
		w := wishes{commands: true, values: true, services: true}
		var sources []string
		p := newProof(rt, dir)
		p.drawParams(rt)
		for range rapid.IntRange(1, 3).Draw(rt, "profiles before") {
			sources = append(sources, drawProfile(rt, w).source())
			p.profile(sources[len(sources)-1])
			p.apply() // it may fail
		}
		last := drawProfile(rt, w).source()
		p.profile(last)
		there := p.apply()
		fresh := newProof(rt, dir)
		fresh.params = p.params
		fresh.profile(last)
		alone := fresh.apply()
		if fmt.Sprint(there.err) != fmt.Sprint(alone.err) {
			rt.Fatalf("after others: %v\nalone: %v\n%s", there.err, alone.err, last)
		}
		if alone.err != nil {
			return
		}
		if diff := cmp.Diff(alone.named(alone.tree), there.named(there.tree)); diff != "" {
			rt.Fatalf("tree (-alone +after others):\n%s\n%s\nthen\n%s", diff, strings.Join(sources, "\nthen\n"), last)
		}
		if diff := cmp.Diff(fresh.running(), p.running()); diff != "" {
			rt.Fatalf("services (-alone +after others):\n%s\n%s\nthen\n%s", diff, strings.Join(sources, "\nthen\n"), last)
		}
	})
}

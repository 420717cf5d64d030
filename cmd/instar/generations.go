package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"instar/runtime/generation"
	"instar/runtime/report"
	"instar/runtime/state"
)

const generationsDoc = `A generation is an apply that came to its end and changed something. The last
ten are kept, each with the contents of its files, the profile as it was,
parameters, settings and services. OUTCOME says whether its promises and runs
ever held.

With diff, how A and B differ, secrets masked: parameters and settings, files of
the profile, paths and services. B is the current generation when it is left
out, and A the one before it.`

// generationLine is one generation in the list.
type generationLine struct {
	Generation int        `json:"generation"`
	At         time.Time  `json:"at"`
	Current    bool       `json:"current"`
	Followed   bool       `json:"followed,omitempty"` // the instance was rolled back to it
	RollbackOf int        `json:"rollback_of,omitempty"`
	Profile    string     `json:"profile"`        // its source
	Digest     string     `json:"profile_digest"` // short; "" when the profile is not kept
	Services   int        `json:"services"`
	Kept       *bool      `json:"kept"`              // whether promises and runs held; null: not checked
	Message    string     `json:"message,omitempty"` // which did not
	CheckedAt  *time.Time `json:"checked_at,omitempty"`
}

// generations lists the generations of an instance, or compares two.
func (a *app) generations(_ context.Context, args []string) error {
	if len(args) > 1 && args[1] != "diff" {
		hint := didYouMean(args[1], []string{"diff"})
		if hint == "" {
			hint = "usage: instar generations NAME [diff [A [B]]]"
		}
		return usagef(hint, "unknown command %q of generations", args[1])
	}
	t, st, err := a.existing(args[0])
	if err != nil {
		return err
	}
	store := generation.In(t.folder)
	if len(args) > 1 {
		return a.generationsDiff(t, st, store, args[2:])
	}
	heads, err := store.List(st)
	if heads == nil && err != nil {
		return err
	}
	if err != nil {
		a.ui.warn(err.Error()) // the others are shown
	}
	lines := []generationLine{}
	for _, h := range heads {
		lines = append(lines, lineOf(h, st))
	}
	if a.ui.json {
		a.ui.document(struct {
			FormatVersion int              `json:"format_version"`
			Instance      string           `json:"instance"`
			Generations   []generationLine `json:"generations"`
		}{report.FormatVersion, t.name, lines})
		return nil
	}
	if len(lines) == 0 {
		a.ui.say("no generation of %s is kept", t.name)
		return nil
	}
	a.ui.generations(lines)
	return nil
}

func lineOf(h *generation.Head, st *state.State) generationLine {
	l := generationLine{Generation: h.Number, At: h.At, Current: h.Number == st.Generation, RollbackOf: h.RollbackOf,
		Followed: st.RolledBack != nil && st.RolledBack.Generation == h.Number,
		Profile:  h.Settings.Profile, Digest: h.Profile(), Services: len(h.Services), Message: h.Outcome.Message}
	if h.Outcome.Judged {
		kept, at := h.Outcome.Kept, h.Outcome.At
		l.Kept, l.CheckedAt = &kept, &at
	}
	return l
}

func (u *ui) generations(lines []generationLine) {
	t := table{header: []string{"GENERATION", "WHEN", "PROFILE", "SERVICES", "OUTCOME", ""}}
	for _, l := range lines {
		outcome := cell{"not checked", faint}
		switch {
		case l.Kept != nil && *l.Kept:
			outcome = cell{"ok", green}
		case l.Kept != nil:
			outcome = cell{shortened(l.Message, 50), red}
		}
		var notes []string
		if l.Current {
			notes = append(notes, "current")
		}
		if l.RollbackOf > 0 {
			notes = append(notes, fmt.Sprintf("rollback of %d", l.RollbackOf))
		}
		if l.Followed {
			notes = append(notes, "followed until the next apply")
		}
		digest := l.Digest
		if digest == "" {
			digest = "-"
		}
		t.add(cell{text: strconv.Itoa(l.Generation)}, cell{text: l.At.Local().Format(time.DateTime)}, cell{text: digest},
			cell{text: strconv.Itoa(l.Services)}, outcome, cell{text: strings.Join(notes, ", ")})
	}
	u.print(t.render(u.outColor))
}

// generationsDiff shows how two generations differ.
func (a *app) generationsDiff(t target, st *state.State, store generation.Store, args []string) error {
	var numbers [2]int
	var err error
	for i, arg := range args {
		if numbers[i], err = generationNumber(arg); err != nil {
			return err
		}
	}
	if len(args) < 2 {
		numbers[1] = st.Generation
	}
	if len(args) == 0 {
		if numbers[0], err = a.rollbackTo(t, st, nil); err != nil {
			return err
		}
	}
	var both [2]*generation.Generation
	for i, n := range numbers {
		if both[i], err = store.Read(st, n); err != nil {
			return err
		}
		a.ui.learn(both[i].Texts())
		if err = both[i].Verify(); err != nil {
			return err
		}
	}
	differences, err := generation.Compare(both[0], both[1], a.ui.mask)
	if err != nil {
		return err
	}
	if a.ui.json {
		if differences == nil {
			differences = []generation.Difference{}
		}
		a.ui.document(struct {
			FormatVersion int                     `json:"format_version"`
			Instance      string                  `json:"instance"`
			From          int                     `json:"from"`
			To            int                     `json:"to"`
			Differences   []generation.Difference `json:"differences"`
		}{report.FormatVersion, t.name, numbers[0], numbers[1], differences})
		return nil
	}
	if len(differences) == 0 {
		a.ui.say("%s: generations %d and %d are the same", t.name, numbers[0], numbers[1])
	}
	for _, d := range differences {
		a.ui.difference(d)
	}
	return nil
}

// difference prints one difference, as a change is printed.
func (u *ui) difference(d generation.Difference) {
	sign, color := "~", yellow
	switch d.Op {
	case generation.Added:
		sign, color = "+", green
	case generation.Removed:
		sign, color = "-", red
	}
	line := u.paint(color, fmt.Sprintf("%s %-9s %s", sign, d.What, clean(d.Name)))
	if d.Detail != "" {
		line += "  " + clean(d.Detail)
	}
	u.print(line + "\n")
	if d.Diff != "" {
		u.print(u.diff(d.Diff))
	}
}

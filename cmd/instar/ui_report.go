package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"instar/runtime/plan"
	"instar/runtime/report"
)

// follow returns the sink that shows what happens to an instance while it does:
// changes on stdout, the rest on stderr.
func (u *ui) follow(planning bool) report.Sink {
	return func(ev report.Event) {
		switch ev.Kind {
		case "change":
			if !u.json && !u.quiet {
				u.change(*ev.Change, planning)
			}
		case "warning":
			u.warn(ev.Text)
		case "print":
			u.say("%s: %s", ev.Name, ev.Text)
		case "output":
			u.output(ev.Name, ev.Text)
		case "progress":
			u.progress(ev.Name + ": " + ev.Text)
		case "promise":
			if !ev.Promise.OK {
				u.progress("waiting for promise " + ev.Promise.Name + ": " + ev.Promise.Message)
			}
		}
	}
}

// output shows a line that a command wrote: with -v; else the last one, as
// progress.
func (u *ui) output(name, line string) {
	if u.verbose {
		u.say("%s: %s", name, line)
		return
	}
	u.progress(name + ": " + line)
}

// mark returns the sign in front of a change, and its colour.
func mark(c report.Change) (sign, color string) {
	switch plan.Op(c.Op) {
	case plan.OpRemove, plan.OpUnload, plan.OpRelease:
		return "-", red
	case plan.OpRun:
		return ">", blue
	case plan.OpStart, plan.OpStop, plan.OpRestart, plan.OpReload:
		return "*", cyan
	case plan.OpMkdir:
		return "+", green
	case plan.OpWrite, plan.OpLink, plan.OpCopy, plan.OpRequest:
		if c.Why == missing {
			return "+", green
		}
	}
	return "~", yellow
}

// missing is why something is made that is not there.
const missing = "does not exist"

// change prints one change: "~ write  etc/my.cnf  content differs  instance.star:12".
func (u *ui) change(c report.Change, diffs bool) {
	sign, color := mark(c)
	what := c.Path
	if what == "" {
		what = c.Name
	}
	what = clean(what)
	pad := strings.Repeat(" ", max(0, 32-columns(what)))
	var line strings.Builder
	line.WriteString(u.paint(color, fmt.Sprintf("%s %-7s %s", sign, c.Op, what)))
	line.WriteString(pad + "  " + clean(c.Why))
	if c.At != "" {
		line.WriteString("  " + u.paint(faint, clean(c.At)))
	}
	line.WriteString("\n")
	if c.Diff != "" && (u.verbose || diffs && c.Why != missing) {
		line.WriteString(u.diff(c.Diff))
	}
	u.line(line.String())
}

// diff returns a unified diff, indented and coloured.
func (u *ui) diff(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = clean(strings.TrimRight(line, "\n"))
		color := ""
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
			color = bold
		case strings.HasPrefix(line, "@@"):
			color = cyan
		case strings.HasPrefix(line, "+"):
			color = green
		case strings.HasPrefix(line, "-"):
			color = red
		}
		if color != "" {
			line = u.paint(color, line)
		}
		out.WriteString("    " + line + "\n")
	}
	return out.String()
}

// report ends a command that touched an instance: what came of it, the error if
// there is one, and the recap as the last line.
func (u *ui) report(r *report.Report, err error) {
	if u.json {
		u.document(r)
		if err != nil {
			u.showError(err)
		}
		u.say("%s", r.Recap())
		return
	}
	if !u.quiet {
		u.outcome(r)
	}
	if err != nil {
		u.showError(err)
	}
	if !u.quiet {
		u.recap(r)
	}
}

func (u *ui) outcome(r *report.Report) {
	if r.Pending != nil {
		u.print(u.paint(yellow, "pending:") + " " + clean(*r.Pending) + "\n")
	}
	u.published(r.Published)
	u.promises(r.Promises)
	u.requested(r.Requests)
}

func (u *ui) recap(r *report.Report) {
	color := green
	switch {
	case r.Summary.Failed > 0:
		color = red
	case r.Pending != nil || r.Summary.Changed+r.Summary.Removed+r.Summary.Restarted > 0:
		color = yellow
	}
	u.print(u.paint(color, r.Recap()) + "\n")
}

// published prints connection parameters, one a line.
func (u *ui) published(values map[string]any) {
	if len(values) == 0 {
		return
	}
	t := table{indent: "  "}
	for _, key := range plan.SortedKeys(values) {
		t.add(cell{text: key}, cell{text: valueText(values[key])})
	}
	u.print("published:\n" + t.render(u.outColor))
}

// valueText is a JSON value for people: texts without quotes.
func valueText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}

func (u *ui) promises(list []report.Promise) {
	if len(list) == 0 {
		return
	}
	t := table{indent: "  "}
	for _, p := range list {
		t.add(verdict(p.OK), cell{text: p.Name}, cell{text: p.Message})
	}
	u.print("promises:\n" + t.render(u.outColor))
}

// verdict is the cell that says whether a promise holds.
func verdict(ok bool) cell {
	if ok {
		return cell{"ok", green}
	}
	return cell{"fails", red}
}

// cell is one field of a table.
type cell struct{ text, color string }

// table aligns columns, whatever their colours. Cells of several lines are
// continued below themselves.
type table struct {
	indent string
	header []string
	rows   [][]cell
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

// texts adds a row without colours.
func (t *table) texts(cells ...string) {
	row := make([]cell, len(cells))
	for i, text := range cells {
		row[i].text = text
	}
	t.rows = append(t.rows, row)
}

func (t *table) render(color bool) string {
	rows := t.rows
	if len(t.header) > 0 {
		head := make([]cell, len(t.header))
		for i, text := range t.header {
			head[i] = cell{text, bold}
		}
		rows = append([][]cell{head}, rows...)
	}
	widths := map[int]int{}
	for _, row := range rows {
		for i, c := range row {
			if w := columns(clean(c.text)); i < len(row)-1 && w <= maxColumn {
				widths[i] = max(widths[i], w)
			}
		}
	}
	var out strings.Builder
	for _, row := range rows {
		out.WriteString(renderRow(row, widths, t.indent, color))
	}
	return out.String()
}

// maxColumn is the widest text that the other rows of a column are padded for.
const maxColumn = 60

func renderRow(row []cell, widths map[int]int, indent string, color bool) string {
	var out strings.Builder
	out.WriteString(indent)
	at := len(indent)
	for i, c := range row {
		text := clean(c.text)
		if i == len(row)-1 {
			text = strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+strings.Repeat(" ", at))
			out.WriteString(painted(color && c.color != "", c.color, text))
			continue
		}
		pad := max(0, widths[i]-columns(text)) + 2
		out.WriteString(painted(color && c.color != "", c.color, text) + strings.Repeat(" ", pad))
		at += columns(text) + pad
	}
	return strings.TrimRight(out.String(), " ") + "\n"
}

// columns is how wide a text is on a terminal, roughly: one for each character.
func columns(s string) int { return utf8.RuneCountInString(s) }

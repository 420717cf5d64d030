package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"instar/builtins"
	"instar/docs"
	"instar/docs/topics"
	"instar/runtime/report"
)

const helpDoc = `Without an argument, lists all there is help on.`

// help explains a command, a builtin or a topic.
func (a *app) help(_ context.Context, args []string) error {
	text := overview()
	if len(args) > 0 {
		var ok bool
		if text, ok = explain(args[0]); !ok {
			hint := didYouMean(args[0], helpNames())
			if hint == "" {
				hint = "instar help lists commands, builtins and topics"
			}
			return usagef(hint, "nothing is called %q", args[0])
		}
	}
	if a.ui.json {
		a.ui.document(struct {
			FormatVersion int    `json:"format_version"`
			Help          string `json:"help"`
		}{report.FormatVersion, text})
		return nil
	}
	a.ui.print(text)
	return nil
}

// explain returns the page of a command, a builtin or a topic; where several
// have the name, those of all.
func explain(name string) (string, bool) {
	var pages []string
	for _, c := range commands() {
		if c.name == name {
			pages = append(pages, c.page())
		}
	}
	if page, ok := topics.Page(name); ok {
		pages = append(pages, page)
	}
	if page, ok := builtinPage(name); ok {
		pages = append(pages, page)
	}
	return strings.Join(pages, "\n"), len(pages) > 0
}

// helpNames are all names that help explains.
func helpNames() []string {
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	for _, b := range builtins.Table {
		names = append(names, b.Name)
	}
	return append(names, topics.Names()...)
}

// builtinPage explains a builtin, or lists those that belong to a module.
func builtinPage(name string) (string, bool) {
	if page, ok := docs.Reference(name); ok {
		return page, true
	}
	t := table{indent: "  "}
	for _, b := range builtins.Table {
		if strings.HasPrefix(b.Name, name+".") {
			t.texts(b.Name, b.Summary)
		}
	}
	return name + "\n\n" + t.render(false), len(t.rows) > 0
}

// page explains a command.
func (c verb) page() string {
	var text strings.Builder
	fmt.Fprintf(&text, "instar %s: %s\n\n%s\n", strings.TrimSpace(c.name+" "+c.args), c.summary, c.doc)
	var o options
	own := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	own.SortFlags = false
	for _, register := range c.flags {
		register(&o, own)
	}
	if own.HasFlags() {
		text.WriteString("\nFlags:\n" + own.FlagUsages())
	}
	text.WriteString("\nFlags of all commands:\n" + globalUsages())
	return text.String()
}

func globalUsages() string {
	var o options
	global := pflag.NewFlagSet("instar", pflag.ContinueOnError)
	global.SortFlags = false
	globalFlags(&o, global)
	return global.FlagUsages()
}

// overview is `instar help`.
func overview() string {
	var text strings.Builder
	text.WriteString("instar deploys software instances from Starlark profiles.\n\nCommands:\n")
	t := table{indent: "  "}
	for _, c := range commands() {
		t.texts(strings.TrimSpace(c.name+" "+c.args), c.summary)
	}
	text.WriteString(t.render(false))
	text.WriteString("\nFlags of all commands:\n" + globalUsages())
	var names []string
	for _, b := range builtins.Table {
		names = append(names, b.Name)
	}
	text.WriteString("\nBuiltins of profiles (instar help BUILTIN):\n" + wrapped(names))
	t = table{indent: "  "}
	for _, name := range topics.Names() {
		t.texts(name, topics.Title(name))
	}
	text.WriteString("\nTopics (instar help TOPIC):\n" + t.render(false))
	return text.String()
}

// wrapped lists words in lines of at most 80 columns.
func wrapped(words []string) string {
	var text strings.Builder
	line := " "
	for _, word := range words {
		if len(line)+1+len(word) > 80 {
			text.WriteString(line + "\n")
			line = " "
		}
		line += " " + word
	}
	text.WriteString(line + "\n")
	return text.String()
}

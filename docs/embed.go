// Package docs holds the pages of the reference, which are also what `instar
// help BUILTIN` shows.
package docs

import (
	"embed"
	"io/fs"
)

//go:embed reference/*.md
var reference embed.FS

// Reference returns the page of a builtin, in Markdown.
func Reference(name string) (string, bool) {
	text, err := reference.ReadFile("reference/" + name + ".md")
	return string(text), err == nil
}

// Pages returns the folder of the reference: NAME.md for each builtin.
func Pages() fs.FS {
	pages, err := fs.Sub(reference, "reference")
	if err != nil {
		panic(err) // the name above is not valid
	}
	return pages
}

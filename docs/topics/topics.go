// Package topics holds the pages that `instar help TOPIC` shows: one Markdown
// file each, which begins with its title.
package topics

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed *.md
var files embed.FS

// Page returns the text of a topic.
func Page(name string) (string, bool) {
	data, err := files.ReadFile(name + ".md")
	return string(data), err == nil
}

// Names returns the topics, sorted.
func Names() []string {
	entries, _ := fs.ReadDir(files, ".") // an embedded folder can be read, and is sorted
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), ".md")
	}
	return names
}

// Title returns the first line of a topic, without its mark.
func Title(name string) string {
	page, _ := Page(name)
	title, _, _ := strings.Cut(page, "\n")
	return strings.TrimPrefix(title, "# ")
}

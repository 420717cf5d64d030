// Package profiles holds the profiles that instar ships as examples, each a
// folder with instance.star, a README.md and what they need. They are embedded,
// so that the binary alone can show them.
package profiles

import (
	"embed"
	"io/fs"
)

// Files has one folder for each profile, as in this source folder.
//
//go:embed helloworld nginx-static replicate
var Files embed.FS

// Names returns the names of the profiles, sorted.
func Names() []string {
	// Reading the root of an embedded file system cannot fail, and it is sorted.
	entries, _ := fs.ReadDir(Files, ".")
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names
}

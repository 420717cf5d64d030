package fsys

import (
	"path"
	"strings"
)

// IsTemp reports whether name is one that [TempName] makes.
func IsTemp(name string) bool { return strings.HasPrefix(path.Base(name), ".instar-tmp-") }

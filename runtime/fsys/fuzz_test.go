package fsys

import (
	"errors"
	"path"
	"strings"
	"testing"
)

// FuzzName: a name that is accepted is one below the top, in its clean form; one
// that leaves the top is refused.
func FuzzName(f *testing.F) {
	for _, name := range []string{"a/b", "/a", "../a", "a/../..", "a//b/./c", ".", "", "a/../b/", "..a/b..", "a\x00b", "\xff", "a/..", "./"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		s, err := parse("open", name)
		leaves := false
		for depth, parts := 0, strings.Split(name, "/"); len(parts) > 0; parts = parts[1:] {
			switch parts[0] {
			case "", ".":
			case "..":
				depth--
			default:
				depth++
			}
			leaves = leaves || depth < 0
		}
		if err != nil {
			if refused := (&RefusedError{}); errors.As(err, &refused) && !leaves {
				t.Fatalf("%q is refused: %v", name, err)
			}
			return
		}
		if leaves {
			t.Fatalf("%q leaves the top, and is taken as %q", name, s.rel)
		}
		if want := strings.TrimPrefix(path.Clean("/"+name), "/"); s.rel != want && !(want == "" && s.rel == ".") {
			t.Fatalf("%q is %q, want %q", name, s.rel, want)
		}
		if folder, base := split(s.rel); path.Join(folder, base) != s.rel {
			t.Fatalf("%q is cut into %q and %q", s.rel, folder, base)
		}
		if IsTemp(TempName(s.rel)) == false || path.Dir(TempName(s.rel)) != path.Dir(s.rel) {
			t.Fatalf("the temporary name of %q is %q", s.rel, TempName(s.rel))
		}
	})
}

package eval

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"instar/builtins"
	"instar/starlark/interp"
)

// TestKilledShowsItsLine: an evaluation that is killed at its time limit cannot
// tell the line that it had reached; the error shows it all the same.
func TestKilledShowsItsLine(t *testing.T) {
	for line, want := range map[string]string{
		`b = max(range(100000000000))`:                            `b = max(range(100000000000))`,
		`b = secret("in-the-source") and max(range(10000000000))`: ``,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "instance.star"), []byte("a = 1\n"+line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		req := Request{Dir: dir, Entry: "instance.star", Inputs: builtins.Inputs{Instance: builtins.Instance{Name: "x", Root: "/srv/x"}}}
		var err error
		var e *interp.Error
		for limit := time.Second; limit < time.Minute && (e == nil || e.Pos.Line == 0); limit *= 4 { // until it is enough to come there
			_, err = Evaluate(t.Context(), req, nothing, Limits{Time: limit})
			if !errors.As(err, &e) {
				break
			}
		}
		if !errors.As(err, &e) || e.Limit != interp.LimitTime {
			t.Fatalf("%s: got %v", line, err)
		}
		if e.Pos.Line != 2 || e.Source != want {
			t.Errorf("line %d, source %q, want %q", e.Pos.Line, e.Source, want)
		}
	}
}

package command_test

import (
	"errors"
	"os"
	"testing"

	"instar/runtime/command"
)

// TestRestoredRecordNeverWipes: a record of a failed attempt that comes back
// from a backup, after a later attempt has succeeded, must not cost the data.
func TestRestoredRecordNeverWipes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	failing := b.job("init", "mkdir -p data; echo half >data/half; exit 3")
	failing.Command.Wipe, failing.Command.Creates = []string{"data"}, []string{"data/whole"}
	rec, err := command.Run(t.Context(), failing)
	if err == nil || rec.Status != command.Failed {
		t.Fatalf("record %+v, %v", rec, err)
	}
	if !exists(b.path(command.NotePath("init"))) {
		t.Fatal("a failed attempt left no note")
	}
	backup, err := command.Load(b.dir, "init")
	if err != nil {
		t.Fatal(err)
	}
	if d, err := command.Decide(failing.Command, failing.Digest, backup, view{b.root}); err != nil || len(d.Wipe) != 1 {
		t.Fatalf("the failed attempt's own record does not allow wiping: %+v, %v", d, err)
	}
	if err := os.RemoveAll(b.path("data")); err != nil {
		t.Fatal(err)
	}
	good := b.job("init", "mkdir -p data; echo >data/whole")
	good.Command.Wipe, good.Command.Creates = failing.Command.Wipe, failing.Command.Creates
	b.run(good)
	if exists(b.path(command.NotePath("init"))) {
		t.Error("a successful attempt left its note")
	}
	d, err := command.Decide(good.Command, good.Digest, backup, view{b.root})
	if err != nil || d.Run || len(d.Wipe) > 0 {
		t.Errorf("with the record of before: %+v, %v; it must count as done", d, err)
	}
	if err := os.Remove(b.path("data/whole")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.path("data/rows"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var refused *command.NotEmptyError
	if d, err := command.Decide(good.Command, good.Digest, backup, view{b.root}); !errors.As(err, &refused) {
		t.Errorf("data that the record does not know would be wiped: %+v, %v", d, err)
	}
}

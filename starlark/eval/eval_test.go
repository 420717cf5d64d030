package eval_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"instar/builtins"
	"instar/runtime/plan"
	"instar/starlark/eval"
	"instar/starlark/interp"
)

func TestMain(m *testing.M) {
	eval.Main()
	goleak.VerifyTestMain(m)
}

// profile writes a profile and returns a request to evaluate it.
func profile(t testing.TB, files map[string]string) eval.Request {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return request(dir)
}

func request(dir string) eval.Request {
	return eval.Request{Dir: dir, Entry: "instance.star", Inputs: builtins.Inputs{
		Instance: builtins.Instance{Name: "web", Root: "/srv/instar/web", User: "alice", Group: "alice", UID: 1000, GID: 1000},
		Node:     builtins.Node{Name: "node", OS: "linux", Arch: "amd64", CPUs: 2, Memory: 1 << 32, Manager: "up"},
		Release:  "/usr",
	}}
}

func absent(string) ([]byte, error) { return nil, fs.ErrNotExist }

// evaluate evaluates in a child and here, and fails when they differ.
func evaluate(t *testing.T, req eval.Request, observe eval.Observe) (*plan.Plan, error) {
	t.Helper()
	there, err := eval.Evaluate(t.Context(), req, observe, eval.Limits{})
	here, errHere := eval.EvaluateHere(t.Context(), req, observe, eval.Limits{})
	if (err == nil) != (errHere == nil) || err != nil && err.Error() != errHere.Error() {
		t.Fatalf("in a child: %v\nhere: %v", err, errHere)
	}
	if diff := cmp.Diff(there, here); diff != "" {
		t.Fatalf("in a child and here (-child +here):\n%s", diff)
	}
	return there, err
}

func TestBundledProfiles(t *testing.T) {
	for _, name := range []string{"helloworld", "nginx-static"} {
		t.Run(name, func(t *testing.T) {
			dir, entry, title, err := eval.Locate("../../profiles/" + name)
			if err != nil {
				t.Fatal(err)
			}
			release := t.TempDir()
			for _, program := range []string{"nginx", "helloworld-server", "greeter", "server", "helloworld"} {
				program = filepath.Join(release, "bin", program)
				if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(program, nil, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			req := request(dir)
			req.Entry, req.Inputs.Release = entry, release
			p, err := evaluate(t, req, absent)
			if err != nil {
				var e *interp.Error
				if errors.As(err, &e) {
					var text strings.Builder
					if err := e.Render(&text, false); err != nil {
						t.Fatal(err)
					}
					t.Fatal(text.String())
				}
				t.Fatal(err)
			}
			if title != name || len(p.Services) == 0 || len(p.Promises) == 0 || len(p.Published) == 0 {
				t.Errorf("%s: got %+v", title, p)
			}
		})
	}
}

var _ = context.Background

package builtins

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

var update = flag.Bool("update", false, "rewrite the expected plans in testdata")

var testContext = context.Background()

// TestChunks evaluates the profiles in testdata/*.star, which are separated
// by lines of "---".
//
// A line that must fail ends in `### REGEXP`, which the message and, in
// brackets, the hint must match. A chunk that must not fail may call
// eq(got, want), and may end in lines of "#= " that show its whole plan;
// `go test -update` writes them. Lines of "#! " at the beginning change what
// the evaluation starts from:
//
//	#! set NAME=TEXT        --set
//	#! json NAME=JSON       --params
//	#! root                 instar runs as root, the instance as alice
//	#! params               parameters only
//	#! busy PORT            somebody listens on it
//	#! held PORT            another instance has it
//	#! value KEY TEXT       is remembered
//	#! publishes NAME JSON  what a requested instance has published
//	#! secret TEXT          is secret where the instance was requested
func TestChunks(t *testing.T) {
	files, err := filepath.Glob("testdata/*.star")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { testChunkFile(t, file) })
	}
}

func testChunkFile(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	chunks := strings.Split(string(text), "\n---\n")
	begin := 1
	for i, chunk := range chunks {
		name := fmt.Sprintf("%s:%d", filepath.Base(file), begin)
		begin += strings.Count(chunk, "\n") + 2
		t.Run(strconv.Itoa(i+1), func(t *testing.T) { chunks[i] = testChunk(t, name, chunk) })
	}
	if now := strings.Join(chunks, "\n---\n"); *update && now != string(text) {
		if err := os.WriteFile(file, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

var expectation = regexp.MustCompile(`(?m)^(.*)### *(.*)$`)

// testChunk runs one chunk, and returns it with the plan it should show.
func testChunk(t *testing.T, name, chunk string) string {
	in, host := testInputs(), newMachine()
	for line := range strings.Lines(chunk) {
		if order, ok := strings.CutPrefix(line, "#! "); ok {
			if err := direct(&in, host, strings.TrimSuffix(order, "\n")); err != nil {
				t.Fatalf("%s: %s: %v", name, line, err)
			}
		}
	}
	var wantLine int
	var want string
	for i, line := range strings.Split(chunk, "\n") {
		if m := expectation.FindStringSubmatch(line); m != nil {
			if want != "" {
				t.Fatalf("%s: two expected errors", name)
			}
			wantLine, want = i+1, m[2]
		}
	}
	compared := 0
	more := starlark.StringDict{
		"eq": starlark.NewBuiltin("eq", func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			compared++
			if same, err := starlark.Equal(args[0], args[1]); err != nil || !same {
				t.Errorf("%s: got %v, want %v", name, args[0], args[1])
			}
			return starlark.None, nil
		}),
	}
	p, err := evaluateText(in, host, chunk, more)
	if want != "" {
		if err == nil {
			t.Errorf("%s: no error, want %s", name, want)
			return chunk
		}
		line, got := explain(err)
		matched, badPattern := regexp.MatchString(want, got)
		if badPattern != nil {
			t.Fatalf("%s: %v", name, badPattern)
		}
		if !matched || line != wantLine {
			t.Errorf("%s: got, at line %d: %s\nwant, at line %d: %s", name, line, got, wantLine, want)
		}
		return chunk
	}
	if err != nil {
		line, got := explain(err)
		t.Errorf("%s: line %d: %s", name, line, got)
		return chunk
	}
	source, shown, _ := strings.Cut(chunk, "\n#= ")
	things := len(p.Resources) + len(p.Services) + len(p.Promises) + len(p.Requests) + len(p.Published) + len(p.Values)
	if shown == "" && compared > 0 && (things == 0 || !*update) {
		return chunk
	}
	got := strings.Join(dump(p), "\n#= ")
	if got != strings.TrimRight(shown, "\n") && !*update {
		t.Errorf("%s: got plan\n#= %s\nwant\n#= %s", name, got, shown)
	}
	end := ""
	if strings.HasSuffix(chunk, "\n") {
		end = "\n"
	}
	return strings.TrimRight(source, "\n") + "\n#= " + got + end
}

// direct applies a line of "#! ".
func direct(in *Inputs, host *machine, order string) error {
	verb, rest, _ := strings.Cut(order, " ")
	name, value, _ := strings.Cut(rest, "=")
	switch verb {
	case "set":
		in.Params[name] = GivenText(value)
	case "json":
		in.Params[name] = GivenJSON([]byte(value))
	case "root":
		in.Instance.Superuser = true
	case "params":
		in.ParamsOnly = true
	case "busy", "held":
		port, err := strconv.Atoi(rest)
		if err != nil {
			return err
		}
		if verb == "busy" {
			host.busy[port] = true
		} else {
			in.HeldPorts = append(in.HeldPorts, port)
		}
	case "publishes":
		var from Requested
		request, text, _ := strings.Cut(rest, " ")
		if in.Requested == nil {
			in.Requested = map[string]Requested{}
		}
		in.Requested[request] = from
		if err := json.Unmarshal([]byte(text), &from); err != nil {
			return err
		}
		in.Requested[request] = from
	case "secret":
		in.Secrets = append(in.Secrets, rest)
	case "value":
		key, text, _ := strings.Cut(rest, " ")
		kind, _, _ := strings.Cut(key, "/")
		if in.Values == nil {
			in.Values = map[string]plan.Value{}
		}
		in.Values[key] = plan.Value{Kind: kind, Text: text, Secret: kind == "password"}
	default:
		return fmt.Errorf("unknown order")
	}
	return nil
}

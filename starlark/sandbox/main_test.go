package sandbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	starjson "go.starlark.net/lib/json"
	"go.starlark.net/starlark"
	"go.uber.org/goleak"

	"instar/starlark/interp"
	"instar/starlark/sandbox"
)

// handlers are what this test binary does as a child.
var handlers = map[string]sandbox.Handler{
	"evaluate":  evaluate,
	"frames":    frames,
	"echo":      echo,
	"fail":      fail,
	"misbehave": misbehave,
	"orphan":    orphan,
}

func TestMain(m *testing.M) {
	sandbox.Main(handlers)
	if len(os.Args) == 2 && os.Args[1] == "parent" {
		parent()
	}
	goleak.VerifyTestMain(m)
}

// A program is the request of "evaluate".
type program struct {
	Files    map[string]string
	Generate int    // if set, instance.star is that many bytes of Generator
	Pattern  string // what is repeated
	Steps    uint64
}

// evaluate runs a program. Its builtins are json, send(text) and ask(text).
func evaluate(ctx context.Context, request []byte, c *sandbox.Child) error {
	var p program
	if err := json.Unmarshal(request, &p); err != nil {
		return err
	}
	if p.Generate > 0 {
		p.Files = map[string]string{"instance.star": strings.Repeat(p.Pattern, p.Generate/len(p.Pattern))}
	}
	_, err := interp.Run(ctx, "instance.star", interp.Options{
		MaxSteps: p.Steps,
		Position: c.Position,
		Predeclared: starlark.StringDict{
			"json": starjson.Module,
			"send": text("send", func(s string) (string, error) { return "", c.Send('s', []byte(s)) }),
			"ask": text("ask", func(s string) (string, error) {
				reply, err := c.Call('a', []byte(s))
				return string(reply), err
			}),
		},
		Read: func(name string) ([]byte, error) {
			text, ok := p.Files[name]
			if !ok {
				return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
			}
			return []byte(text), nil
		},
	})
	return err
}

// text returns a builtin of one text that returns a text.
func text(name string, f func(string) (string, error)) *starlark.Builtin {
	return starlark.NewBuiltin(name, func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var s string
		if err := starlark.UnpackArgs(b.Name(), args, kwargs, "text", &s); err != nil {
			return nil, err
		}
		reply, err := f(s)
		return starlark.String(reply), err
	})
}

// frames sends as many frames of 500 bytes as the request has bytes.
func frames(_ context.Context, request []byte, c *sandbox.Child) error {
	data := make([]byte, 500)
	for i := range request {
		data[0], data[1], data[499] = byte(i), byte(i>>8), byte(i>>16)
		if err := c.Send('f', data); err != nil {
			return err
		}
	}
	return nil
}

// echo asks the parent for what the request is, and sends the answer.
func echo(_ context.Context, request []byte, c *sandbox.Child) error {
	reply, err := c.Call('q', request)
	if err != nil {
		return err
	}
	return c.Send('r', reply)
}

func fail(_ context.Context, request []byte, c *sandbox.Child) error {
	e := &interp.Error{
		Msg: string(request), Pos: interp.Position{File: "a.star", Line: 3, Col: 4}, Source: "x = 1", Caret: 2,
		Stack: []interp.Frame{{Name: "f", Pos: interp.Position{File: "a.star", Line: 3, Col: 4}}}, Hint: "a hint",
	}
	return fmt.Errorf("wrapped: %w", e)
}

// misbehave does what no handler should.
func misbehave(_ context.Context, request []byte, c *sandbox.Child) error {
	c.Position("a.star", 7, 8)
	switch string(request) {
	case "panic":
		panic("oh no")
	case "die":
		fmt.Fprintln(os.Stderr, "last words")
		os.Exit(5)
	case "noise":
		for range 20000 {
			fmt.Fprintln(os.Stderr, "noise")
		}
		os.Exit(5)
	case "garbage":
		_, err := syscall.Write(1, []byte(strings.Repeat("garbage ", 1000)))
		return err
	case "cut":
		if _, err := syscall.Write(1, []byte{0xa4, 0, 200, 0, 0, 0, 1}); err != nil {
			return err
		}
		os.Exit(0)
	case "huge":
		_, err := syscall.Write(1, []byte{0xa4, 0, 255, 255, 255, 255})
		return err
	case "close":
		os.Exit(0)
	case "recurse":
		_, err := fmt.Fprint(os.Stderr, recurse(1))
		return err
	case "signals":
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			return err
		}
		err = errors.Join(self.Signal(os.Interrupt), self.Signal(syscall.SIGTERM), self.Signal(syscall.SIGHUP))
		time.Sleep(20 * time.Millisecond)
		return err
	case "stdout":
		fmt.Println("not a frame")
		return nil
	case "kill":
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			return err
		}
		return self.Kill()
	case "environment":
		return fmt.Errorf("%q", os.Environ())
	case "limits":
		text, err := os.ReadFile("/proc/self/limits")
		if err != nil {
			return err
		}
		return errors.New(string(text))
	case "files":
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return err
		}
		var open []string
		for _, entry := range entries {
			if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil {
				kind, _, _ := strings.Cut(target, ":")
				open = append(open, entry.Name()+"="+kind)
			}
		}
		return fmt.Errorf("%q", open)
	case "sleep":
		time.Sleep(time.Hour)
	case "spin":
		for begin := time.Now(); time.Since(begin) < time.Hour; {
		}
	}
	return errors.New("unknown request")
}

func recurse(n int) int {
	if n == 0 {
		return 0
	}
	return recurse(n+1) + 1
}

// orphan tells its process id and then computes for ever.
func orphan(_ context.Context, _ []byte, c *sandbox.Child) error {
	if _, err := c.Call('p', []byte(strconv.Itoa(os.Getpid()))); err != nil {
		return err
	}
	for n := uint64(0); ; n++ {
		if n*n == 3 {
			return errors.New("impossible")
		}
	}
}

// parent is another process that runs a child, for a test to kill. It prints
// the child's process id.
func parent() {
	onFrame := func(_ byte, data []byte) ([]byte, error) {
		fmt.Println(string(data))
		return nil, nil
	}
	err := sandbox.Run(context.Background(), sandbox.Limits{Time: time.Hour}, "orphan", nil, onFrame)
	fmt.Println(err)
	os.Exit(0)
}

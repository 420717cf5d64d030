package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"instar/starlark/interp"
	"instar/starlark/sandbox"
)

// runners are the two ways to run a handler, which must not differ.
var runners = map[string]func(ctx context.Context, l sandbox.Limits, kind string, request []byte, onFrame sandbox.OnFrame) error{
	"child": sandbox.Run,
	"here": func(ctx context.Context, l sandbox.Limits, kind string, request []byte, onFrame sandbox.OnFrame) error {
		return sandbox.RunHere(ctx, handlers[kind], l, request, onFrame)
	},
}

func TestCall(t *testing.T) {
	request := bytes.Repeat([]byte("0123456789"), 100000)
	for name, run := range runners {
		var got []byte
		err := run(t.Context(), sandbox.Limits{}, "echo", request, func(kind byte, data []byte) ([]byte, error) {
			if kind == 'r' {
				got = data
				return nil, nil
			}
			return bytes.ToUpper(append(data, "answer"...)), nil
		})
		if err != nil || string(got) != string(request)+"ANSWER" {
			t.Errorf("%s: got %d bytes, %v; want %d bytes", name, len(got), err, len(request)+6)
		}
	}
}

// A hintError is an error of the parent with a hint.
type hintError struct{ error }

func (hintError) Hint() string { return "try again" }

func TestCallRefused(t *testing.T) {
	for name, run := range runners {
		err := run(t.Context(), sandbox.Limits{}, "echo", []byte("x"), func(byte, []byte) ([]byte, error) {
			return nil, hintError{errors.New("no such thing")}
		})
		var e *interp.Error
		if !errors.As(err, &e) || e.Msg != "no such thing" || e.Hint != "try again" {
			t.Errorf("%s: got %#v", name, err)
		}
	}
}

func TestFrames(t *testing.T) {
	const count = 30000
	for name, run := range runners {
		var kept [][]byte
		err := run(t.Context(), unhurried, "frames", make([]byte, count), func(_ byte, data []byte) ([]byte, error) {
			kept = append(kept, data)
			return nil, nil
		})
		if err != nil || len(kept) != count {
			t.Fatalf("%s: got %d frames, %v", name, len(kept), err)
		}
		for i, data := range kept {
			if len(data) != 500 || data[0] != byte(i) || data[1] != byte(i>>8) || data[499] != byte(i>>16) {
				t.Fatalf("%s: frame %d was altered", name, i)
			}
		}
	}
}

func TestOnFrameEndsTheRun(t *testing.T) {
	enough := errors.New("enough")
	for name, run := range runners {
		calls := 0
		err := run(t.Context(), sandbox.Limits{}, "frames", make([]byte, 1000), func(byte, []byte) ([]byte, error) {
			calls++
			if calls == 3 {
				return nil, enough
			}
			return nil, nil
		})
		if !errors.Is(err, enough) || calls != 3 {
			t.Errorf("%s: got %v after %d frames", name, err, calls)
		}
	}
}

func TestHandlerError(t *testing.T) {
	want := &interp.Error{
		Msg: "it failed", Pos: interp.Position{File: "a.star", Line: 3, Col: 4}, Source: "x = 1", Caret: 2,
		Stack: []interp.Frame{{Name: "f", Pos: interp.Position{File: "a.star", Line: 3, Col: 4}}}, Hint: "a hint",
	}
	for name, run := range runners {
		err := run(t.Context(), sandbox.Limits{}, "fail", []byte("it failed"), ignore)
		if !reflect.DeepEqual(err, error(want)) {
			t.Errorf("%s: got %#v", name, err)
		}
	}
}

func TestMisbehaviour(t *testing.T) {
	tests := []struct{ request, msg, detail string }{
		{"panic", "internal error: oh no", "misbehave"},
		{"die", "internal error: the evaluation process ended: exit status 5", "last words"},
		{"noise", "internal error: the evaluation process ended: exit status 5", "noise"},
		{"garbage", "internal error: the evaluation process sent something unintelligible", ""},
		{"huge", "internal error: the evaluation process sent something unintelligible", ""},
		{"cut", "internal error: the evaluation process ended: exit status 0", ""},
		{"close", "internal error: the evaluation process ended: exit status 0", ""},
		{"spin", "the time limit", ""},
		{"sleep", "the time limit", ""},
		{"kill", "killed", ""},
		{"recurse", "the memory limit (512 MiB) was reached: values or calls are nested too deeply", ""},
	}
	for _, test := range tests {
		l := unhurried
		limited := strings.HasPrefix(test.msg, "the time limit")
		if limited {
			l.Time = 300 * time.Millisecond
		}
		err := sandbox.Run(t.Context(), l, "misbehave", []byte(test.request), ignore)
		var e *interp.Error
		for limited && errors.As(err, &e) && e.Pos.Line == 0 && l.Time < time.Minute { // too little to begin in
			l.Time *= 4
			err = sandbox.Run(t.Context(), l, "misbehave", []byte(test.request), ignore)
		}
		if limited {
			test.msg = "the time limit (" + l.Time.String() + ") was reached"
		}
		if !errors.As(err, &e) || !strings.Contains(e.Msg, test.msg) || !strings.Contains(e.Detail, test.detail) {
			t.Errorf("%s: got %v, want %q\n%s", test.request, err, test.msg, e.Detail)
			continue
		}
		if test.request != "panic" && e.Pos != (interp.Position{File: "a.star", Line: 7, Col: 8}) {
			t.Errorf("%s: got position %v", test.request, e.Pos)
		}
		if len(e.Detail) > 20<<10 {
			t.Errorf("%s: %d bytes of details", test.request, len(e.Detail))
		}
	}
	if err := sandbox.Run(t.Context(), sandbox.Limits{}, "misbehave", []byte("stdout"), ignore); err != nil {
		t.Errorf("a handler that prints: %v", err)
	}
	if err := sandbox.Run(t.Context(), sandbox.Limits{}, "unheard", nil, ignore); err == nil || !strings.Contains(err.Error(), "64") {
		t.Errorf("an unknown handler: %v", err)
	}
}

func TestCancel(t *testing.T) {
	for _, request := range []string{"sleep", "spin"} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		begin := time.Now()
		err := sandbox.Run(ctx, sandbox.Limits{}, "misbehave", []byte(request), ignore)
		if !errors.Is(err, context.Canceled) || time.Since(begin) > time.Minute {
			t.Errorf("%s: got %v after %v", request, err, time.Since(begin))
		}
		if err := sandbox.Run(ctx, sandbox.Limits{}, "echo", nil, ignore); !errors.Is(err, context.Canceled) {
			t.Errorf("already cancelled: got %v", err)
		}
	}
}

func TestBadLimits(t *testing.T) {
	for _, l := range []sandbox.Limits{{Time: -1}, {Memory: 1 << 20}, {Memory: -1}} {
		if err := sandbox.Run(t.Context(), l, "echo", nil, ignore); err == nil {
			t.Errorf("%+v: no error", l)
		}
	}
	if err := sandbox.Run(t.Context(), sandbox.Limits{Memory: sandbox.MinMemory}, "frames", make([]byte, 1000), ignore); err != nil {
		t.Errorf("with the least memory: %v", err)
	}
	large := make([]byte, sandbox.MaxFrame+1)
	if err := sandbox.Run(t.Context(), sandbox.Limits{}, "echo", large, ignore); err == nil {
		t.Error("a request that is too large: no error")
	}
	err := sandbox.Run(t.Context(), sandbox.Limits{}, "echo", nil, func(byte, []byte) ([]byte, error) { return large, nil })
	if err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("an answer that is too large: %v", err)
	}
}

// The time of a run that does nothing, to be held against BenchmarkStart.
func BenchmarkChild(b *testing.B) {
	for b.Loop() {
		if err := sandbox.Run(b.Context(), sandbox.Limits{}, "frames", nil, ignore); err != nil {
			b.Fatal(err)
		}
	}
}

// The time of a process of this binary that exits at once.
func BenchmarkStart(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		_ = exec.Command(self, "-test.run=^$").Run()
	}
}

func BenchmarkFrames(b *testing.B) {
	for b.Loop() {
		if err := sandbox.Run(b.Context(), sandbox.Limits{}, "frames", make([]byte, 30000), ignore); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFramesHere(b *testing.B) {
	for b.Loop() {
		if err := sandbox.RunHere(b.Context(), handlers["frames"], sandbox.Limits{}, make([]byte, 30000), ignore); err != nil {
			b.Fatal(err)
		}
	}
}

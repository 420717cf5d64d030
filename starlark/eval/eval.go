// Package eval turns a profile into a plan.
//
// It is the one place that joins the interpreter and the builtins. The
// evaluation of a [Request] happens in a child process of the same binary,
// within [Limits], so a program that evaluates profiles calls [Main] first
// thing. The child answers itself what a profile asks of the machine, but for
// the files of the instance: those the caller observes.
//
// The invariant: an evaluation changes nothing.
package eval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"instar/builtins"
	"instar/runtime/plan"
	"instar/starlark/interp"
	"instar/starlark/sandbox"
)

// Request says which profile is evaluated, and from what.
type Request struct {
	Dir    string          `json:"dir"`   // absolute path of the profile's folder
	Entry  string          `json:"entry"` // the file to begin with: "instance.star"
	Inputs builtins.Inputs `json:"inputs"`
}

// Limits bound one evaluation. Zero means the default.
type Limits struct {
	Source int64         // bytes of all source files together: 16 MiB
	Steps  uint64        // of the interpreter: 10 million
	Time   time.Duration // 10 s
	Memory int64         // bytes: 512 MiB
}

// Observe reads a file of the instance, by its path relative to the root: a
// regular file of at most [builtins.MaxObserved] bytes. A missing one is an
// error that is fs.ErrNotExist.
type Observe func(path string) ([]byte, error)

// Evaluate evaluates a profile in a child process. A failure of the profile
// is an *interp.Error. A plan whose evaluation stopped early says why. With an
// error, the plan is nil or holds nothing but what the profile had printed, and
// the secrets to mask in that.
func Evaluate(ctx context.Context, req Request, observe Observe, lim Limits) (*plan.Plan, error) {
	return evaluate(req, observe, lim, func(data []byte, onFrame sandbox.OnFrame) error {
		return sandbox.Run(ctx, lim.sandbox(), handlerName, data, onFrame)
	})
}

// EvaluateHere is Evaluate without a child: nothing stops a profile that asks
// for too much memory. It is for tests.
func EvaluateHere(ctx context.Context, req Request, observe Observe, lim Limits) (*plan.Plan, error) {
	return evaluate(req, observe, lim, func(data []byte, onFrame sandbox.OnFrame) error {
		return sandbox.RunHere(ctx, handle, lim.sandbox(), data, onFrame)
	})
}

// Params returns the parameters that a profile takes. It evaluates the
// profile up to where they are known, and judges nothing that was given.
func Params(ctx context.Context, req Request, lim Limits) ([]plan.Param, error) {
	req.Inputs.ParamsOnly = true
	p, err := Evaluate(ctx, req, nothing, lim)
	if err != nil {
		return nil, err
	}
	return p.Params, nil
}

func nothing(string) ([]byte, error) { return nil, fs.ErrNotExist }

// Main takes over when the process is a child that Evaluate started.
// Otherwise it returns at once.
func Main() { sandbox.Main(map[string]sandbox.Handler{handlerName: handle}) }

func (l Limits) sandbox() sandbox.Limits { return sandbox.Limits{Time: l.Time, Memory: l.Memory} }

// message is the request that a child gets.
type message struct {
	Request
	Source int64  `json:"source"`
	Steps  uint64 `json:"steps"`
}

// evaluate runs a child, and puts the plan together from what it sends.
func evaluate(req Request, observe Observe, lim Limits, run func([]byte, sandbox.OnFrame) error) (*plan.Plan, error) {
	req.Inputs.Profile = req.Dir
	data, err := json.Marshal(message{req, lim.Source, lim.Steps})
	if err != nil {
		return nil, fmt.Errorf("cannot encode what the evaluation starts from: %w", err)
	}
	var d decoder
	var pieces []byte
	err = run(data, func(kind byte, data []byte) ([]byte, error) {
		switch kind {
		case framePiece:
			pieces = append(pieces, data...)
			return nil, nil
		case framePlan:
			if len(pieces) > 0 {
				data, pieces = append(pieces, data...), nil
			}
			return nil, d.part(data)
		case frameObserve:
			return answer(observe(string(data))), nil
		}
		return nil, fmt.Errorf("the evaluation sent a frame of unknown kind %q", kind)
	})
	if err != nil {
		p, _ := d.finish() // nothing, if it died
		addSource(req.Dir, err)
		return p, err
	}
	return d.finish()
}

// The kinds of frames.
const (
	framePlan    byte = 'p' // a part of the encoded plan
	framePiece   byte = 'q' // the beginning of a part
	frameObserve byte = 'o' // a path; answered by a file
)

// The first byte of an answer.
const (
	isContent byte = iota
	isMissing
	isFailure
)

func answer(text []byte, err error) []byte {
	switch {
	case err == nil:
		return append([]byte{isContent}, text...)
	case errors.Is(err, fs.ErrNotExist):
		return []byte{isMissing}
	}
	return append([]byte{isFailure}, err.Error()...)
}

func readAnswer(data []byte) ([]byte, error) {
	switch {
	case len(data) == 0:
		return nil, errors.New("no answer")
	case data[0] == isContent:
		return data[1:], nil
	case data[0] == isMissing:
		return nil, fs.ErrNotExist
	}
	return nil, errors.New(string(data[1:]))
}

// options are the interpreter's for one session.
func (m *message) options(s *builtins.Session, position func(string, int32, int32)) interp.Options {
	maxSource := m.Source
	if maxSource == 0 {
		maxSource = interp.DefaultMaxSource
	}
	return interp.Options{
		Predeclared: s.Predeclared(),
		Read:        func(name string) ([]byte, error) { return s.ReadFile(name, maxSource) },
		Suggest: func(kind, _ string) []string {
			if kind == "file" {
				return s.Files()
			}
			return nil
		},
		Position:  position,
		MaxSource: m.Source,
		MaxSteps:  m.Steps,
	}
}

package eval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"unicode/utf8"

	"instar/builtins"
	"instar/runtime/plan"
	"instar/runtime/secret"
	"instar/starlark/interp"
	"instar/starlark/sandbox"
)

// handlerName names the sandbox's handler that evaluates.
const handlerName = "evaluate"

// Sizes in bytes: about that of a part of a plan, and of what one frame has of a
// part at most.
const (
	partSize = 256 << 10
	maxPiece = 4 << 20
)

// handle evaluates a profile in the child.
func handle(ctx context.Context, request []byte, c *sandbox.Child) error {
	var m message
	if err := json.Unmarshal(request, &m); err != nil {
		return fmt.Errorf("cannot read what the evaluation starts from: %w", err)
	}
	root, err := os.OpenRoot(m.Dir)
	if err != nil {
		return fmt.Errorf("cannot open the profile: %w", err)
	}
	defer root.Close()
	s := builtins.New(m.Inputs, root.FS(), machine{c})
	_, err = interp.Run(ctx, m.Entry, m.options(s, c.Position))
	if err != nil && !builtins.Stopped(err) {
		return errors.Join(masked(s, err), send(c, s.Printed()))
	}
	p, err := s.Finish(err)
	if err != nil {
		return errors.Join(masked(s, withSource(s, err)), send(c, s.Printed()))
	}
	return send(c, p)
}

// send sends a plan to the parent.
func send(c *sandbox.Child, p *plan.Plan) error {
	return encode(p, func(part []byte) error {
		for len(part) > maxPiece {
			if err := c.Send(framePiece, part[:maxPiece]); err != nil {
				return err
			}
			part = part[maxPiece:]
		}
		return c.Send(framePlan, part)
	})
}

// withSource shows the line at an error that was found after evaluation.
func withSource(s *builtins.Session, err error) error {
	var e *interp.Error
	if !errors.As(err, &e) || e.Pos.Line == 0 || e.Source != "" {
		return err
	}
	text, readErr := s.ReadFile(e.Pos.File, interp.DefaultMaxSource)
	if readErr == nil {
		e.AddSource(text)
	}
	return e
}

// masked hides in an error of the profile the secrets that the evaluation has
// met: whoever shows the error cannot know them.
func masked(s *builtins.Session, err error) error {
	var e *interp.Error
	if !errors.As(err, &e) || len(s.Secrets()) == 0 {
		return err
	}
	m := secret.New(s.Secrets())
	for _, text := range []*string{&e.Msg, &e.Hint, &e.Detail} {
		*text = m.String(*text)
	}
	if line := m.String(e.Source); line != e.Source {
		before := []rune(e.Source)[:max(0, min(e.Caret, utf8.RuneCountInString(e.Source)))]
		e.Source, e.Caret = line, utf8.RuneCountInString(m.String(string(before)))
	}
	for i := range e.Stack {
		e.Stack[i].Source = m.String(e.Stack[i].Source)
	}
	return e
}

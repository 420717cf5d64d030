package builtins

import (
	"errors"
	"fmt"

	"instar/runtime/plan"
	"instar/starlark/interp"
)

// problem is an error with advice on it.
type problem struct {
	msg  string
	hint string
	err  error // what it is about, or nil
}

func (p *problem) Error() string { return p.msg }
func (p *problem) Hint() string  { return p.hint }
func (p *problem) Unwrap() error { return p.err }

// hinted returns an error with advice, which may be "".
func hinted(hint, format string, args ...any) error {
	return &problem{msg: fmt.Sprintf(format, args...), hint: hint}
}

// prefixed puts a name before an error's message, and keeps its hint.
func prefixed(name string, err error) error {
	var own *interp.Error
	var ended *stopped
	if errors.As(err, &own) || errors.As(err, &ended) {
		return err
	}
	p := &problem{msg: name + ": " + err.Error(), err: err}
	var old interface{ Hint() string }
	if errors.As(err, &old) {
		p.hint = old.Hint()
	}
	return p
}

// failure returns an error at a place of the profile that is not being
// executed now.
func failure(at plan.Pos, hint, format string, args ...any) error {
	return &interp.Error{Msg: fmt.Sprintf(format, args...), Pos: where(at), Hint: hint}
}

// didYouMean returns the hint for a name that is none of candidates, or "".
func didYouMean(name string, candidates []string) string {
	if best, ok := interp.Nearest(name, candidates); ok {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return ""
}

// stopped ends an evaluation that did not fail. Without a Pending, nothing
// but the parameters was wanted.
type stopped struct{ pending *plan.Pending }

func (e *stopped) Error() string {
	if e.pending == nil {
		return "evaluation ends where the parameters are known"
	}
	return "pending: " + e.pending.Why
}

func stop(err error) (*stopped, bool) {
	var ended *stopped
	ok := errors.As(err, &ended)
	return ended, ok
}

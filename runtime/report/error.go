package report

import "errors"

// ErrorOf turns err into what reports carry. Position, hint and detail come from
// the first error in the chain that has them: a method At() string, a method
// Hint() string, a method Detail() string. mask is applied to every text.
func ErrorOf(err error, mask func(string) string) *Error {
	e := &Error{Message: mask(err.Error())}
	var at interface{ At() string }
	if errors.As(err, &at) {
		e.At = at.At()
	}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		e.Hint = mask(hint.Hint())
	}
	var detail interface{ Detail() string }
	if errors.As(err, &detail) {
		e.Detail = mask(detail.Detail())
	}
	return e
}

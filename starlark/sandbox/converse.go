package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"

	"instar/starlark/interp"
)

// A deathError means that the child ended, or must end, without a word of
// its own about why.
type deathError struct {
	garbage bool  // it sent something that is no frame
	output  bool  // it sent more than it may
	err     error // of the pipe
}

func (e deathError) Error() string { return fmt.Sprintf("the evaluation process ended: %v", e.err) }

// converse sends the request and handles frames until the child is done.
func (p *process) converse(request []byte, onFrame OnFrame) error {
	w := newFrameWriter(p.in)
	if len(request) > MaxFrame {
		return fmt.Errorf("cannot evaluate a request of %d bytes (at most %d)", len(request), MaxFrame)
	}
	if err := errors.Join(w.write(frameRequest, 0, request), w.flush()); err != nil {
		return deathError{err: err}
	}
	r := newFrameReader(p.out)
	for total := int64(0); ; {
		typ, kind, data, err := r.read()
		if err != nil {
			return deathError{garbage: errors.Is(err, errGarbage), err: err}
		}
		if total += int64(len(data)); total > p.limits.output() {
			return deathError{output: true, err: errors.New("too much output")}
		}
		switch typ {
		case frameSend:
			if _, err := onFrame(kind, data); err != nil {
				return err
			}
		case frameCall:
			reply, err := onFrame(kind, data)
			if err := answer(w, kind, reply, err); err != nil {
				return deathError{err: err}
			}
		case frameDone:
			return nil
		case frameFailed:
			return decodeError(data)
		default:
			return deathError{garbage: true, err: errGarbage}
		}
	}
}

// answer answers a call of the child.
func answer(w *frameWriter, kind byte, reply []byte, refusal error) error {
	typ := frameReply
	if refusal == nil && len(reply) > MaxFrame {
		refusal = fmt.Errorf("an answer of %d bytes is too large", len(reply))
	}
	if refusal != nil {
		typ, reply = frameRefusal, encodeError(refusal)
	}
	return errors.Join(w.write(typ, kind, reply), w.flush())
}

// encodeError encodes an error, with its position and hint if it has them.
func encodeError(err error) []byte {
	data, jsonErr := json.Marshal(asError(err))
	if jsonErr != nil {
		return []byte(`{"msg":"internal error: cannot encode an error"}`)
	}
	return data
}

// asError returns the *interp.Error that err is or becomes.
func asError(err error) *interp.Error {
	var e *interp.Error
	if errors.As(err, &e) {
		return e
	}
	e = &interp.Error{Msg: err.Error()}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		e.Hint = hint.Hint()
	}
	return e
}

// decodeError is the inverse of encodeError.
func decodeError(data []byte) error {
	e := new(interp.Error)
	if err := json.Unmarshal(data, e); err != nil {
		return deathError{garbage: true, err: err}
	}
	return e
}
